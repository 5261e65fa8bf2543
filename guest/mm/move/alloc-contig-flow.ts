import { type StateValueFrom, setup } from 'xstate';
import { compileLifecycle } from '../../../shared/lifecycle/compile.ts';

/** alloc_contig_range: one attempt to have one range. alloc-contig.ts gives each stage its body. */
const contigMachine = setup({}).createMachine({
  id: 'alloc_contig_range',
  initial: 'isolate',
  states: {
    isolate: { on: { isolated: 'migrate', unmovable: 'failed' } },
    migrate: { on: { emptied: 'take', busy: 'take', noMemory: 'undo' } },
    take: { on: { taken: 'settle', notFree: 'undo' } },
    settle: { on: { settled: 'allocated' } },
    undo: { on: { settled: 'failed' } },
    allocated: { type: 'final' },
    failed: { type: 'final' },
  },
});
export const CONTIG_STATE = {
  isolate: 0,
  migrate: 1,
  take: 2,
  settle: 3,
  undo: 4,
  allocated: 5,
  failed: 6,
} as const satisfies Record<StateValueFrom<typeof contigMachine>, number>;
export const CONTIG_EVENT = {
  isolated: 0,
  unmovable: 1,
  emptied: 2,
  /** Some page did not move in five rounds; it may have been freed all the same. */
  busy: 3,
  noMemory: 4,
  taken: 5,
  notFree: 6,
  settled: 7,
} as const;

export const contigLifecycle = {
  machine: contigMachine,
  table: compileLifecycle(contigMachine, { states: CONTIG_STATE, events: CONTIG_EVENT }),
};
