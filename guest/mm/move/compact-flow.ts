import { type StateValueFrom, setup } from 'xstate';
import { compileLifecycle } from '../../../shared/lifecycle/compile.ts';

/** compact_zone: one run over one zone. compact-zone.ts gives each stage its body. */
const compactMachine = setup({}).createMachine({
  id: 'compact_zone',
  initial: 'look',
  states: {
    look: { on: { suitable: 'begin', unsuitable: 'done' } },
    begin: { on: { begun: 'check' } },
    check: { on: { goOn: 'isolate', finished: 'end' } },
    isolate: { on: { taken: 'migrate', none: 'drain', aborted: 'end' } },
    migrate: { on: { migrated: 'drain', stuck: 'end' } },
    drain: { on: { goOn: 'check', captured: 'end' } },
    end: { on: { ended: 'done' } },
    done: { type: 'final' },
  },
});
export const COMPACT_STATE = {
  look: 0,
  begin: 1,
  check: 2,
  isolate: 3,
  migrate: 4,
  drain: 5,
  end: 6,
  done: 7,
} as const satisfies Record<StateValueFrom<typeof compactMachine>, number>;
export const COMPACT_EVENT = {
  suitable: 0,
  unsuitable: 1,
  begun: 2,
  goOn: 3,
  finished: 4,
  taken: 5,
  none: 6,
  aborted: 7,
  migrated: 8,
  stuck: 9,
  captured: 10,
  ended: 11,
} as const;

export const compactLifecycle = {
  machine: compactMachine,
  table: compileLifecycle(compactMachine, { states: COMPACT_STATE, events: COMPACT_EVENT }),
};
