import { describe, expect, it } from 'vitest';
import { StateGraph } from '../../../lab/explore/graph.ts';
import { StateSet, TooManyStates } from '../../../lab/explore/state-set.ts';
import { MAX_EXPLORED_STATES } from '../../../shared/limits.ts';

/** States with their successors, who can move and who waits. */
function graphOf(
  rows: readonly (readonly [targets: readonly number[], movers: number, waiters: number])[],
): StateGraph {
  const graph = new StateGraph();
  for (const [targets, movers, waiters] of rows) {
    graph.beginState();
    for (const target of targets) graph.addEdge(target);
    graph.endState(movers, waiters);
  }
  return graph;
}

describe('orders as paths', () => {
  it('a lattice of 20 by 20 steps has 40 over 20', () => {
    const side = 21;
    const rows = Array.from({ length: side * side }, (_, state) => {
      const targets: number[] = [];
      if (state % side < side - 1) targets.push(state + 1);
      if (state < side * (side - 1)) targets.push(state + side);
      return [targets, 3, 0] as const;
    });
    const graph = graphOf(rows);
    const order = graph.topologicalOrder();
    expect(order && graph.countPaths(order)).toBe(137_846_528_820n);
  });

  it('two moves to the same state are two', () => {
    const graph = graphOf([
      [[1, 1], 1, 0],
      [[], 0, 0],
    ]);
    const order = graph.topologicalOrder();
    expect([graph.states, graph.transitions]).toEqual([2, 2]);
    expect(order && graph.countPaths(order)).toBe(2n);
  });

  it('are not counted where the graph has a cycle', () => {
    const graph = graphOf([
      [[1], 1, 0],
      [[0, 2], 1, 0],
      [[], 0, 0],
    ]);
    expect(graph.topologicalOrder()).toBeUndefined();
  });
});

describe('waits', () => {
  it('a wait that another actor’s move can end is none that lasts', () => {
    const graph = graphOf([
      [[1], 1, 2],
      [[2], 2, 0],
      [[], 0, 0],
    ]);
    expect(graph.endlessWait(graph.topologicalOrder())).toBeUndefined();
  });

  it('one that no state after it ends is found, in a cycle as well', () => {
    const graph = graphOf([
      [[1], 1, 0],
      [[2], 1, 2],
      [[1], 1, 2],
    ]);
    expect(graph.endlessWait(graph.topologicalOrder())).toEqual([1, 1]);
  });

  it('one in a cycle that can be left is none that lasts', () => {
    const graph = graphOf([
      [[1], 1, 2],
      [[0, 2], 1, 2],
      [[3], 2, 0],
      [[], 0, 0],
    ]);
    expect(graph.endlessWait(undefined)).toBeUndefined();
  });
});

describe('the set of states', () => {
  const add = (set: StateSet, value: number): number => {
    new DataView(set.rows.buffer).setInt32(set.count * set.width, value);
    return set.add();
  };

  it('numbers states in the order of their first sight', () => {
    const set = new StateSet(8);
    const numbers = [7, 8, 7, 9, 8].map((value) => add(set, value));
    expect(numbers).toEqual([0, 1, 0, 2, 1]);
    expect([set.count, set.wasNew]).toEqual([3, false]);
  });

  it('keeps them apart when it grows', () => {
    const set = new StateSet(4);
    for (let value = 0; value < 5000; value++) expect(add(set, value)).toBe(value);
    for (let value = 4999; value >= 0; value -= 7) expect(add(set, value)).toBe(value);
    expect(set.count).toBe(5000);
  });

  it('refuses more than MAX_EXPLORED_STATES', () => {
    const set = new StateSet(4);
    for (let value = 0; value < MAX_EXPLORED_STATES; value++) add(set, value);
    expect(() => add(set, MAX_EXPLORED_STATES)).toThrow(TooManyStates);
    expect(add(set, 5)).toBe(5);
  });
});
