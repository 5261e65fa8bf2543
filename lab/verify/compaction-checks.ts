import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { FreeListDump } from '../../guest/mm/page/image.ts';
import { PageDump, type RecordedFrames, UNKNOWN_FRAMES } from '../../guest/mm/page/page-dump.ts';
import type { KmemEvent } from '../../guest/workload/kmem-trace.ts';
import {
  allocationCheck,
  eventCheck,
  freeCheck,
  isExact,
  pfnCheck,
  placesCheck,
  readDump,
  readTrace,
  TRACE,
} from './allocator-checks.ts';
import { toldPages } from './allocator-run.ts';
import { balloonedPages, requireInUse } from './ballooned-pages.ts';
import { type CompactionInputs, type CompactionStep, runCompaction } from './compaction-run.ts';
import { compareEvents, comparePairs, pairsByTask } from './compaction-tasks.ts';
import { type CompactionTrace, parseCompactionTrace, type Section } from './compaction-trace.ts';
import { compareItems, joinChecks } from './compare.ts';
import { checked, readFrameRecords, readJson, readText, UnusableRecording } from './files.ts';
import { comparedPlaces, compareFreeLists } from './free-lists.ts';
import { migratedPairs, withoutMigrations } from './migrations.ts';
import type { Recording } from './recording.ts';
import type { Check } from './types.ts';
import type { WireEvent } from './wire-lines.ts';
import { comparedState, compareZoneState } from './zone-state.ts';

const PAGES = 'pages-before.bin.gz';
const META = 'meta.json';
const STEPS = z.object({ steps: z.unknown() });
const WRITE_NR_HUGEPAGES = /echo (\d{1,6}) > \/proc\/sys\/vm\/nr_hugepages/;

/** Does the recording hold the allocator's whole state, and did somebody compact memory? */
export function hasCompaction(directory: string): boolean {
  if (!isExact(directory)) return false;
  return parseCompactionTrace(readText(directory, TRACE)).sections.length > 0;
}

/**
 * The checks of an exact recording in which memory was compacted: every frame handed out, every
 * balloon page that moved, where to and by which task, every trace event and the task that did it,
 * every list at the end, and every PFN told by the balloon driver's own batches. Throws
 * UnusableRecording.
 */
export function compactionChecks(directory: string, recording: Recording): Check[] {
  const trace = parseCompactionTrace(readText(directory, TRACE));
  const after = readDump(directory, 'after', recording.memoryBytes);
  const [, sinceDump] = splitAtDump(recording.wire);
  let listDifferences: readonly string[] = [];
  let stateDifferences: readonly string[] = [];
  const outcome = runCompaction(compactionInputs(directory, recording, trace), (allocator) => {
    listDifferences = compareFreeLists(allocator, after);
    stateDifferences = compareZoneState(allocator, after);
  });
  return [
    joinChecks(
      allocationCheck(outcome.report),
      compareItems('allocator.pfn', trace.poolPfns, outcome.poolPfns, Object.is),
    ),
    freeCheck(outcome.report),
    eventCheck([outcome.report.zoneLocked, outcome.report.fallbacks]),
    comparePairs(
      pairsByTask(migratedPairs(sinceDump), trace.frees),
      pairsByTask(migratedPairs(outcome.wire), outcome.frees),
      trace.tasks,
    ),
    compareEvents(trace.events, outcome.events, trace.tasks),
    placesCheck('compaction.lists', comparedPlaces(after), listDifferences),
    placesCheck('compaction.zones', comparedState(after), stateDifferences),
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
  const before = readDump(directory, 'before', recording.memoryBytes);
  const events = readTrace(directory).filter(({ line }) => !trace.ownLines.has(line));
  const hugePages = requestedHugePages(directory) ?? trace.poolPfns.length;
  const frames = framesOf(directory, before);
  const ballooned = balloonedPages(beforeDump, directory);
  requireInUse(ballooned, { before, frames }, directory);
  const byLine = new Map(events.map((event) => [event.line, event]));
  return {
    memoryBytes: recording.memoryBytes,
    before,
    frames,
    ballooned,
    events,
    steps: trace.sections.map((section) => ({
      ...stepOf(section, { events, byLine }, directory),
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

interface Requests {
  readonly events: readonly KmemEvent[];
  readonly byLine: ReadonlyMap<number, KmemEvent>;
}

function stepOf(
  { by, firstLine, foreign }: Section,
  { events, byLine }: Requests,
  directory: string,
): Omit<CompactionStep, 'hugePages'> {
  const meanwhile = foreign.map(({ task, line, afterEvents }) => {
    const event = byLine.get(line);
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

function unusable(directory: string, reason: string): never {
  throw new UnusableRecording(`${directory}/${TRACE}: ${reason}`);
}
