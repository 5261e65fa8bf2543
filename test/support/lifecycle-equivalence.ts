import { expect } from 'vitest';
import { type AnyStateMachine, createActor, getNextTransitions } from 'xstate';
import { getShortestPaths } from 'xstate/graph';
import { ILLEGAL, type LifecycleTable } from '../../shared/lifecycle/compile.ts';

/**
 * Proves that a compiled table and its state machine are the same thing: every numbered state can
 * be reached, every event in every state does the same in a real actor and in the table, both stay
 * in lock-step along the shortest path to each state, and no cell is legal that is not declared.
 */
export function expectTableEqualsMachine(machine: AnyStateMachine, table: LifecycleTable): void {
  expect(table.id).toBe(machine.id);
  expect([...table.stateNames].sort()).toEqual(Object.keys(machine.states).sort());
  expect([...table.eventNames].sort()).toEqual([...new Set(machine.events)].sort());
  expectEveryCellEqual(machine, table);
  expectLockStep(machine, table);
  const legalCells = table.next.reduce((sum, cell) => sum + (cell === ILLEGAL ? 0 : 1), 0);
  expect(legalCells, 'legal cells').toBe(declaredTransitions(machine, table));
}

/** Every state by every event, with an actor that is started in that state. */
function expectEveryCellEqual(machine: AnyStateMachine, table: LifecycleTable): void {
  table.stateNames.forEach((value, state) => {
    const snapshot = machine.resolveState({ value, context: {} });
    for (const tag of table.tags) {
      expect(table.hasTag(state, tag), `${tag} on ${value}`).toBe(snapshot.hasTag(tag));
    }
    table.eventNames.forEach((type, event) => {
      const what = `${table.id}: ${table.describe(state, event)}`;
      const can = snapshot.status === 'active' && snapshot.can({ type });
      expect(table.can(state, event), what).toBe(can);
      if (!can) {
        expect(() => table.step(state, event), what).toThrow('lifecycle step is illegal');
        return;
      }
      const actor = createActor(machine, { snapshot }).start();
      actor.send({ type });
      expect(table.stateNames[table.step(state, event)], what).toBe(actor.getSnapshot().value);
      actor.stop();
    });
  });
}

/** Walks an actor and the table together from the initial state to every other one. */
function expectLockStep(machine: AnyStateMachine, table: LifecycleTable): void {
  const events = table.eventNames.map((type) => ({ type }));
  const reached = new Set<string>();
  for (const path of getShortestPaths(machine, { events })) {
    const actor = createActor(machine).start();
    let state = table.initial;
    expect(table.stateNames[state]).toBe(actor.getSnapshot().value);
    for (const { event } of path.steps) {
      if (event.type === 'xstate.init') continue;
      actor.send(event);
      state = table.step(state, table.events[event.type]);
      expect(table.stateNames[state]).toBe(actor.getSnapshot().value);
    }
    reached.add(path.state.value);
    actor.stop();
  }
  expect([...reached].sort(), 'reachable states').toEqual([...table.stateNames].sort());
}

/** Transitions with a target; a state's own comes before the root's for the same event. */
function declaredTransitions(machine: AnyStateMachine, table: LifecycleTable): number {
  let count = 0;
  for (const value of table.stateNames) {
    const snapshot = machine.resolveState({ value, context: {} });
    if (snapshot.status !== 'active') continue;
    const seen = new Set<string>();
    for (const { eventType, target } of getNextTransitions(snapshot)) {
      if (seen.has(eventType)) continue;
      seen.add(eventType);
      if (target !== undefined && target.length > 0) count++;
    }
  }
  return count;
}
