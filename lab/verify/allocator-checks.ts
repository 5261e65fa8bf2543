import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type FreeListDump, freeListDumpSchema } from '../../guest/mm/page/image.ts';
import { parseKmemTrace, UnusableTrace } from '../../guest/workload/kmem-trace.ts';
import {
  type AllocatorInputs,
  runAllocator,
  runBalloonDriver,
  type ToldPages,
  toldPages,
} from './allocator-run.ts';
import { requireDumpOf } from './bootable.ts';
import { compareItems, joinChecks } from './compare.ts';
import { checked, readBytes, readJson, readText, UnusableRecording } from './files.ts';
import { comparedPlaces } from './free-lists.ts';
import { PageFlags } from './page-flags.ts';
import type { Recording } from './recording.ts';
import type { ReplayReport, Tally, TraceDifference } from './trace-player.ts';
import type { Check, Difference } from './types.ts';
import { comparedState } from './zone-state.ts';

export const TRACE = 'kmem-trace.txt.gz';
/** /proc/kpageflags at the first dump, which a recording may have. */
const FLAGS = 'kpageflags-before.u64le.gz';

/**
 * The checks of a recording that holds the page allocator's whole state (`exact-*`): every frame
 * handed out, every list at the end, and every PFN told by the balloon's own driver. None for a
 * recording without them. Throws UnusableRecording.
 */
export function allocatorChecks(directory: string, recording: Recording): Check[] {
  if (!isExact(directory)) return [];
  const after = readDump(directory, 'after', recording.memoryBytes);
  const hasFlags = existsSync(join(directory, FLAGS));
  const flags = hasFlags ? new PageFlags(readBytes(directory, FLAGS)) : undefined;
  const inputs: AllocatorInputs = {
    memoryBytes: recording.memoryBytes,
    before: readDump(directory, 'before', recording.memoryBytes),
    events: readTrace(directory),
    targetPages: recording.wire.flatMap((event) =>
      event.ev === 'target' ? [event.num_pages] : [],
    ),
    ...(flags && { isMovable: (pfn: number) => flags.isMovableAlone(pfn) }),
  };
  const { report, listDifferences, stateDifferences } = runAllocator(inputs, after);
  return [
    allocationCheck(report),
    freeCheck(report),
    eventCheck([report.zoneLocked, report.drains, report.fallbacks]),
    placesCheck('allocator.lists', comparedPlaces(after), listDifferences),
    placesCheck('allocator.zones', comparedState(after), stateDifferences),
    pfnCheck(toldPages(recording.wire), runBalloonDriver(inputs)),
  ];
}

/** Does the recording hold the allocator's whole state? One of its files asks for the others. */
export function isExact(directory: string): boolean {
  const files = [TRACE, dumpFile('before'), dumpFile('after')];
  return files.some((file) => existsSync(join(directory, file)));
}

/** Every frame handed out, in order; those of a driven balloon apart, after the others. */
export function allocationCheck({ allocations, driverAllocations }: ReplayReport): Check {
  return joinChecks(
    tallyCheck('allocator.pfn', allocations),
    tallyCheck('allocator.pfn', driverAllocations),
  );
}

/** Every recorded free gives back a block that is allocated here as well. */
export function freeCheck({ frees, impossibleFrees, firstImpossibleFree: first }: ReplayReport) {
  const check: Check = {
    name: 'allocator.frees',
    total: frees,
    equal: frees - impossibleFrees,
    firstDifference:
      first === undefined ? null : { index: first.line, expected: first.pfn, actual: null },
  };
  return check;
}

/** Blocks taken from the free lists, drained to them, had by fallback: each kind in its order. */
export function eventCheck(tallies: readonly Tally[]): Check {
  return tallies.map((tally) => tallyCheck('allocator.events', tally)).reduce(joinChecks);
}

function tallyCheck(
  name: 'allocator.pfn' | 'allocator.events',
  { expected, produced, equal, firstDifference }: Tally,
): Check {
  return {
    name,
    total: Math.max(expected, produced),
    equal,
    firstDifference:
      firstDifference === undefined
        ? null
        : {
            index: firstDifference.line ?? expected,
            ...differentValues(firstDifference),
          },
  };
}

/** PFNs where those differ; else all that is compared. */
function differentValues({ expected, actual }: TraceDifference): Omit<Difference, 'index'> {
  if (expected === undefined || actual.length === 0 || expected[0] !== actual[0]) {
    return { expected: expected?.[0] ?? null, actual: actual[0] ?? null };
  }
  return { expected: expected.slice(0, actual.length), actual };
}

/** So many places of the dump after, of which each difference is one. */
export function placesCheck(
  name: 'allocator.lists' | 'allocator.zones' | 'compaction.lists' | 'compaction.zones',
  total: number,
  differences: readonly string[],
): Check {
  const [first] = differences;
  return {
    name,
    total,
    equal: total - differences.length,
    firstDifference: first === undefined ? null : { index: 0, expected: first, actual: null },
  };
}

interface ToldPage {
  readonly queue: string;
  readonly pfn: number;
}

/** Every PFN told on the inflate and deflate queues, in order. */
export function pfnCheck(expected: readonly ToldPages[], actual: readonly ToldPages[]): Check {
  const pages = (told: readonly ToldPages[]): ToldPage[] =>
    told.flatMap(({ queue, pfns }) => pfns.map((pfn) => ({ queue, pfn })));
  return compareItems(
    'wire.pfns',
    pages(expected),
    pages(actual),
    (a, b) => a.queue === b.queue && a.pfn === b.pfn,
  );
}

/** Throws UnusableRecording, also for a dump that is of no guest of this size. */
export function readDump(
  directory: string,
  label: 'before' | 'after',
  memoryBytes: number,
): FreeListDump {
  const file = dumpFile(label);
  const where = `${directory}/${file}`;
  const dump = checked(freeListDumpSchema, readJson(directory, file), where);
  requireDumpOf(memoryBytes, dump, where);
  return dump;
}

function dumpFile(label: 'before' | 'after'): string {
  return `freelists-${label}.json.gz`;
}

/** The requests between the dumps. Throws UnusableRecording, also where there is none. */
export function readTrace(directory: string): ReturnType<typeof parseKmemTrace> {
  try {
    const events = parseKmemTrace(readText(directory, TRACE));
    if (events.length > 0) return events;
    throw new UnusableTrace('has no requests between DUMP-before and DUMP-after');
  } catch (error) {
    if (!(error instanceof UnusableTrace)) throw error;
    throw new UnusableRecording(`${directory}/${TRACE}: ${error.message}`);
  }
}
