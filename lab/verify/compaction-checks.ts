import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { FreeListDump } from '../../guest/mm/page/image.ts';
import { PageDump, type RecordedFrames, UNKNOWN_FRAMES } from '../../guest/mm/page/page-dump.ts';
import type { KmemEvent } from '../../guest/workload/kmem-trace.ts';
import {
  allocationCheck,
  listCheck,
  pfnCheck,
  readDump,
  readTrace,
  TRACE,
} from './allocator-checks.ts';
import { expandRuns, toldPages } from './allocator-run.ts';
import { type CompactionInputs, type CompactionStep, runCompaction } from './compaction-run.ts';
import { type CompactionTrace, parseCompactionTrace, type Section } from './compaction-trace.ts';
import { compareItems, joinChecks } from './compare.ts';
import { checked, readFrameRecords, readJson, readText, UnusableRecording } from './files.ts';
import { compareFreeLists } from './free-lists.ts';
import { migratedPairs, withoutMigrations } from './migrations.ts';
import type { Recording } from './recording.ts';
import type { Check } from './types.ts';
import type { WireEvent } from './wire-lines.ts';

const PAGES = 'pages-before.bin.gz';
const META = 'meta.json';
const STEPS = z.object({ steps: z.unknown() });
const WRITE_NR_HUGEPAGES = /echo (\d{1,6}) > \/proc\/sys\/vm\/nr_hugepages/;

/** Does the recording hold the allocator's whole state, and did somebody compact memory? */
export function hasCompaction(directory: string): boolean {
  if (!existsSync(join(directory, TRACE))) return false;
  return parseCompactionTrace(readText(directory, TRACE)).sections.length > 0;
}

/**
 * The checks of an exact recording in which memory was compacted: every frame handed out, every
 * balloon page that moved and where to, every trace event, every list at the end, and every PFN
 * told by the balloon driver's own batches. Throws UnusableRecording.
 */
export function compactionChecks(directory: string, recording: Recording): Check[] {
  const trace = parseCompactionTrace(readText(directory, TRACE));
  const after = readDump(directory, 'after');
  const [, sinceDump] = splitAtDump(recording.wire);
  let listDifferences: readonly string[] = [];
  const outcome = runCompaction(compactionInputs(directory, recording, trace), (allocator) => {
    listDifferences = compareFreeLists(allocator, after);
  });
  return [
    joinChecks(
      allocationCheck(outcome.report),
      compareItems('allocator.pfn', trace.poolPfns, outcome.poolPfns, Object.is),
    ),
    compareItems(
      'compaction.pairs',
      migratedPairs(sinceDump),
      migratedPairs(outcome.wire),
      (a, b) => a.newPfn === b.newPfn && a.oldPfn === b.oldPfn,
    ),
    compareItems('compaction.events', trace.events, outcome.events, Object.is),
    listCheck('compaction.lists', after, listDifferences),
    pfnCheck(toldPages(withoutMigrations(sinceDump)), toldPages(withoutMigrations(outcome.wire))),
  ];
}

/** The inputs of the checks: nothing in them comes of what compaction did. */
export function compactionInputs(
  directory: string,
  recording: Recording,
  trace: CompactionTrace,
): CompactionInputs {
  const [beforeDump, sinceDump] = splitAtDump(recording.wire);
  const before = readDump(directory, 'before');
  const events = readTrace(directory).filter(({ line }) => !trace.ownLines.has(line));
  const hugePages = requestedHugePages(directory) ?? trace.poolPfns.length;
  return {
    memoryBytes: recording.memoryBytes,
    before,
    frames: framesOf(directory, before),
    ballooned: balloonedPages(beforeDump),
    events,
    steps: trace.sections.map((section) => ({
      ...stepOf(section, events, directory),
      hugePages,
    })),
    targetPages: sinceDump.flatMap((event) => (event.ev === 'target' ? [event.num_pages] : [])),
  };
}

function framesOf(directory: string, { zones }: FreeListDump): RecordedFrames {
  if (!existsSync(join(directory, PAGES))) return UNKNOWN_FRAMES;
  const frames = Math.max(...zones.map((zone) => zone.start_pfn + zone.spanned));
  return new PageDump(readFrameRecords(directory, PAGES, { frames, recordBytes: 16 }));
}

function stepOf(
  { by, firstLine, foreign }: Section,
  events: readonly KmemEvent[],
  directory: string,
): Omit<CompactionStep, 'hugePages'> {
  const meanwhile = foreign.map(({ task, line, afterEvents }) => {
    const event = events.find((one) => one.line === line);
    if (event === undefined) return unusable(directory, `line ${line} is no request`);
    return { event, afterEvents, byKswapd: task.startsWith('kswapd') };
  });
  const before = events.find(({ line }) => line > firstLine);
  return {
    before: before ?? unusable(directory, 'nothing happens after the last compaction'),
    by,
    meanwhile,
  };
}

/** What was written to nr_hugepages, from the steps as they were typed. */
function requestedHugePages(directory: string): number | undefined {
  const { steps } = checked(STEPS, readJson(directory, META), `${directory}/${META}`);
  const [, count] = WRITE_NR_HUGEPAGES.exec(JSON.stringify(steps)) ?? [];
  return count === undefined ? undefined : Number(count);
}

/**
 * The wire before and since the first dump. For a dump QEMU is stopped, and each stop and cont
 * shows as a status that repeats the one there is.
 */
function splitAtDump(wire: readonly WireEvent[]): [before: WireEvent[], since: WireEvent[]] {
  let status = 0;
  const at = wire.findIndex((event) => {
    if (event.ev !== 'status') return false;
    const isRepeated = event.val === status && event.val !== 0;
    status = event.val;
    return isRepeated;
  });
  return at < 0 ? [[], [...wire]] : [wire.slice(0, at), wire.slice(at)];
}

/** The balloon's list after these events, oldest page first: what comes last goes first. */
export function balloonedPages(wire: readonly WireEvent[]): number[] {
  const pages: number[] = [];
  for (const event of withoutMigrations(wire)) {
    if (event.ev !== 'buf') continue;
    if (event.queue === 'inflate') pages.push(...expandRuns(event.runs));
    if (event.queue === 'deflate') pages.length -= event.n;
  }
  return pages;
}

function unusable(directory: string, reason: string): never {
  throw new UnusableRecording(`${directory}/${TRACE}: ${reason}`);
}
