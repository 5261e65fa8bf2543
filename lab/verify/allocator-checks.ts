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
import { compareItems, joinChecks } from './compare.ts';
import { checked, readBytes, readJson, readText, UnusableRecording } from './files.ts';
import { comparedPlaces } from './free-lists.ts';
import { PageFlags } from './page-flags.ts';
import type { Recording } from './recording.ts';
import type { ReplayReport, Tally } from './trace-player.ts';
import type { Check } from './types.ts';

export const TRACE = 'kmem-trace.txt.gz';
/** /proc/kpageflags at the first dump, which a recording may have. */
const FLAGS = 'kpageflags-before.u64le.gz';

/**
 * The checks of a recording that holds the page allocator's whole state (`exact-*`): every frame
 * handed out, every list at the end, and every PFN told by the balloon's own driver. None for a
 * recording without them. Throws UnusableRecording.
 */
export function allocatorChecks(directory: string, recording: Recording): Check[] {
  if (!existsSync(join(directory, TRACE))) return [];
  const after = readDump(directory, 'after');
  const hasFlags = existsSync(join(directory, FLAGS));
  const flags = hasFlags ? new PageFlags(readBytes(directory, FLAGS)) : undefined;
  const inputs: AllocatorInputs = {
    memoryBytes: recording.memoryBytes,
    before: readDump(directory, 'before'),
    events: readTrace(directory),
    targetPages: recording.wire.flatMap((event) =>
      event.ev === 'target' ? [event.num_pages] : [],
    ),
    ...(flags && { isMovable: (pfn: number) => flags.isMovableAlone(pfn) }),
  };
  const { report, listDifferences } = runAllocator(inputs, after);
  return [
    allocationCheck(report),
    listCheck('allocator.lists', after, listDifferences),
    pfnCheck(toldPages(recording.wire), runBalloonDriver(inputs)),
  ];
}

/** Every frame handed out, in order; those of a driven balloon apart, after the others. */
export function allocationCheck({ allocations, driverAllocations }: ReplayReport): Check {
  return joinChecks(tallyCheck(allocations), tallyCheck(driverAllocations));
}

function tallyCheck({ expected, produced, equal, firstDifference }: Tally): Check {
  return {
    name: 'allocator.pfn',
    total: Math.max(expected, produced),
    equal,
    firstDifference:
      firstDifference === undefined
        ? null
        : {
            index: firstDifference.line ?? expected,
            expected: firstDifference.expected?.[0] ?? null,
            actual: firstDifference.actual[0],
          },
  };
}

/** Every list of the dump after. */
export function listCheck(
  name: 'allocator.lists' | 'compaction.lists',
  after: FreeListDump,
  differences: readonly string[],
): Check {
  const total = comparedPlaces(after);
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

export function readDump(directory: string, label: 'before' | 'after'): FreeListDump {
  const file = `freelists-${label}.json.gz`;
  return checked(freeListDumpSchema, readJson(directory, file), `${directory}/${file}`);
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
