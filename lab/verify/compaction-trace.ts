import {
  MigrationFrees,
  type RecordedTasks,
  type TaskEvent,
  type TaskFree,
} from './compaction-tasks.ts';

/**
 * What a recorded kmem trace tells of compaction: who did what that compacts, and when; the trace
 * events that came of it; which of the allocator's events are its own work and no requests. Reads
 * only what lies between the two dumps.
 */

/** What compacts: a write to compact_memory or nr_hugepages, or kcompactd by itself. */
export type Compactor = 'compact_memory' | 'kcompactd' | 'nr_hugepages';

/** One such action by one task, from its first line to its last (from 1). */
export interface Section {
  readonly by: Compactor;
  /** Name and number, as the trace has them: 'kcompactd0-28'. */
  readonly task: string;
  readonly firstLine: number;
  readonly lastLine: number;
  /** Requests of other tasks meanwhile, each with the compaction events of this one before it. */
  readonly foreign: readonly ForeignRequest[];
}

export interface ForeignRequest {
  readonly task: string;
  readonly line: number;
  readonly afterEvents: number;
}

/** A compaction or migration event: name and fields, without task and time. */
interface RecordedEvent {
  readonly task: string;
  readonly line: number;
  readonly text: string;
}

export interface CompactionTrace {
  readonly sections: readonly Section[];
  /** All events but those of kcompactd going to sleep, which happen whatever is emulated. */
  readonly events: readonly TaskEvent[];
  /** Old frames freed by migrations, in order. */
  readonly frees: readonly TaskFree[];
  /** Who did what is in `events` and `frees`. */
  readonly tasks: RecordedTasks;
  /** PFNs of the huge pages that the pool had, 0 for the one it could not have. */
  readonly poolPfns: readonly number[];
  /** Lines of allocator events that are the work of a section, not requests. */
  readonly ownLines: ReadonlySet<number>;
}

const EVENT = /^(\S+) > [\d.]+ (mm_\w+: .*)$/;
const FREE = /^(\S+) F (\d+) 0$/;
const MARKER = /tracing_mark_write: DUMP-(before|after)/;
/** Every guest has a DMA zone, where a run over all zones begins. */
const FIRST_ZONE = /^mm_compaction_suitable: node=0 zone=DMA +order=-1 /;
const ZONE_DONE = /^mm_compaction_end: /;
/** An allocation of the pool of huge pages, and what it did before. */
const POOL_PAGE = /^(\S+) A (\d+) 9 1 \S*__GFP_RETRY_MAYFAIL\|__GFP_COMP\|__GFP_THISNODE$/;
const WORK_KINDS: Readonly<Record<Compactor, ReadonlySet<string>>> = {
  compact_memory: new Set(['F', 'D']),
  kcompactd: new Set(['F', 'D']),
  nr_hugepages: new Set(['A', 'Z', 'D', 'F', 'X']),
};
const REQUEST_KINDS = new Set(['A', 'F']);

/** Fields of a line: task and kind first. */
type Lines = readonly string[];

export function parseCompactionTrace(text: string): CompactionTrace {
  const all = text.split('\n');
  const from = all.findIndex((line) => MARKER.exec(line)?.[1] === 'before');
  const to = all.findIndex((line) => MARKER.exec(line)?.[1] === 'after');
  // Line numbers stay those of the file.
  const lines = all.map((line, index) => (index > from && index < to ? line : ''));
  const events = recordedEvents(lines);
  const pool = poolPages(lines);
  const spans = [...wholeNodeRuns(events), ...poolGrowth(lines, pool)];
  spans.sort((a, b) => a.firstLine - b.firstLine);
  const sections = spans.map((span) => ({ ...span, foreign: foreignRequests(lines, span) }));
  return {
    sections,
    events: events.map((one) => ({ task: taskName(one, spans), event: one.text })),
    frees: migrationFrees(lines, spans),
    tasks: recordedTasks(spans),
    poolPfns: pool.map(({ pfn }) => pfn),
    ownLines: new Set(sections.flatMap((section) => ownLines(lines, section))),
  };
}

function recordedEvents(lines: Lines): RecordedEvent[] {
  return lines.flatMap((line, index) => {
    const [, task, text] = EVENT.exec(line) ?? [];
    if (task === undefined || text.startsWith('mm_compaction_kcompactd_sleep')) return [];
    return [{ task, line: index + 1, text }];
  });
}

type Span = Omit<Section, 'foreign'>;
type Spans = readonly Span[];

/** Whole-node runs: each from its first zone being found suitable to the end of its last. */
function wholeNodeRuns(events: readonly RecordedEvent[]): Span[] {
  const runs: { by: Compactor; task: string; firstLine: number; lastLine: number }[] = [];
  for (const { task, line, text } of events) {
    const by = task.startsWith('kcompactd') ? 'kcompactd' : 'compact_memory';
    if (FIRST_ZONE.test(text)) runs.push({ by, task, firstLine: line, lastLine: line });
    const current = runs.findLast((run) => run.task === task);
    if (current !== undefined && ZONE_DONE.test(text)) current.lastLine = line;
  }
  return runs;
}

/** What the task was at work as, or its own name where it was at work as nothing. */
function taskName({ task, line }: Pick<RecordedEvent, 'task' | 'line'>, spans: Spans): string {
  const span = spans.find((one) => {
    return one.task === task && one.firstLine <= line && line <= one.lastLine;
  });
  return span?.by ?? task;
}

function recordedTasks(spans: Spans): RecordedTasks {
  const tasks = new Map<string, Set<string>>();
  for (const { by, task } of spans) tasks.set(by, (tasks.get(by) ?? new Set()).add(task));
  return tasks;
}

function migrationFrees(lines: Lines, spans: Spans): readonly TaskFree[] {
  const found = new MigrationFrees();
  const from = spans[0]?.firstLine ?? 1;
  const to = spans.reduce((last, span) => Math.max(last, span.lastLine), 0);
  for (let line = from; line <= to; line++) {
    const text = lines[line - 1];
    const [, freedBy, pfn] = FREE.exec(text) ?? [];
    if (freedBy !== undefined) {
      found.free(taskName({ task: freedBy, line }, spans), Number(pfn));
      continue;
    }
    const [, task, event] = EVENT.exec(text) ?? [];
    if (task !== undefined) found.event({ task: taskName({ task, line }, spans), event });
  }
  return found.frees;
}

interface PoolPage {
  readonly task: string;
  readonly pfn: number;
  readonly line: number;
}

function poolPages(lines: Lines): PoolPage[] {
  return lines.flatMap((line, index) => {
    const [, task, pfn] = POOL_PAGE.exec(line) ?? [];
    return task === undefined ? [] : [{ task, pfn: Number(pfn), line: index + 1 }];
  });
}

/** From what the first page took from the free lists to the last page, or the one not to be had. */
function poolGrowth(lines: Lines, pool: readonly PoolPage[]): Span[] {
  const [first] = pool;
  if (first === undefined) return [];
  let { line } = first;
  while (lines[line - 2]?.startsWith(`${first.task} Z `)) line--;
  const lastLine = pool[pool.length - 1].line;
  return [{ by: 'nr_hugepages', task: first.task, firstLine: line, lastLine }];
}

function foreignRequests(lines: Lines, { task, firstLine, lastLine }: Span): Section['foreign'] {
  const foreign: ForeignRequest[] = [];
  let afterEvents = 0;
  for (let line = firstLine; line <= lastLine; line++) {
    const [by, kind] = lines[line - 1].split(' ', 2);
    if (by === task && EVENT.test(lines[line - 1])) afterEvents++;
    if (by !== task && REQUEST_KINDS.has(kind)) foreign.push({ task: by, line, afterEvents });
  }
  return foreign;
}

function ownLines(lines: Lines, { by, task, firstLine, lastLine }: Span): number[] {
  const own: number[] = [];
  for (let line = firstLine; line <= lastLine; line++) {
    const [who, kind] = lines[line - 1].split(' ', 2);
    if (who === task && WORK_KINDS[by].has(kind)) own.push(line);
  }
  return own;
}
