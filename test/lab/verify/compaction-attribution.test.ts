import { beforeAll, describe, expect, it } from 'vitest';
import { compactionInputs } from '../../../lab/verify/compaction-checks.ts';
import {
  type CompactionInputs,
  type CompactionOutcome,
  runCompaction,
} from '../../../lab/verify/compaction-run.ts';
import {
  compareEvents,
  comparePairs,
  pairsByTask,
  type TaskName,
} from '../../../lab/verify/compaction-tasks.ts';
import {
  type CompactionTrace,
  parseCompactionTrace,
} from '../../../lab/verify/compaction-trace.ts';
import { readText } from '../../../lab/verify/files.ts';
import { migratedPairs } from '../../../lab/verify/migrations.ts';
import { readRecording } from '../../../lab/verify/recording.ts';
import type { Check } from '../../../lab/verify/types.ts';

// Two tasks that compacted, one after the other: which of them did what. The recorder's init wrote
// nr_hugepages and compacted directly; kcompactd followed on its tick.
const DIRECTORY = 'lab/recordings/exact-hugepages-1g';
const TEXT = readText(DIRECTORY, 'kmem-trace.txt.gz');
const RECORDING = readRecording(DIRECTORY);
const TRACE = parseCompactionTrace(TEXT);
const PAIRS = migratedPairs(RECORDING.wire);

const inputsOf = (trace: CompactionTrace): CompactionInputs =>
  compactionInputs(DIRECTORY, RECORDING, trace);
const run = (inputs: CompactionInputs): CompactionOutcome => runCompaction(inputs, () => {});

function counts(items: readonly { readonly task: TaskName }[]): Record<string, number> {
  const found: Record<string, number> = {};
  for (const { task } of items) found[`${task}`] = (found[`${task}`] ?? 0) + 1;
  return found;
}

const equalByTask = ({ tasks = [] }: Check): unknown[] =>
  tasks.map(({ task, equal, total }) => [task, equal, total]);

/** The trace with one migration of kcompactd, from its isolation to its end, in init's name. */
function givenToInit(): CompactionTrace {
  const lines = TEXT.split('\n');
  const isKcompactds = (line: string, event: string): boolean =>
    line.startsWith('kcompactd0-28 > ') && line.includes(event);
  const end = lines.findIndex((line) => isKcompactds(line, ' mm_migrate_pages: '));
  const start = lines.findLastIndex(
    (line, index) => index < end && isKcompactds(line, ' mm_compaction_isolate_migratepages: '),
  );
  for (let index = start; index <= end; index++) {
    lines[index] = lines[index].replace('kcompactd0-28 ', 'init-1 ');
  }
  return parseCompactionTrace(lines.join('\n'));
}

describe('the recording', () => {
  it('has 143 pages moved by direct compaction and 289 by kcompactd', () => {
    const byTask = pairsByTask(PAIRS, TRACE.frees);
    expect(counts(byTask)).toEqual({ nr_hugepages: 143, kcompactd: 289 });
    expect(byTask.findIndex(({ task }) => task === 'kcompactd')).toBe(143);
    expect(counts(TRACE.events)).toEqual({ nr_hugepages: 409, kcompactd: 501 });
  });

  it('names who wrote nr_hugepages, and that 124 of 250 huge pages were had', () => {
    expect(TRACE.tasks).toEqual(
      new Map([
        ['nr_hugepages', new Set(['init-1'])],
        ['kcompactd', new Set(['kcompactd0-28'])],
      ]),
    );
    expect(inputsOf(TRACE).steps.map(({ hugePages }) => hugePages)).toEqual([250, 250]);
    expect(TRACE.poolPfns.filter((pfn) => pfn > 0)).toHaveLength(124);
    expect(TRACE.poolPfns.at(-1)).toBe(0);
  });

  it('has a free for every page that mm_migrate_pages counts, task by task', () => {
    const succeeded: Record<string, number> = {};
    for (const { task, event } of TRACE.events) {
      const [, count] = /^mm_migrate_pages: nr_succeeded=(\d+) /.exec(event) ?? [];
      if (count !== undefined) succeeded[`${task}`] = (succeeded[`${task}`] ?? 0) + Number(count);
    }
    expect(succeeded).toEqual({ nr_hugepages: 448, kcompactd: 594 });
    expect(counts(TRACE.frees)).toEqual(succeeded);
  });
});

describe('the emulation', () => {
  let outcome: CompactionOutcome;

  beforeAll(() => {
    outcome = run(inputsOf(TRACE));
  });

  it('moves as many by the same tasks, as its own tasks ran', () => {
    expect(counts(outcome.events)).toEqual({ nr_hugepages: 409, kcompactd: 501 });
    const byTask = pairsByTask(migratedPairs(outcome.wire), outcome.frees);
    expect(counts(byTask)).toEqual({ nr_hugepages: 143, kcompactd: 289 });
    expect(outcome.poolPfns.filter((pfn) => pfn > 0)).toHaveLength(124);
    // Pages of programs as well, frame by frame.
    expect(outcome.frees).toEqual(TRACE.frees);
  });

  it('differs where one recorded event is another task’s', () => {
    const moved = TEXT.replace(/^kcompactd0-28( > \S+ mm_migrate_pages: )/m, 'init-1$1');
    expect(moved).not.toBe(TEXT);
    const check = compareEvents(parseCompactionTrace(moved).events, outcome.events, TRACE.tasks);
    expect([check.equal, check.total]).toEqual([909, 910]);
    expect(check.firstDifference).toMatchObject({
      expected: { task: 'init-1' },
      actual: { task: 'kcompactd' },
    });
    expect(equalByTask(check)).toEqual([
      ['nr_hugepages', 409, 409],
      ['kcompactd', 500, 500],
      ['init-1', 0, 1],
    ]);
  });

  it('differs where recorded pages were moved by another task', () => {
    const pairs = pairsByTask(PAIRS, givenToInit().frees);
    const others = counts(pairs)['init-1'];
    expect(others).toBeGreaterThan(0);
    const actual = pairsByTask(migratedPairs(outcome.wire), outcome.frees);
    const check = comparePairs(pairs, actual, TRACE.tasks);
    expect([check.equal, check.total]).toEqual([432 - others, 432]);
    expect(equalByTask(check)).toContainEqual(['init-1', 0, others]);
  });

  it('differs in all that its kcompactd did not do, where another task does it', () => {
    const inputs = inputsOf(TRACE);
    const steps = inputs.steps.map((step) => {
      return step.by === 'kcompactd' ? { ...step, by: 'compact_memory' as const } : step;
    });
    const { events, frees, wire } = run({ ...inputs, steps });
    const ofEvents = compareEvents(TRACE.events, events, TRACE.tasks);
    expect(ofEvents.firstDifference).toMatchObject({
      index: 409,
      expected: { task: 'kcompactd' },
      actual: { task: 'compact_memory' },
    });
    expect(equalByTask(ofEvents)).toContainEqual(['nr_hugepages', 409, 409]);
    expect(equalByTask(ofEvents)).toContainEqual(['kcompactd', 0, 501]);
    const actual = pairsByTask(migratedPairs(wire), frees);
    const ofPairs = comparePairs(pairsByTask(PAIRS, TRACE.frees), actual, TRACE.tasks);
    expect(equalByTask(ofPairs)).toContainEqual(['nr_hugepages', 143, 143]);
    expect(equalByTask(ofPairs)).toContainEqual(['kcompactd', 0, 289]);
  });

  it('does not take for a task’s own what another one frees while it migrates', () => {
    const inputs = inputsOf(TRACE);
    const [growth, ...later] = inputs.steps;
    const isolated = TRACE.events.findIndex(({ event }) => /migratepages: .*taken=32$/.test(event));
    const foreign = growth.meanwhile.slice(0, -1);
    const [last] = growth.meanwhile.slice(-1);
    const meanwhile = [...foreign, { ...last, afterEvents: isolated + 1 }];
    const { frees } = run({ ...inputs, steps: [{ ...growth, meanwhile }, ...later] });
    expect(last.event.kind).toBe('F');
    expect(frees[0]).toEqual(TRACE.frees[0]);
    expect(frees.some(({ pfn }) => pfn === last.event.pfn)).toBe(false);
  });

  it('is given no names and no work of the recorded tasks', () => {
    const renamed = TEXT.replaceAll(/^init-1 /gm, 'sh-77 ').replaceAll(
      /^kcompactd0-28 /gm,
      'kcompactd0-5 ',
    );
    expect(inputsOf(parseCompactionTrace(renamed))).toEqual(inputsOf(TRACE));
    const idle = { ...TRACE, events: [], frees: [], tasks: new Map() };
    expect(inputsOf(idle)).toEqual(inputsOf(TRACE));
  });

  it('lets kcompactd sleep on where it has nothing to do, as it did on its tick before', () => {
    expect(TEXT).toMatch(/DUMP-before\nkcompactd0-28 > 7\.218826 mm_compaction_kcompactd_sleep/);
    const inputs = inputsOf(TRACE);
    const [before] = inputs.events;
    const tick = { before, by: 'kcompactd', hugePages: 250, meanwhile: [] } as const;
    expect(run({ ...inputs, steps: [tick, ...inputs.steps] }).events).toEqual(outcome.events);
  });
});
