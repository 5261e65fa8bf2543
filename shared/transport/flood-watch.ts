import { setup } from 'xstate';
import type { Clock } from '../lib/clock.ts';
import { compileTimed, TimedActor, type TimedMachine } from '../lifecycle/timed.ts';
import { FLOOD_CLOSE_MS } from '../limits.ts';

interface FloodEvent {
  /** `full`: more waits than may, and it is the rate that holds it back. */
  readonly type: 'full' | 'emptied' | 'stopped';
}

/**
 * Whether a peer sends without regard to its rate. One that waits for answers is slowed down to
 * the rate by it and never has a full queue, however long; only who does not wait is `flooding`,
 * from a full queue to an empty one. `stopped`: this side does not take messages for now.
 */
export const floodMachine = setup({
  types: { events: {} as FloodEvent },
  delays: { flood: FLOOD_CLOSE_MS },
  actions: { refuse: () => {} },
}).createMachine({
  id: 'inbound_flood',
  initial: 'calm',
  states: {
    calm: { on: { full: 'flooding' } },
    flooding: {
      after: { flood: { target: 'refused', actions: 'refuse' } },
      on: { emptied: 'calm', stopped: 'calm' },
    },
    refused: { type: 'final' },
  },
});

/** The compiled watch of every link of a port. */
export function compileFloodWatch(floodMs: number): TimedMachine {
  return compileTimed(floodMachine.provide({ delays: { flood: floodMs } }));
}

const EFFECTS = { refuse: (refuse: () => void) => refuse() };

/** Calls `refuse` when a flood has lasted. */
export class FloodWatch {
  readonly #actor: TimedActor<'calm' | 'flooding' | 'refused', FloodEvent, 'refuse', () => void>;

  constructor(compiled: TimedMachine, clock: Clock, refuse: () => void) {
    this.#actor = new TimedActor(compiled, EFFECTS, clock, refuse);
  }

  tell(type: FloodEvent['type']): void {
    this.#actor.send({ type });
  }

  /** Nothing is watched any more. */
  stop(): void {
    this.#actor.stop();
  }
}
