import type { Clock } from '../lib/clock.ts';

/** What a peer may send; Infinity for no limit. */
export interface Rate {
  readonly messagesPerSecond: number;
  readonly bytesPerSecond: number;
}

/**
 * Two allowances that grow with time and hold two seconds' worth: of messages and of bytes. A
 * message is taken when something of both is left and may then go below zero, so that one larger
 * than an allowance still passes. The clock is read only when an allowance is used up.
 */
export class RateLimit {
  readonly #rate: Rate;
  readonly #clock: Clock;
  #messages: number;
  #bytes: number;
  #refilledMs: number;

  constructor(rate: Rate, clock: Clock) {
    this.#rate = rate;
    this.#clock = clock;
    this.#messages = 2 * rate.messagesPerSecond;
    this.#bytes = 2 * rate.bytesPerSecond;
    this.#refilledMs = clock.now();
  }

  /** Whether a message of this size may pass now; if so it is counted. */
  take(sizeBytes: number): boolean {
    if (this.#messages <= 0 || this.#bytes <= 0) {
      this.#refill();
      if (this.#messages <= 0 || this.#bytes <= 0) return false;
    }
    this.#messages--;
    this.#bytes -= sizeBytes;
    return true;
  }

  /** The allowance that is used up, after `take` said no. */
  get lacking(): 'messages' | 'bytes' {
    return this.#messages <= 0 ? 'messages' : 'bytes';
  }

  /** Time until something is left of both. */
  get waitMs(): number {
    const { messagesPerSecond, bytesPerSecond } = this.#rate;
    const messagesMs = waitFor(this.#messages, messagesPerSecond);
    return Math.max(messagesMs, waitFor(this.#bytes, bytesPerSecond), 1);
  }

  #refill(): void {
    const { messagesPerSecond, bytesPerSecond } = this.#rate;
    const nowMs = this.#clock.now();
    const seconds = (nowMs - this.#refilledMs) / 1000;
    this.#refilledMs = nowMs;
    this.#messages = grown(this.#messages, seconds, messagesPerSecond);
    this.#bytes = grown(this.#bytes, seconds, bytesPerSecond);
  }
}

/** Milliseconds until one is left. */
function waitFor(left: number, perSecond: number): number {
  return left >= 1 ? 0 : ((1 - left) / perSecond) * 1000;
}

function grown(left: number, seconds: number, perSecond: number): number {
  if (perSecond === Number.POSITIVE_INFINITY) return perSecond;
  return Math.min(left + seconds * perSecond, 2 * perSecond);
}
