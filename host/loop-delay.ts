import type { Clock } from '../shared/lib/clock.ts';

/** How late the event loop came to its work; milliseconds. */
export interface LoopDelay {
  readonly mean: number;
  readonly p99: number;
  readonly max: number;
}

const PERIOD_MS = 50;
/** A minute of samples. */
const SAMPLES = 1200;

/**
 * Sets itself an alarm again and again and sees how late it is called: over the last minute, for
 * any number of readers. Node's own histogram can only be read since its last reset, and a reset
 * misses what goes on at that moment.
 */
export class LoopDelayMeter {
  readonly #clock: Clock;
  readonly #samples = new Float64Array(SAMPLES);
  #count = 0;
  #timer: unknown;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#arm();
  }

  look(): LoopDelay {
    const count = Math.min(this.#count, SAMPLES);
    if (count === 0) return { mean: 0, p99: 0, max: 0 };
    const sorted = this.#samples.slice(0, count).sort();
    const sum = sorted.reduce((total, ms) => total + ms, 0);
    const rounded = (ms: number): number => Math.round(ms * 1000) / 1000;
    return {
      mean: rounded(sum / count),
      p99: rounded(sorted[Math.ceil(count * 0.99) - 1]),
      max: rounded(sorted[count - 1]),
    };
  }

  stop(): void {
    this.#clock.clearTimeout(this.#timer);
  }

  #arm(): void {
    const dueMs = this.#clock.now() + PERIOD_MS;
    this.#timer = this.#clock.setTimeout(() => {
      // Timers may fire a fraction of a millisecond early.
      this.#samples[this.#count++ % SAMPLES] = Math.max(0, this.#clock.now() - dueMs);
      this.#arm();
    }, PERIOD_MS);
  }
}
