import type { Clock } from '../lib/clock.ts';
import type { Counters } from '../lib/counters.ts';
import type { TimedMachine } from '../lifecycle/timed.ts';
import { MAX_INBOUND_BYTES, MAX_INBOUND_MESSAGES } from '../limits.ts';
import type { ProtocolErrorName } from '../protocol/errors.ts';
import { FloodWatch } from './flood-watch.ts';
import { type Rate, RateLimit } from './rate-limit.ts';
import type { TransportCounter } from './transport-counters.ts';

/** What a peer may send, and the state machine that says when it is closed for sending more. */
export interface InboundRate extends Rate {
  /** Made by compileFloodWatch. */
  readonly floodWatch: TimedMachine;
}

export interface InboundQueueOptions {
  readonly clock: Clock;
  readonly counters: Counters<TransportCounter>;
  readonly rate?: InboundRate | undefined;
}

/** What a queue asks of `link`; one table serves all links of a kind, see GateKeeper. */
export interface InboundHandlers<Owner> {
  deliver(link: Owner, frame: Uint8Array): void;
  /** Stops and restarts the source of frames. */
  throttle(link: Owner, on: boolean): void;
  /** The queue became empty after it had held something. */
  drained(link: Owner): void;
  /** The peer keeps sending faster than its rate. */
  flooded(link: Owner, error: ProtocolErrorName): void;
}

/** Who holds frames back: the link's owner, or the link because the peer does not read. */
export type Hold = 'owner' | 'outbound';
const HOLD_BITS: Readonly<Record<Hold, number>> = { owner: 1, outbound: 2 };

/**
 * Frames of a link on their way to its owner. While nothing holds it back a frame passes straight
 * through; otherwise it is copied (a frame is a view of a whole socket chunk) and waits. At
 * MAX_INBOUND_MESSAGES or MAX_INBOUND_BYTES the source is stopped until half of that is worked
 * off; what one more socket chunk holds may still come.
 */
export class InboundQueue<Owner> {
  readonly #options: InboundQueueOptions;
  readonly #handlers: InboundHandlers<Owner>;
  readonly #link: Owner;
  readonly #limit: RateLimit | undefined;
  #frames: Uint8Array[] = [];
  #bytes = 0;
  #holds = 0;
  #throttled = false;
  #timer: unknown;
  /** Made when the rate first holds something back: most links never need it. */
  #flood: FloodWatch | undefined;

  constructor(options: InboundQueueOptions, handlers: InboundHandlers<Owner>, link: Owner) {
    this.#options = options;
    this.#handlers = handlers;
    this.#link = link;
    const { rate, clock } = options;
    if (rate !== undefined) this.#limit = new RateLimit(rate, clock);
  }

  get length(): number {
    return this.#frames.length;
  }

  get throttled(): boolean {
    return this.#throttled;
  }

  receive(frame: Uint8Array): void {
    if (this.#holds === 0 && this.#frames.length === 0 && this.#mayPass(frame)) {
      this.#handlers.deliver(this.#link, frame);
      return;
    }
    this.#frames.push(Buffer.from(frame));
    this.#bytes += frame.length;
    if (this.#throttled || !this.#isAbove(1)) return;
    this.#throttled = true;
    const isMessages = this.#frames.length >= MAX_INBOUND_MESSAGES;
    this.#options.counters.add(isMessages ? 'MAX_INBOUND_MESSAGES' : 'MAX_INBOUND_BYTES');
    this.#handlers.throttle(this.#link, true);
    if (this.#holds === 0) this.#flood?.tell('full');
  }

  hold(by: Hold): void {
    this.#holds |= HOLD_BITS[by];
    this.#flood?.tell('stopped');
  }

  /** Delivery goes on with the next turn of the clock, unless someone else holds it. */
  release(by: Hold): void {
    this.#holds &= ~HOLD_BITS[by];
    if (this.#holds === 0 && this.#frames.length > 0) this.#workIn(0);
  }

  /** Forgets what waits; the link is about to end. */
  clear(): void {
    this.#frames = [];
    this.#bytes = 0;
    this.#flood?.stop();
  }

  #workIn(delayMs: number): void {
    this.#timer ??= this.#options.clock.setTimeout(() => this.#work(), delayMs);
  }

  #work(): void {
    this.#timer = undefined;
    while (this.#holds === 0) {
      const frame = this.#frames[0];
      if (frame === undefined || !this.#mayPass(frame)) break;
      this.#frames.shift();
      this.#bytes -= frame.length;
      this.#handlers.deliver(this.#link, frame);
    }
    if (this.#throttled && !this.#isAbove(0.5)) {
      this.#throttled = false;
      this.#handlers.throttle(this.#link, false);
    }
    if (this.#frames.length > 0) return;
    this.#flood?.tell('emptied');
    this.#handlers.drained(this.#link);
  }

  /** Whether the peer's rate lets the frame pass; if not, delivery goes on when it does. */
  #mayPass(frame: Uint8Array): boolean {
    const limit = this.#limit;
    if (limit === undefined || limit.take(frame.length)) return true;
    this.#options.counters.add('rate_held');
    this.#flood ??= this.#newFloodWatch();
    if (this.#throttled) this.#flood?.tell('full');
    this.#workIn(limit.waitMs);
    return false;
  }

  #newFloodWatch(): FloodWatch | undefined {
    const { rate, clock } = this.#options;
    if (rate === undefined) return undefined;
    return new FloodWatch(rate.floodWatch, clock, () => {
      const lacking = this.#limit?.lacking ?? 'messages';
      const error = lacking === 'messages' ? 'MAX_MESSAGES_PER_SECOND' : 'MAX_BYTES_PER_SECOND';
      this.#handlers.flooded(this.#link, error);
    });
  }

  #isAbove(share: number): boolean {
    const full = this.#frames.length >= MAX_INBOUND_MESSAGES * share;
    return full || this.#bytes >= MAX_INBOUND_BYTES * share;
  }
}
