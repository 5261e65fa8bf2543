import { setup } from 'xstate';
import type { Clock } from '../../shared/lib/clock.ts';
import { compileTimed, TimedActor, type TimedMachine } from '../../shared/lifecycle/timed.ts';
import { RESUME_WINDOW_MS } from '../../shared/limits.ts';

interface WatchEvent {
  readonly type: 'awaited' | 'opened' | 'ended';
}

/** Whether a guest's link is there, may come back, or is given up. */
export const linkWatchMachine = setup({
  types: { events: {} as WatchEvent },
  delays: { resumeWindow: RESUME_WINDOW_MS },
  actions: { giveUp: () => {} },
}).createMachine({
  id: 'guest_link',
  initial: 'absent',
  states: {
    absent: { on: { awaited: 'lost', opened: 'connected' } },
    connected: { on: { ended: 'lost' } },
    lost: {
      after: { resumeWindow: { target: 'absent', actions: 'giveUp' } },
      on: { opened: 'connected' },
    },
  },
});

/** The compiled watch of every guest of a host; the window is milliseconds of host time. */
export function compileLinkWatch(resumeWindowMs: number): TimedMachine {
  return compileTimed(linkWatchMachine.provide({ delays: { resumeWindow: resumeWindowMs } }));
}

const COMPILED = compileLinkWatch(RESUME_WINDOW_MS);
const EFFECTS = { giveUp: (giveUp: () => void) => giveUp() };

/** Calls `giveUp` when a lost link did not come back within the resume window. */
export class LinkWatch {
  readonly #actor: TimedActor<'absent' | 'connected' | 'lost', WatchEvent, 'giveUp', () => void>;

  constructor(clock: Clock, giveUp: () => void, compiled: TimedMachine = COMPILED) {
    this.#actor = new TimedActor(compiled, EFFECTS, clock, giveUp);
  }

  get state(): 'absent' | 'connected' | 'lost' {
    return this.#actor.state;
  }

  /** A link that an earlier host had may come back: the window runs from now. */
  awaited(): void {
    this.#actor.send({ type: 'awaited' });
  }

  opened(): void {
    this.#actor.send({ type: 'opened' });
  }

  ended(): void {
    this.#actor.send({ type: 'ended' });
  }

  /** Nothing is watched any more. */
  stop(): void {
    this.#actor.stop();
  }
}
