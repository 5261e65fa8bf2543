import { type Actor, assign, createActor, setup } from 'xstate';
import type { Clock } from '../../../shared/lib/clock.ts';
import { BALLOON_CHANGE_PERIOD_MS } from '../../../shared/limits.ts';
import type { MachineEvent } from '../../vmm/machine.ts';

/**
 * Where a throttle's timer comes from. A clock is one; verification hands in its own and lets the
 * timer expire at the moments of a recording.
 */
export type TimerSource = Pick<Clock, 'setTimeout' | 'clearTimeout'>;

interface ThrottleInput {
  readonly emit: (event: MachineEvent) => void;
}

/**
 * QEMU's throttle of one kind of event (monitor_qapi_event_queue): the first passes and arms a
 * timer. While the timer runs the latest event is held, an earlier held one forgotten. When it
 * expires a held event passes, with the time stamp of when it happened, and the timer is armed
 * again; without one the next event passes at once.
 */
export const eventThrottleStates = setup({
  types: {
    context: {} as ThrottleInput & { readonly held: MachineEvent | undefined },
    events: {} as { type: 'event'; event: MachineEvent } | { type: 'close' },
    input: {} as ThrottleInput,
  },
  delays: { period: BALLOON_CHANGE_PERIOD_MS },
  guards: { isHolding: ({ context }) => context.held !== undefined },
  actions: {
    emitHeld: ({ context }) => {
      if (context.held !== undefined) context.emit(context.held);
    },
    forget: assign({ held: undefined }),
  },
}).createMachine({
  id: 'qmp_event_throttle',
  context: ({ input }) => ({ emit: input.emit, held: undefined }),
  initial: 'open',
  on: { close: '.closed' },
  states: {
    open: {
      on: {
        event: { target: 'armed', actions: ({ context, event }) => context.emit(event.event) },
      },
    },
    armed: {
      on: { event: { actions: assign({ held: ({ event }) => event.event }) } },
      after: {
        period: [
          {
            guard: 'isHolding',
            target: 'armed',
            reenter: true,
            actions: ['emitHeld', 'forget'],
          },
          { target: 'open' },
        ],
      },
    },
    closed: { type: 'final' },
  },
});

/** One throttle: the monitor's for BALLOON_CHANGE. */
export class EventThrottle {
  readonly #actor: Actor<typeof eventThrottleStates>;

  constructor(timers: TimerSource, emit: (event: MachineEvent) => void) {
    this.#actor = createActor(eventThrottleStates, {
      input: { emit },
      clock: {
        setTimeout: (callback: () => void, delayMs: number) => timers.setTimeout(callback, delayMs),
        clearTimeout: (handle: unknown) => timers.clearTimeout(handle),
      },
    });
    this.#actor.start();
  }

  /** Emits the event now or holds it until the timer expires. */
  queue(event: MachineEvent): void {
    this.#actor.send({ type: 'event', event });
  }

  /** Cancels the timer; an event still held is lost. Call once, and queue nothing after. */
  close(): void {
    this.#actor.send({ type: 'close' });
  }
}
