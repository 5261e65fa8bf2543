import type { Clock } from '../lib/clock.ts';

/**
 * Runs what a state machine's actions ask for once its transition is complete. An exception of an
 * effect then reaches whoever caused the event; thrown inside an action, xstate would catch it
 * and report it later, from nowhere. Effects caused by effects run after them, in order.
 */
export class EffectQueue {
  #waiting: (() => void)[] = [];
  #running = false;

  push(effect: () => void): void {
    this.#waiting.push(effect);
  }

  /** Runs all effects; does nothing when called from within one. */
  drain(): void {
    if (this.#running) return;
    this.#running = true;
    try {
      for (let effect = this.#waiting.shift(); effect; effect = this.#waiting.shift()) effect();
    } finally {
      this.#running = false;
    }
  }

  /** The clock for the actor: delayed transitions drain the queue as well. */
  clock(base: Clock): ActorClock {
    return {
      setTimeout: (callback, delayMs) =>
        base.setTimeout(() => {
          callback();
          this.drain();
        }, delayMs),
      clearTimeout: (handle) => base.clearTimeout(handle),
    };
  }
}

/** What xstate's `createActor` takes as a clock. */
export interface ActorClock {
  setTimeout(callback: () => void, delayMs: number): unknown;
  clearTimeout(handle: unknown): void;
}
