import { assert } from '../lib/assert.ts';
import type { Clock } from '../lib/clock.ts';
import {
  MAX_RETAINED_BYTES,
  MAX_RETAINED_MESSAGES,
  SESSION_ACK_EVERY,
  SESSION_ACK_QUIET_MS,
} from '../limits.ts';
import { encode } from '../protocol/codec.ts';
import { ProtocolError } from '../protocol/errors.ts';
import type { GuestToHost, HostToGuest, Sequenced } from '../protocol/messages.ts';
import { Op } from '../protocol/messages.ts';

/**
 * One conversation between a guest and a host that outlives its links. Sequenced messages are
 * counted at both ends and carry no number; what the peer has not acknowledged is kept as an
 * encoded frame and sent again over the next link. Each message is therefore delivered exactly
 * once and in order, whenever links are cut. `detach` must come before the count is told to the
 * peer on another link, or a late message would be counted twice.
 *
 * Not done here: naming sessions, hello and welcome, who may resume (host-acceptor.ts), when to
 * give up waiting for a link. Counts are modulo 2^32.
 */

/** What a session needs of a link. */
export interface SessionSender {
  sendFrame(frame: Uint8Array): void;
  readonly bufferedBytes: number;
}

export interface SessionOptions<In extends Sequenced> {
  readonly clock: Clock;
  /** Chosen by the host, hard to guess where guests do not trust each other; at most 256 bytes. */
  readonly name: string;
  /** Where both counts start: 0 on the wire; another start makes the wrap at 2^32 testable. */
  readonly countFrom?: number;
  /** Each message of the peer exactly once and in order. Its bins are valid during the call. */
  onMessage(message: In): void;
  /**
   * More waits for an acknowledgement than is kept, so the session can not go on. Called once, on
   * the next turn of the clock; from then on nothing is sent or received.
   */
  onFailed(error: ProtocolError): void;
}

export type GuestSession = Session<GuestToHost, HostToGuest>;
export type HostSession = Session<HostToGuest, GuestToHost>;

export class Session<Out extends Sequenced, In extends Sequenced> {
  readonly name: string;
  readonly #clock: Clock;
  readonly #options: SessionOptions<In>;
  /** Frames from `#retainedFrom` on, the oldest first; the front is cleared now and then. */
  #retained: (Uint8Array | undefined)[] = [];
  #retainedFrom = 0;
  #retainedBytes = 0;
  #sent: number;
  #received: number;
  #acknowledged: number;
  #sender: SessionSender | undefined;
  #ackTimer: unknown;
  #failed: ProtocolError | undefined;
  #heard = false;

  constructor(options: SessionOptions<In>) {
    this.name = options.name;
    this.#clock = options.clock;
    this.#options = options;
    this.#sent = options.countFrom ?? 0;
    this.#received = this.#sent;
    this.#acknowledged = this.#sent;
  }

  /** Sequenced messages received so far, modulo 2^32: what hello, welcome and ack carry. */
  get received(): number {
    return this.#received;
  }

  /** Sequenced messages sent so far, modulo 2^32, attached or not. */
  get sent(): number {
    return this.#sent;
  }

  /** Whether the peer ever sent something in this session, and so knows that it has begun. */
  get heard(): boolean {
    return this.#heard;
  }

  get attached(): boolean {
    return this.#sender !== undefined;
  }

  /** Why the session can not go on, or undefined. */
  get failed(): ProtocolError | undefined {
    return this.#failed;
  }

  /** Messages kept because the peer did not acknowledge them. */
  get retainedCount(): number {
    return this.#retained.length - this.#retainedFrom;
  }

  get retainedBytes(): number {
    return this.#retainedBytes;
  }

  /** Bytes that wait in the link; producers stop at OUTBOUND_SOFT_BYTES. Detached: all of them. */
  get bufferedBytes(): number {
    return this.#sender === undefined ? this.#retainedBytes : this.#sender.bufferedBytes;
  }

  /**
   * Throws `session-mismatch` when a peer that says it has `peerReceived` messages can not be
   * served: it never got that far, or what it lacks is no longer kept. Throws the session's own
   * failure if it has one.
   */
  check(peerReceived: number): void {
    if (this.#failed !== undefined) throw this.#failed;
    const missing = (this.#sent - peerReceived) >>> 0;
    if (missing <= this.retainedCount) return;
    const oldest = (this.#sent - this.retainedCount) >>> 0;
    const kept = `${oldest} to ${this.#sent}`;
    throw new ProtocolError('session-mismatch', `peer has ${peerReceived}, kept are ${kept}`);
  }

  /**
   * Goes on over `sender`: sends again what the peer lacks, in order, before anything new. Throws
   * what `check` throws, and then stays detached.
   */
  attach(sender: SessionSender, peerReceived: number): void {
    assert(this.#sender === undefined, 'a session is detached before it is attached again');
    this.#release(peerReceived);
    this.#sender = sender;
    this.#acknowledged = this.#received;
    // The list may shrink or grow while frames are sent only by calls of the owner, not by links.
    for (let index = this.#retainedFrom; index < this.#retained.length; index++) {
      sender.sendFrame(this.#retained[index] as Uint8Array);
    }
  }

  /** The link is gone; messages are kept from now on. Harmless when detached already. */
  detach(): void {
    this.#sender = undefined;
    this.#stopAckTimer();
  }

  /** Ends the session for good and forgets what is kept; `onFailed` is not called. */
  abandon(error: ProtocolError): void {
    this.detach();
    this.#failed ??= error;
    this.#retained = [];
    this.#retainedFrom = 0;
    this.#retainedBytes = 0;
  }

  /** Sends, or keeps until a link is attached. Bins are copied, the caller may reuse them. */
  send(message: Out): void {
    if (this.#failed !== undefined) return;
    const frame = encode(message);
    const full = this.#fullFor(frame);
    if (full !== undefined) {
      this.#fail(full);
      return;
    }
    this.#sent = (this.#sent + 1) >>> 0;
    this.#retained.push(frame);
    this.#retainedBytes += frame.length;
    this.#sender?.sendFrame(frame);
  }

  /**
   * Takes a sequenced message from the attached link, counts it and hands it on. Errors of the
   * handler pass through; the message stays counted.
   */
  receive(message: In): void {
    if (!this.#count()) return;
    this.#options.onMessage(message);
  }

  /** Counts a sequenced message that the link dropped as invalid: its sender counted it too. */
  skip(): void {
    this.#count();
  }

  /** The peer's `ack` message. Throws `session-mismatch` for a count that cannot be. */
  acknowledge(peerReceived: number): void {
    if (this.#sender === undefined) return;
    this.#heard = true;
    this.#release(peerReceived);
  }

  /** Acknowledges although nothing came: the peer is to hear that this side is there. */
  keepAlive(): void {
    this.#stopAckTimer();
    this.#sendAck();
  }

  #count(): boolean {
    if (this.#sender === undefined || this.#failed !== undefined) return false;
    this.#heard = true;
    this.#received = (this.#received + 1) >>> 0;
    const pending = (this.#received - this.#acknowledged) >>> 0;
    if (pending >= SESSION_ACK_EVERY) {
      this.#stopAckTimer();
      this.#sendAck();
    } else {
      this.#ackTimer ??= this.#clock.setTimeout(() => {
        this.#ackTimer = undefined;
        this.#sendAck();
      }, SESSION_ACK_QUIET_MS);
    }
    return true;
  }

  #sendAck(): void {
    this.#acknowledged = this.#received;
    this.#sender?.sendFrame(encode([Op.ack, this.#received]));
  }

  #stopAckTimer(): void {
    if (this.#ackTimer === undefined) return;
    this.#clock.clearTimeout(this.#ackTimer);
    this.#ackTimer = undefined;
  }

  /** Drops the frames the peer has. Clears the front of the list once half of it is unused. */
  #release(peerReceived: number): void {
    this.check(peerReceived);
    const missing = (this.#sent - peerReceived) >>> 0;
    while (this.retainedCount > missing) {
      this.#retainedBytes -= this.#retained[this.#retainedFrom]?.length ?? 0;
      this.#retained[this.#retainedFrom++] = undefined;
    }
    if (this.#retainedFrom * 2 < this.#retained.length) return;
    this.#retained = this.#retained.slice(this.#retainedFrom);
    this.#retainedFrom = 0;
  }

  #fullFor(frame: Uint8Array): 'MAX_RETAINED_MESSAGES' | 'MAX_RETAINED_BYTES' | undefined {
    if (this.retainedCount >= MAX_RETAINED_MESSAGES) return 'MAX_RETAINED_MESSAGES';
    const bytes = this.#retainedBytes + frame.length;
    return bytes > MAX_RETAINED_BYTES ? 'MAX_RETAINED_BYTES' : undefined;
  }

  #fail(code: 'MAX_RETAINED_MESSAGES' | 'MAX_RETAINED_BYTES'): void {
    const error = new ProtocolError(code);
    this.abandon(error);
    this.#clock.setTimeout(() => this.#options.onFailed(error), 0);
  }
}
