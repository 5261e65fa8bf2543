import type { Waiting } from '../../guest/sched/scheduler.ts';
import { compareItems } from './compare.ts';
import type { MigratedPair } from './migrations.ts';
import type { Check, CheckName, TaskCount } from './types.ts';

/**
 * Who did what while memory was compacted. Each side says so by itself: a recording by the task
 * that its trace names on every line, an emulation by which of its own tasks was running.
 *
 * Events carry their task. Pages that moved do not, as the wire knows no tasks; but whoever
 * migrates a page frees the old frame himself, before migrate_pages ends: the trace has one
 * mm_page_free for every page that mm_migrate_pages then counts, in the order in which the pages
 * were told to the host. So a pair is the work of the task that freed its old frame in a
 * migration, found frame by frame and in order; no clocks are compared. The emulation's pairs are
 * told from its own frees by the same rule.
 *
 * Not told: which task deflated or inflated beside migrations; that is the balloon driver alone.
 */

/**
 * A task as both sides call it: the `Compactor` it was at work as. A task that was none keeps its
 * recorded name, which no emulated task has. null: it is not known, or it is none that compacts;
 * equal to nothing.
 */
export type TaskName = string | null;

export interface TaskEvent {
  readonly task: TaskName;
  /** Name and fields, without time. */
  readonly event: string;
}

/** An old frame that a task freed while it migrated. */
export interface TaskFree {
  readonly task: TaskName;
  readonly pfn: number;
}

export interface TaskPair extends MigratedPair {
  readonly task: TaskName;
}

/** The tasks that a recording names, by the names of both sides. */
export type RecordedTasks = ReadonlyMap<TaskName, ReadonlySet<string>>;

const ISOLATED = /^mm_compaction_isolate_migratepages: .* nr_taken=(\d+)$/;
const MIGRATED = /^mm_migrate_pages: /;

/**
 * Keeps what tasks free between isolating pages and the end of migrate_pages: the old frames.
 * What compaction gives back at its end, and all else that is freed, is left out.
 */
export class MigrationFrees {
  readonly frees: TaskFree[] = [];
  readonly #moving = new Set<TaskName>();

  event({ task, event }: TaskEvent): void {
    const [, taken] = ISOLATED.exec(event) ?? [];
    if (Number(taken) > 0) this.#moving.add(task);
    else if (taken !== undefined || MIGRATED.test(event)) this.#moving.delete(task);
  }

  free(task: TaskName, pfn: number): void {
    if (this.#moving.has(task)) this.frees.push({ task, pfn });
  }
}

/** Pairs of the wire with the tasks that moved them; null where no free tells. */
export function pairsByTask(
  pairs: readonly MigratedPair[],
  frees: readonly TaskFree[],
): TaskPair[] {
  const places = new Map<number, number[]>();
  frees.forEach(({ pfn }, index) => {
    const known = places.get(pfn);
    if (known === undefined) places.set(pfn, [index]);
    else known.push(index);
  });
  let from = 0;
  return pairs.map((pair) => {
    const at = places.get(pair.oldPfn)?.find((place) => place >= from);
    if (at === undefined) return { task: null, ...pair };
    from = at + 1;
    return { task: frees[at].task, ...pair };
  });
}

/** Which of the emulation's tasks is running, and what it frees. */
export class RunningTask {
  #name: TaskName = null;

  /** Of the tasks given to `as`: null while another one runs. */
  get name(): TaskName {
    return this.#name;
  }

  /** The body of a task by this name: it runs whenever its body does, not while that waits. */
  *as(name: string, body: Waiting): Waiting {
    for (;;) {
      const step = this.#during(name, () => body.next());
      if (step.done === true) return;
      yield step.value;
    }
  }

  /** Another task runs, which is none of these. */
  other(run: () => void): void {
    this.#during(null, run);
  }

  #during<Result>(name: TaskName, run: () => Result): Result {
    const before = this.#name;
    this.#name = name;
    try {
      return run();
    } finally {
      this.#name = before;
    }
  }
}

/** Events in order: equal are those with the same fields that the same task did. */
export function compareEvents(
  expected: readonly TaskEvent[],
  actual: readonly TaskEvent[],
  recorded: RecordedTasks,
): Check {
  const same = (a: TaskEvent, b: TaskEvent): boolean => a.event === b.event;
  return compareByTask('compaction.events', [expected, actual], same, recorded);
}

/** Pages in order: equal are those that the same task moved from and to the same frames. */
export function comparePairs(
  expected: readonly TaskPair[],
  actual: readonly TaskPair[],
  recorded: RecordedTasks,
): Check {
  const same = (a: TaskPair, b: TaskPair): boolean =>
    a.newPfn === b.newPfn && a.oldPfn === b.oldPfn;
  return compareByTask('compaction.pairs', [expected, actual], same, recorded);
}

function compareByTask<Item extends { readonly task: TaskName }>(
  name: CheckName,
  [expected, actual]: readonly [readonly Item[], readonly Item[]],
  sameWork: (expected: Item, actual: Item) => boolean,
  recorded: RecordedTasks,
): Check {
  const same = (a: Item, b: Item): boolean =>
    a.task !== null && a.task === b.task && sameWork(a, b);
  const check = compareItems(name, expected, actual, same);
  const counts = new Map<TaskName, { total: number; equal: number }>();
  for (let index = 0; index < check.total; index++) {
    // An item is the recorded task's; a surplus one that of the task which did it here.
    const { task } = expected[index] ?? actual[index];
    const count = counts.get(task) ?? { total: 0, equal: 0 };
    counts.set(task, count);
    count.total++;
    const isPresent = index < expected.length && index < actual.length;
    if (isPresent && same(expected[index], actual[index])) count.equal++;
  }
  const tasks: TaskCount[] = [...counts].map(([task, count]) => {
    return { task, recorded: [...(recorded.get(task) ?? [])], ...count };
  });
  return { ...check, tasks };
}
