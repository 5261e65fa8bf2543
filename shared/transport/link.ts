import type { Message } from '../protocol/messages.ts';

/** Why a link ended: a WebSocket close code, a reason and whether the peer asked for it. */
export interface LinkEnd {
  readonly code: number;
  /** A name of PROTOCOL_ERRORS where one applies, else what the transport says. */
  readonly reason: string;
  readonly byPeer: boolean;
  /** Status of an HTTP answer that refused the upgrade; the reason then starts `HTTP nnn`. */
  readonly httpStatus?: number;
  /** TLS failed: the peer is not who it says, or speaks no TLS. The reason says which. */
  readonly untrusted?: boolean;
}

/** What the owner of a link wants to hear. Set once, before the link may deliver. */
export interface LinkHandlers {
  /**
   * Called once when the link can carry messages, before the first `onMessage` and never inside
   * `start`. A dialled link that fails to connect goes to `onEnd` without it.
   */
  onOpen?(): void;
  /** Called for each decoded, schema-checked message in order. */
  onMessage(message: Message): void;
  /**
   * A frame was answered with an error message and dropped. `op` is its first element: from
   * FIRST_SEQUENCED_OP up the sender counted it, so the receiver's session must too.
   */
  onDropped?(op: number): void;
  /** Called exactly once, whatever ended the link; nothing is delivered after it. */
  onEnd(end: LinkEnd): void;
}

/**
 * One connection that carries whole messages in order until it dies. The in-memory pair and the
 * WebSocket stand behind this interface; both pass messages through the same codec and checks.
 * A binary field handed to `onMessage` is only valid during the call: copy what is kept.
 * After `close` or `terminate` no message is delivered any more, only the end.
 */
export interface Link {
  start(handlers: LinkHandlers): void;
  /** Queues a message; messages of one turn of the event loop leave in one write. */
  send(message: Message): void;
  /** Queues a frame that `encode` made. The link may keep it: it must never change again. */
  sendFrame(frame: Uint8Array): void;
  /** Ends the link in an orderly way. `reason` is at most 123 bytes of UTF-8. */
  close(code: number, reason: string): void;
  /** Ends it at once, as a cut cable does. */
  terminate(): void;
  /** Bytes sent that have not left yet; producers stop at OUTBOUND_SOFT_BYTES. */
  readonly bufferedBytes: number;
  /**
   * Stops and restarts delivery. What comes in meanwhile waits; a WebSocket stops reading its
   * socket once MAX_INBOUND_MESSAGES or MAX_INBOUND_BYTES wait.
   */
  pause(): void;
  resume(): void;
}
