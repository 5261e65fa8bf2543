import { describe, expect, it } from 'vitest';
import type { Waiting } from '../../../guest/sched/scheduler.ts';
import {
  compareEvents,
  comparePairs,
  MigrationFrees,
  pairsByTask,
  RunningTask,
  type TaskEvent,
} from '../../../lab/verify/compaction-tasks.ts';

const isolated = (taken: number): string =>
  `mm_compaction_isolate_migratepages: range=(0x1 ~ 0x9) nr_scanned=9 nr_taken=${taken}`;
const MIGRATED = 'mm_migrate_pages: nr_succeeded=1 nr_failed=0';
const NAMES = new Map([['kcompactd', new Set(['kcompactd0-28'])]]);

describe('frees of migrations', () => {
  it('are those of a task between what it isolated and the end of migrate_pages', () => {
    const found = new MigrationFrees();
    found.free('a', 1);
    found.event({ task: 'a', event: isolated(3) });
    found.free('a', 2);
    found.free('b', 3);
    found.event({ task: 'b', event: isolated(1) });
    found.free('b', 4);
    found.event({ task: 'a', event: MIGRATED });
    found.free('a', 5);
    found.free('b', 6);
    found.event({ task: 'b', event: isolated(0) });
    found.free('b', 7);
    expect(found.frees).toEqual([
      { task: 'a', pfn: 2 },
      { task: 'b', pfn: 4 },
      { task: 'b', pfn: 6 },
    ]);
  });

  it('tell who moved the pairs of the wire, in order, programs’ pages in between', () => {
    const frees = [
      { task: 'a', pfn: 20 },
      { task: 'a', pfn: 99 },
      { task: 'b', pfn: 21 },
      { task: 'b', pfn: 20 },
    ];
    const pairs = [20, 21, 20].map((oldPfn) => ({ newPfn: oldPfn + 10, oldPfn }));
    expect(pairsByTask(pairs, frees).map(({ task }) => task)).toEqual(['a', 'b', 'b']);
  });

  it('tell nothing of a pair whose old frame nobody freed, or only before', () => {
    const frees = [
      { task: 'a', pfn: 20 },
      { task: 'a', pfn: 21 },
    ];
    const pairs = [21, 20, 22].map((oldPfn) => ({ newPfn: 1, oldPfn }));
    expect(pairsByTask(pairs, frees).map(({ task }) => task)).toEqual(['a', null, null]);
  });
});

describe('the running task', () => {
  it('is the one whose body runs, and none while it waits', () => {
    const running = new RunningTask();
    const seen: unknown[] = [];
    function* body(): Waiting {
      seen.push(running.name);
      running.other(() => seen.push(running.name));
      yield 0;
      seen.push(running.name);
    }
    const [a, b] = [running.as('a', body()), running.as('b', body())];
    expect(a.next()).toEqual({ value: 0, done: false });
    seen.push(running.name);
    b.next();
    a.next();
    b.next();
    expect(seen).toEqual(['a', null, null, 'b', null, 'a', 'b']);
    expect(a.next().done).toBe(true);
  });

  it('is none after one that threw', () => {
    const running = new RunningTask();
    function* body(): Waiting {
      yield 0;
      throw new Error('in vain');
    }
    const failing = running.as('a', body());
    failing.next();
    expect(() => failing.next()).toThrow('in vain');
    expect(running.name).toBeNull();
  });
});

describe('comparison by task', () => {
  const EVENTS: readonly TaskEvent[] = [
    { task: 'nr_hugepages', event: 'x' },
    { task: 'kcompactd', event: 'x' },
    { task: 'kcompactd', event: 'y' },
  ];

  it('counts the items of each task, with the names it was recorded under', () => {
    expect(compareEvents(EVENTS, EVENTS, NAMES)).toEqual({
      name: 'compaction.events',
      total: 3,
      equal: 3,
      firstDifference: null,
      tasks: [
        { task: 'nr_hugepages', recorded: [], total: 1, equal: 1 },
        { task: 'kcompactd', recorded: ['kcompactd0-28'], total: 2, equal: 2 },
      ],
    });
  });

  it('finds the right event done by the wrong task', () => {
    const wrong = EVENTS.map((event, index) => (index === 1 ? EVENTS[0] : event));
    const { equal, firstDifference, tasks } = compareEvents(EVENTS, wrong, NAMES);
    expect([equal, firstDifference]).toEqual([
      2,
      { index: 1, expected: EVENTS[1], actual: EVENTS[0] },
    ]);
    expect(tasks?.map((task) => [task.equal, task.total])).toEqual([
      [1, 1],
      [1, 2],
    ]);
  });

  it('finds the right page moved by the wrong task, and the wrong page by the right one', () => {
    const pair = { task: 'kcompactd', newPfn: 1, oldPfn: 2 };
    const against = (other: object): number =>
      comparePairs([pair], [{ ...pair, ...other }], NAMES).equal;
    expect(against({})).toBe(1);
    expect(against({ task: 'nr_hugepages' })).toBe(0);
    expect(against({ newPfn: 3 })).toBe(0);
    expect(against({ oldPfn: 3 })).toBe(0);
  });

  it('takes what nobody is known to have done for equal to nothing', () => {
    const unknown = [{ task: null, newPfn: 1, oldPfn: 2 }];
    expect(comparePairs(unknown, unknown, NAMES).equal).toBe(0);
  });

  it('counts a missing item for the recorded task, a surplus one for that of here', () => {
    const missing = compareEvents(EVENTS, EVENTS.slice(0, 2), NAMES);
    expect(missing.tasks?.at(-1)).toMatchObject({ task: 'kcompactd', total: 2, equal: 1 });
    const surplus = compareEvents(EVENTS.slice(0, 1), EVENTS, NAMES);
    expect(surplus.tasks?.at(-1)).toMatchObject({ task: 'kcompactd', total: 2, equal: 0 });
  });
});
