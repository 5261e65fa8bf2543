import type { LifecycleTable } from '../../shared/lifecycle/compile.ts';
import type { Waiting } from './scheduler.ts';

/**
 * A flow is a state machine whose states are the stages of something that may wait: a resize
 * round, a batch. Each stage is a generator that does its part and returns the event it ended
 * with; the compiled table says what comes next. Unlike a stepped procedure
 * (shared/lifecycle/procedure.ts) a flow holds locks over its waits and is not explored step by
 * step: between its named waits nothing else runs.
 */
export type Stage<World> = (world: World) => Waiting<number> | number;

export interface Flow<World> {
  readonly table: LifecycleTable<string, string>;
  /** The stage of each state by number; undefined marks the final states. */
  readonly stages: readonly (Stage<World> | undefined)[];
}

/** Runs a flow from its state 0 to a final state and returns that state's number. */
export function* runFlow<World>(flow: Flow<World>, world: World): Waiting<number> {
  let state = 0;
  for (let stage = flow.stages[state]; stage !== undefined; stage = flow.stages[state]) {
    const outcome = stage(world);
    const event = typeof outcome === 'number' ? outcome : yield* outcome;
    state = flow.table.step(state, event);
  }
  return state;
}
