import { assert } from '../lib/assert.ts';
import type { Clock } from '../lib/clock.ts';
import type { Counters } from '../lib/counters.ts';
import { decode, encode } from '../protocol/codec.ts';
import { PROTOCOL_ERRORS, ProtocolError } from '../protocol/errors.ts';
import type { Message } from '../protocol/messages.ts';
import { errorMessage, FrameGate, type GateKeeper } from './frame-gate.ts';
import type { Link, LinkEnd, LinkHandlers } from './link.ts';
import { OUTBOUND_CUT_BYTES } from './outbound.ts';
import type { TransportCounter } from './transport-counters.ts';
import { transportCounters } from './transport-counters.ts';

/**
 * Two ends of a link inside one process, for the simulator and for tests. Messages go through the
 * same codec and the same checks as on a WebSocket and arrive on a later turn of the clock, first
 * sent first delivered, all that is due in one turn. With a VirtualClock a run is a function of
 * its inputs. Not emulated: fragments, pings, the closing handshake's own time, and socket
 * buffers (what is sent stays in `bufferedBytes` until it is delivered).
 */

export type Direction = 'guest-to-host' | 'host-to-guest';

/**
 * What happens to one message on its way. A delayed message delays all behind it, as a slow wire
 * does: a link never reorders, because sessions count by order. To let others pass a held
 * message, use MessageHold above the session. `cut` ends the link with this message lost.
 */
export type TapVerdict = 'pass' | 'cut' | { readonly delayUntilMs: number };

export interface MemoryLinkOptions {
  /** Asked for each message when it is sent. */
  tap?(direction: Direction, message: Message): TapVerdict;
  readonly guestCounters?: Counters<TransportCounter>;
  readonly hostCounters?: Counters<TransportCounter>;
}

/** Makes a connected pair: what one side sends the other is handed, once both have started. */
export function memoryLinkPair(
  clock: Clock,
  options: MemoryLinkOptions = {},
): [guestSide: Link, hostSide: Link] {
  const { tap, guestCounters = transportCounters(), hostCounters = transportCounters() } = options;
  const tapOf = (direction: Direction): Tap => {
    return tap === undefined ? undefined : (message) => tap(direction, message);
  };
  const guest = new MemoryLink({
    clock,
    side: 'guest',
    counters: guestCounters,
    tap: tapOf('guest-to-host'),
  });
  const host = new MemoryLink({
    clock,
    side: 'host',
    counters: hostCounters,
    tap: tapOf('host-to-guest'),
  });
  guest.connect(host);
  host.connect(guest);
  return [guest, host];
}

type Tap = ((message: Message) => TapVerdict) | undefined;

interface Parcel {
  readonly frame: Uint8Array;
  readonly dueMs: number;
}

interface MemoryLinkParts {
  readonly clock: Clock;
  readonly side: 'guest' | 'host';
  readonly counters: Counters<TransportCounter>;
  readonly tap: Tap;
}

class MemoryLink implements Link {
  readonly #parts: MemoryLinkParts;
  readonly #gate: FrameGate<MemoryLink>;
  #peer: MemoryLink | undefined;
  #handlers: LinkHandlers | undefined;
  #phase: 'new' | 'open' | 'ended' = 'new';
  #paused = false;
  /** What the peer sent and was not delivered yet, the oldest first. */
  #inbox: Parcel[] = [];
  #inboxBytes = 0;
  /** How the link is going to end, behind what is still in the inbox. */
  #end: LinkEnd | undefined;
  #timer: unknown;
  #timerDueMs = Number.POSITIVE_INFINITY;

  static readonly #KEEPER: GateKeeper<MemoryLink> = {
    message: (link, message) => link.#handlers?.onMessage(message),
    dropped: (link, op) => link.#handlers?.onDropped?.(op),
    answer: (link, error) => link.send(errorMessage(error)),
    refuse: (link, error) => {
      link.send(errorMessage(error));
      link.close(error.close, error.code);
    },
  };

  constructor(parts: MemoryLinkParts) {
    this.#parts = parts;
    const from = parts.side === 'guest' ? 'host' : 'guest';
    this.#gate = new FrameGate(from, parts.counters, MemoryLink.#KEEPER, this);
  }

  /** Wires the two ends, once. */
  connect(peer: MemoryLink): void {
    this.#peer = peer;
  }

  get bufferedBytes(): number {
    const peer = this.#peer;
    return peer === undefined ? 0 : peer.#inboxBytes;
  }

  start(handlers: LinkHandlers): void {
    assert(this.#handlers === undefined, 'an in-memory link is started once');
    this.#handlers = handlers;
    this.#arm();
  }

  send(message: Message): void {
    this.sendFrame(encode(message));
  }

  sendFrame(frame: Uint8Array): void {
    if (this.#end !== undefined) return;
    const { counters } = this.#parts;
    const verdict = this.#tap(frame);
    if (verdict === 'cut') {
      this.terminate();
      return;
    }
    counters.add('messages_out');
    counters.add('bytes_out', frame.length);
    const peer = this.#peer;
    if (peer !== undefined) peer.#put(frame, verdict === 'pass' ? 0 : verdict.delayUntilMs);
    if (this.bufferedBytes <= OUTBOUND_CUT_BYTES) return;
    counters.add('OUTBOUND_HARD_BYTES');
    this.#cut(PROTOCOL_ERRORS.OUTBOUND_HARD_BYTES.close, 'OUTBOUND_HARD_BYTES');
  }

  /** A frame that is no message of this side passes: the receiver's checks are for it. */
  #tap(frame: Uint8Array): TapVerdict {
    const { tap, side } = this.#parts;
    if (tap === undefined) return 'pass';
    let message: Message;
    try {
      message = decode(frame, side);
    } catch (error) {
      if (error instanceof ProtocolError) return 'pass';
      throw error;
    }
    return tap(message);
  }

  close(code: number, reason: string): void {
    if (this.#end !== undefined) return;
    this.#empty();
    this.#endWith({ code, reason, byPeer: false });
    const peer = this.#peer;
    if (peer !== undefined) peer.#endWith({ code, reason, byPeer: true });
  }

  terminate(): void {
    this.#cut(1006, 'terminated');
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#arm();
  }

  /** Ends both sides at once and loses what is in flight in both directions. */
  #cut(code: number, reason: string): void {
    if (this.#end !== undefined) return;
    this.#empty();
    this.#endWith({ code, reason, byPeer: false });
    const peer = this.#peer;
    if (peer === undefined) return;
    peer.#empty();
    peer.#endWith({ code: 1006, reason: 'the link was cut', byPeer: true });
  }

  #put(frame: Uint8Array, delayUntilMs: number): void {
    const dueMs = Math.max(delayUntilMs, this.#inbox.at(-1)?.dueMs ?? 0);
    this.#inbox.push({ frame, dueMs });
    this.#inboxBytes += frame.length;
    this.#arm();
  }

  #empty(): void {
    this.#inbox = [];
    this.#inboxBytes = 0;
  }

  #endWith(end: LinkEnd): void {
    this.#end ??= end;
    this.#arm();
  }

  /** When something is to be told to the owner next. */
  #nextDueMs(): number {
    if (this.#handlers === undefined || this.#phase === 'ended') return Number.POSITIVE_INFINITY;
    const first = this.#inbox[0];
    if (this.#phase === 'new' || (first === undefined && this.#end !== undefined)) return 0;
    return first === undefined || this.#paused ? Number.POSITIVE_INFINITY : first.dueMs;
  }

  #arm(): void {
    const dueMs = this.#nextDueMs();
    if (dueMs >= this.#timerDueMs) return;
    const { clock } = this.#parts;
    clock.clearTimeout(this.#timer);
    this.#timerDueMs = dueMs;
    this.#timer = clock.setTimeout(() => this.#turn(), dueMs - clock.now());
  }

  /** Tells the owner what is due: the opening, then messages in order, then the end. */
  #turn(): void {
    this.#timer = undefined;
    this.#timerDueMs = Number.POSITIVE_INFINITY;
    if (this.#phase === 'ended') return;
    if (this.#phase === 'new') this.#open();
    const nowMs = this.#parts.clock.now();
    while (!this.#paused) {
      const first = this.#inbox[0];
      if (first === undefined || first.dueMs > nowMs) break;
      this.#inbox.shift();
      this.#inboxBytes -= first.frame.length;
      this.#gate.pass(first.frame);
    }
    if (this.#end !== undefined && this.#inbox.length === 0) {
      this.#phase = 'ended';
      this.#parts.counters.add('links_ended');
      this.#handlers?.onEnd(this.#end);
    }
    this.#arm();
  }

  #open(): void {
    this.#phase = 'open';
    if (this.#end?.byPeer === false) return;
    this.#parts.counters.add('links_opened');
    this.#handlers?.onOpen?.();
  }
}
