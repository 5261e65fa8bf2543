import { type StateValueFrom, setup } from 'xstate';
import { compileLifecycle } from '../../shared/lifecycle/compile.ts';

/**
 * The stages of the balloon driver's work, as state machines. virtio-balloon.ts gives each stage
 * its body; `guest/sched/flow.ts` runs them over the compiled tables.
 */

/** fill_balloon: allocate without the lock, pause once when out of puff, then tell what was had. */
const fillMachine = setup({}).createMachine({
  id: 'fill_balloon',
  initial: 'allocate',
  states: {
    allocate: { on: { full: 'enqueue', outOfPuff: 'pause' } },
    pause: { on: { woken: 'enqueue' } },
    enqueue: { on: { some: 'tell', none: 'done' } },
    tell: { on: { acked: 'done' } },
    done: { type: 'final' },
  },
});
export const FILL_STATE = {
  allocate: 0,
  pause: 1,
  enqueue: 2,
  tell: 3,
  done: 4,
} as const satisfies Record<StateValueFrom<typeof fillMachine>, number>;
export const FILL_EVENT = { full: 0, outOfPuff: 1, woken: 2, some: 3, none: 4, acked: 5 } as const;

/** leak_balloon: take from the list, tell always and first (N13, N14), then free. */
const leakMachine = setup({}).createMachine({
  id: 'leak_balloon',
  initial: 'dequeue',
  states: {
    dequeue: { on: { some: 'tell', none: 'done' } },
    tell: { on: { acked: 'release' } },
    release: { on: { freed: 'done' } },
    done: { type: 'final' },
  },
});
export const LEAK_STATE = {
  dequeue: 0,
  tell: 1,
  release: 2,
  done: 3,
} as const satisfies Record<StateValueFrom<typeof leakMachine>, number>;
export const LEAK_EVENT = { some: 0, none: 1, acked: 2, freed: 3 } as const;

/** update_balloon_size_func: one round of the resize work, target re-read at its start. */
const resizeMachine = setup({}).createMachine({
  id: 'update_balloon_size',
  initial: 'measure',
  states: {
    measure: { on: { reached: 'done', above: 'fill', below: 'leak' } },
    fill: { on: { filled: 'report' } },
    leak: { on: { leaked: 'report' } },
    report: { on: { written: 'done', again: 'requeue' } },
    requeue: { on: { queued: 'done' } },
    done: { type: 'final' },
  },
});
export const RESIZE_STATE = {
  measure: 0,
  fill: 1,
  leak: 2,
  report: 3,
  requeue: 4,
  done: 5,
} as const satisfies Record<StateValueFrom<typeof resizeMachine>, number>;
export const RESIZE_EVENT = {
  reached: 0,
  above: 1,
  below: 2,
  filled: 3,
  leaked: 4,
  written: 5,
  again: 6,
  queued: 7,
} as const;

/** report_free_page_func: a hinting round from its id to STOP, or the end of all rounds. */
const hintMachine = setup({}).createMachine({
  id: 'report_free_page',
  initial: 'look',
  states: {
    look: { on: { newRound: 'start', finished: 'release', nothing: 'done' } },
    start: { on: { told: 'hint' } },
    hint: { on: { hinted: 'hint', ended: 'stop' } },
    stop: { on: { told: 'done' } },
    release: { on: { freed: 'done' } },
    done: { type: 'final' },
  },
});
export const HINT_STATE = {
  look: 0,
  start: 1,
  hint: 2,
  stop: 3,
  release: 4,
  done: 5,
} as const satisfies Record<StateValueFrom<typeof hintMachine>, number>;
export const HINT_EVENT = {
  newRound: 0,
  finished: 1,
  nothing: 2,
  told: 3,
  hinted: 4,
  ended: 5,
  freed: 6,
} as const;

export const fillLifecycle = {
  machine: fillMachine,
  table: compileLifecycle(fillMachine, { states: FILL_STATE, events: FILL_EVENT }),
};
export const leakLifecycle = {
  machine: leakMachine,
  table: compileLifecycle(leakMachine, { states: LEAK_STATE, events: LEAK_EVENT }),
};
export const resizeLifecycle = {
  machine: resizeMachine,
  table: compileLifecycle(resizeMachine, { states: RESIZE_STATE, events: RESIZE_EVENT }),
};
export const hintLifecycle = {
  machine: hintMachine,
  table: compileLifecycle(hintMachine, { states: HINT_STATE, events: HINT_EVENT }),
};
