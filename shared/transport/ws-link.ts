import type { Duplex } from 'node:stream';
import type { RawData } from 'ws';
import { assert } from '../lib/assert.ts';
import type { Clock } from '../lib/clock.ts';
import type { Counters } from '../lib/counters.ts';
import { MAX_IDLE_MS, OUTBOUND_SOFT_BYTES, PING_INTERVAL_MS, PING_MISSES_MAX } from '../limits.ts';
import { encode } from '../protocol/codec.ts';
import type { ProtocolErrorName } from '../protocol/errors.ts';
import { PROTOCOL_ERRORS, ProtocolError } from '../protocol/errors.ts';
import type { Message } from '../protocol/messages.ts';
import { errorMessage, FrameGate, type GateKeeper } from './frame-gate.ts';
import { type InboundHandlers, InboundQueue, type InboundRate } from './inbound-queue.ts';
import type { Link, LinkEnd, LinkHandlers } from './link.ts';
import { OUTBOUND_CUT_BYTES } from './outbound.ts';
import type { TransportCounter } from './transport-counters.ts';
import type { PuffWebSocket } from './ws-socket.ts';
import { distrustOf, failureText, limitOf } from './ws-socket.ts';

export interface WsLinkOptions {
  readonly socket: PuffWebSocket;
  /** Which side this end is. */
  readonly side: 'guest' | 'host';
  readonly clock: Clock;
  readonly counters: Counters<TransportCounter>;
  /** What the peer may send; no limit when left out. */
  readonly rate?: InboundRate | undefined;
  /** Told when the first frame came in and when the link has ended, before the owner is. */
  readonly onFirstFrame?: () => void;
  readonly onGone?: (end: LinkEnd) => void;
}

/** Read by `ws`, never written by it. */
const BINARY = { binary: true, compress: false } as const;

/**
 * A WebSocket of either side as a Link. It adds to `ws`: one write for all messages of one turn
 * of the event loop, named reasons for every limit, pings, bounds on both directions, and the
 * frame checks. The stream under the socket is handed in by `cork`, because `ws` keeps it private.
 * At the host it also takes no more from a guest that does not read, which would otherwise be
 * answered without end, and closes one that says nothing for MAX_IDLE_MS. A guest does neither:
 * two sides that wait for each other to read would wait for ever.
 *
 * Impure: sockets, process.nextTick, and the timers of `ws` itself (closing handshake). Not done
 * here: who may connect (ws-server.ts), finding the host (ws-client.ts).
 */
export class WsLink implements Link {
  readonly #options: WsLinkOptions;
  readonly #socket: PuffWebSocket;
  readonly #gate: FrameGate<WsLink>;
  readonly #inbound: InboundQueue<WsLink>;
  #handlers: LinkHandlers | undefined;
  #phase: 'new' | 'open' | 'closing' | 'ended' = 'new';
  #stream: Duplex | undefined;
  #corked = false;
  /** Frames sent before the socket opened. */
  #early: Uint8Array[] = [];
  #framesIn = 0;
  /** What ended the link from this side; wins over what the socket says. */
  #ownEnd: LinkEnd | undefined;
  #end: LinkEnd | undefined;
  #failure = 'the connection was lost';
  #pingTimer: unknown;
  #pingsUnanswered = 0;
  #pingsSinceFrame = 0;
  /** More than OUTBOUND_SOFT_BYTES wait for a guest to read. */
  #unread = false;

  static readonly #KEEPER: GateKeeper<WsLink> = {
    message: (link, message) => link.#handlers?.onMessage(message),
    dropped: (link, op) => link.#handlers?.onDropped?.(op),
    answer: (link, error) => link.send(errorMessage(error)),
    refuse: (link, error) => link.#refuse(error),
  };

  static readonly #INBOUND: InboundHandlers<WsLink> = {
    deliver: (link, frame) => link.#deliver(frame),
    throttle: (link, on) => (on ? link.#socket.pause() : link.#socket.resume()),
    drained: (link) => link.#finishIfDue(),
    flooded: (link, code) => link.#refuseFlood(code),
  };

  constructor(options: WsLinkOptions) {
    const { socket, side, counters } = options;
    this.#options = options;
    this.#socket = socket;
    const from = side === 'guest' ? 'host' : 'guest';
    this.#gate = new FrameGate(from, counters, WsLink.#KEEPER, this);
    this.#inbound = new InboundQueue(options, WsLink.#INBOUND, this);
    socket.on('open', () => this.#open());
    socket.on('message', (data, isBinary) => this.#receive(data, isBinary));
    socket.on('ping', () => this.#alive());
    socket.on('pong', () => this.#alive());
    socket.on('error', (error) => this.#failed(error));
    socket.on('close', (code, reason) => this.#closed(code, reason));
  }

  /** The stream under the socket, so that writes of one turn are merged. */
  cork(stream: Duplex): void {
    this.#stream = stream;
  }

  /** Must be called in the turn in which the link was made, else messages could be missed. */
  start(handlers: LinkHandlers): void {
    assert(this.#handlers === undefined, 'a WebSocket link is started once');
    this.#handlers = handlers;
    if (this.#socket.readyState === this.#socket.OPEN) {
      this.#options.clock.setTimeout(() => this.#open(), 0);
    }
  }

  get bufferedBytes(): number {
    let early = 0;
    for (const frame of this.#early) early += frame.length;
    return early + this.#socket.bufferedAmount;
  }

  send(message: Message): void {
    this.sendFrame(encode(message));
  }

  sendFrame(frame: Uint8Array): void {
    // What came before the peer closed is still delivered, but can no longer be answered.
    if (this.#end !== undefined) return;
    if (this.#phase === 'new' && this.#socket.readyState !== this.#socket.OPEN) {
      this.#early.push(frame);
    } else if (this.#phase === 'new' || this.#phase === 'open') {
      this.#corkThisTurn();
      this.#options.counters.add('messages_out');
      this.#options.counters.add('bytes_out', frame.length);
      this.#socket.send(frame, BINARY);
    }
    const { bufferedBytes } = this;
    if (bufferedBytes > OUTBOUND_CUT_BYTES) this.#cut('OUTBOUND_HARD_BYTES');
    else if (bufferedBytes > OUTBOUND_SOFT_BYTES) this.#waitForReader();
  }

  close(code: number, reason: string): void {
    if (this.#phase === 'closing' || this.#phase === 'ended') return;
    this.#stopDelivery({ code, reason, byPeer: false });
    this.#socket.close(code, reason);
  }

  /** Ends a link that was never open because HTTP refused it. */
  refusedByHttp(status: number, text: string): void {
    if (this.#phase !== 'new') return;
    const reason = `HTTP ${status} ${text}`.trimEnd();
    this.#stopDelivery({ code: 1006, reason, byPeer: true, httpStatus: status });
    this.#socket.terminate();
  }

  terminate(): void {
    if (this.#phase === 'ended') return;
    this.#stopDelivery({ code: 1006, reason: 'terminated', byPeer: false });
    this.#socket.terminate();
  }

  pause(): void {
    this.#inbound.hold('owner');
  }

  resume(): void {
    this.#inbound.release('owner');
  }

  #open(): void {
    if (this.#phase !== 'new') return;
    this.#phase = 'open';
    this.#options.counters.add('links_opened');
    this.#armPing();
    const early = this.#early;
    this.#early = [];
    for (const frame of early) this.sendFrame(frame);
    this.#handlers?.onOpen?.();
  }

  #receive(data: RawData, isBinary: boolean): void {
    if (this.#framesIn++ === 0) this.#options.onFirstFrame?.();
    this.#pingsSinceFrame = 0;
    this.#open();
    this.#alive();
    if (this.#phase !== 'open') return;
    if (isBinary) this.#inbound.receive(data as Buffer);
    else {
      this.#options.counters.add('text-frame');
      this.#refuse(new ProtocolError('text-frame'));
    }
  }

  #deliver(frame: Uint8Array): void {
    if (this.#phase === 'open') this.#gate.pass(frame);
  }

  /** The socket stays stopped: more of the flood is not read while the peer may read the reason. */
  #refuseFlood(code: ProtocolErrorName): void {
    const error = new ProtocolError(code);
    this.#options.counters.add(code);
    this.send(errorMessage(error));
    this.#endDelivery({ code: error.close, reason: code, byPeer: false });
    this.#socket.close(error.close, code);
  }

  #refuse(error: ProtocolError): void {
    this.send(errorMessage(error));
    this.close(error.close, error.code);
  }

  #cut(code: ProtocolErrorName): void {
    if (this.#phase === 'closing' || this.#phase === 'ended') return;
    this.#options.counters.add(code);
    this.#stopDelivery({ code: PROTOCOL_ERRORS[code].close, reason: code, byPeer: false });
    this.#socket.terminate();
  }

  #stopDelivery(end: LinkEnd): void {
    this.#endDelivery(end);
    // A stopped socket would never see the peer's close frame.
    if (this.#inbound.throttled) this.#socket.resume();
    // The socket may be closed already, and only what was held back kept the link from ending.
    this.#options.clock.setTimeout(() => this.#finishIfDue(), 0);
  }

  #endDelivery(end: LinkEnd): void {
    this.#phase = 'closing';
    this.#ownEnd ??= end;
    this.#inbound.clear();
  }

  /** The first send of a turn stops the stream, the end of the turn writes everything at once. */
  #corkThisTurn(): void {
    const stream = this.#stream;
    if (stream === undefined || this.#corked) return;
    this.#corked = true;
    stream.cork();
    process.nextTick(() => {
      this.#corked = false;
      this.#options.counters.add('writes_out');
      stream.uncork();
    });
  }

  /** What a guest sends is answered once it has read what it was sent before. */
  #waitForReader(): void {
    if (this.#unread || this.#options.side === 'guest' || this.#stream === undefined) return;
    this.#unread = true;
    this.#options.counters.add('OUTBOUND_SOFT_BYTES');
    this.#inbound.hold('outbound');
    this.#stream.once('drain', () => {
      this.#unread = false;
      this.#inbound.release('outbound');
    });
  }

  #armPing(): void {
    this.#pingTimer = this.#options.clock.setTimeout(() => this.#ping(), PING_INTERVAL_MS);
  }

  /**
   * While our own side has stopped the socket, the peer's pongs and messages cannot be seen. A
   * peer that does not read is not excused: it was sent the ping.
   */
  #ping(): void {
    if (this.#phase !== 'open') return;
    if (this.#inbound.throttled) {
      this.#pingsSinceFrame = 0;
      if (!this.#unread) this.#pingsUnanswered = 0;
    }
    if (this.#pingsUnanswered >= PING_MISSES_MAX) {
      this.#cut('PING_MISSES_MAX');
      return;
    }
    if (this.#options.side === 'host' && this.#pingsSinceFrame * PING_INTERVAL_MS >= MAX_IDLE_MS) {
      this.#options.counters.add('MAX_IDLE_MS');
      this.#refuse(new ProtocolError('MAX_IDLE_MS'));
      return;
    }
    this.#pingsSinceFrame++;
    this.#pingsUnanswered++;
    this.#socket.ping();
    this.#armPing();
  }

  #alive(): void {
    this.#pingsUnanswered = 0;
  }

  /** `ws` closes by itself after an error; only its name and text are kept. */
  #failed(error: Error & { code?: string }): void {
    const limit = limitOf(error);
    this.#failure = failureText(error, this.#socket.url);
    const distrust = distrustOf(error);
    if (distrust !== undefined) {
      this.#ownEnd ??= { code: 1006, reason: distrust, byPeer: false, untrusted: true };
    }
    if (limit === undefined || this.#phase === 'closing' || this.#phase === 'ended') return;
    this.#options.counters.add(limit);
    this.#stopDelivery({ code: PROTOCOL_ERRORS[limit].close, reason: limit, byPeer: false });
  }

  #closed(code: number, reason: Buffer): void {
    const text = reason.toString('utf8');
    const orderly = code !== 1006;
    this.#end = this.#ownEnd ?? { code, reason: orderly ? text : this.#failure, byPeer: true };
    if (orderly) this.#inbound.release('outbound');
    else this.#inbound.clear();
    this.#finishIfDue();
  }

  /** What the peer sent before an orderly close is delivered first, however long that is paused. */
  #finishIfDue(): void {
    if (this.#end === undefined || this.#phase === 'ended' || this.#inbound.length > 0) return;
    this.#phase = 'ended';
    this.#options.clock.clearTimeout(this.#pingTimer);
    this.#options.counters.add('links_ended');
    this.#options.onGone?.(this.#end);
    this.#handlers?.onEnd(this.#end);
  }
}
