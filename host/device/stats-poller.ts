import { type ActorRefFrom, assign, createActor, setup } from 'xstate';
import { assert } from '../../shared/lib/assert.ts';
import type { Clock } from '../../shared/lib/clock.ts';
import { MAX_TIMER_MS } from '../../shared/limits.ts';

type PollerEvent =
  | { readonly type: 'enable' | 'change'; readonly intervalMs: number }
  | { readonly type: 'disable' | 'answer' | 'asked' | 'noBuffer' };

/**
 * QEMU's statistics timer (6.2): the first request fires at once, the next is timed from the
 * answer, so a guest that does not answer is not asked again. A tick that finds no buffer is
 * timed anew.
 */
export const statsPollerMachine = setup({
  types: { context: {} as { readonly intervalMs: number }, events: {} as PollerEvent },
  delays: { interval: ({ context }) => context.intervalMs },
  actions: {
    setInterval: assign({
      intervalMs: ({ context, event }) =>
        'intervalMs' in event ? event.intervalMs : context.intervalMs,
    }),
  },
}).createMachine({
  id: 'stats_poller',
  context: { intervalMs: 0 },
  initial: 'off',
  on: { disable: '.off' },
  states: {
    off: { on: { enable: { target: 'due', actions: 'setInterval' } } },
    due: {
      after: { 0: 'tick' },
      on: { change: { target: 'waiting', actions: 'setInterval' }, answer: 'waiting' },
    },
    waiting: {
      after: { interval: 'tick' },
      on: {
        change: { target: 'waiting', reenter: true, actions: 'setInterval' },
        answer: { target: 'waiting', reenter: true },
      },
    },
    tick: { on: { asked: 'asked', noBuffer: 'waiting' } },
    asked: {
      on: { change: { target: 'waiting', actions: 'setInterval' }, answer: 'waiting' },
    },
  },
});

export interface PollerEffects {
  /** Whether the driver's buffer lies with the device and may be returned. */
  mayAsk(): boolean;
  /** Returns the buffer, which asks the driver for a new one. */
  ask(): void;
}

/**
 * Runs the timer of one device on the machine's clock, which stands still while it is paused. Its
 * actor, 4.3 KB, is made when polling is first turned on: most guests of a host are never polled.
 */
export class StatsPoller {
  readonly #clock: Clock;
  readonly #effects: PollerEffects;
  #actor: ActorRefFrom<typeof statsPollerMachine> | undefined;
  #intervalSeconds = 0;

  constructor(clock: Clock, effects: PollerEffects) {
    this.#clock = clock;
    this.#effects = effects;
  }

  get intervalSeconds(): number {
    return this.#intervalSeconds;
  }

  /** A whole number of seconds from 0, which turns polling off, to 2^32 - 1. */
  setInterval(seconds: number): void {
    assert(Number.isInteger(seconds) && seconds >= 0, 'a polling interval is whole seconds');
    if (seconds === this.#intervalSeconds) return;
    const type = this.#intervalSeconds === 0 ? 'enable' : 'change';
    this.#intervalSeconds = seconds;
    // A longer delay than timers hold is asked early, after 24 days.
    const intervalMs = Math.min(seconds * 1000, MAX_TIMER_MS);
    this.#running().send(seconds === 0 ? { type: 'disable' } : { type, intervalMs });
  }

  /** The driver sent a buffer of statistics. */
  answered(): void {
    this.#actor?.send({ type: 'answer' });
  }

  /** Ends the timer; nothing is asked any more. */
  stop(): void {
    this.#running().stop();
  }

  #running(): ActorRefFrom<typeof statsPollerMachine> {
    // What a tick does happens here and not in an action: xstate would catch its exceptions.
    const clock = {
      setTimeout: (callback: () => void, delayMs: number): unknown =>
        this.#clock.setTimeout(() => {
          callback();
          this.#tick();
        }, delayMs),
      clearTimeout: (handle: unknown): void => this.#clock.clearTimeout(handle),
    };
    this.#actor ??= createActor(statsPollerMachine, { clock }).start();
    return this.#actor;
  }

  #tick(): void {
    if (this.#actor?.getSnapshot().value !== 'tick') return;
    const mayAsk = this.#effects.mayAsk();
    this.#actor.send({ type: mayAsk ? 'asked' : 'noBuffer' });
    if (mayAsk) this.#effects.ask();
  }
}
