import { setup } from 'xstate';
import { compileLifecycle } from '../../shared/lifecycle/compile.ts';
import type { RunState } from './machine.ts';

/**
 * QEMU's RunState as far as Puff has it. A guest that is gone for good leaves its machine
 * `guest-panicked`; only its return, a power-on, makes it run again. Commands that a state does
 * not list have no effect in it.
 */
export const runStateMachine = setup({}).createMachine({
  id: 'run_state',
  initial: 'running',
  states: {
    running: {
      tags: 'clockRuns',
      on: {
        stop: 'paused',
        powerOn: 'running',
        panic: 'guest-panicked',
        shutdown: 'shutdown',
      },
    },
    paused: {
      description: 'The guest runs no task and is sent no interrupt; it may be replaced.',
      on: { cont: 'running', powerOn: 'paused', panic: 'guest-panicked', shutdown: 'shutdown' },
    },
    'guest-panicked': { on: { powerOn: 'running', shutdown: 'shutdown' } },
    shutdown: { type: 'final' },
  },
});

export const RUN_STATE = {
  running: 0,
  paused: 1,
  'guest-panicked': 2,
  shutdown: 3,
} as const satisfies Record<RunState, number>;

export const RUN_EVENT = { stop: 0, cont: 1, powerOn: 2, panic: 3, shutdown: 4 } as const;

export const runStateTable = compileLifecycle(runStateMachine, {
  states: RUN_STATE,
  events: RUN_EVENT,
});
