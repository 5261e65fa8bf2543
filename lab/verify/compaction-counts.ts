import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { PageAllocator } from '../../guest/mm/page/alloc.ts';
import { MAX_ORDER, PAGEBLOCK_ORDER, PAGEBLOCK_PAGES } from '../../guest/mm/page/page-map.ts';
import { balloonedPages } from './compaction-checks.ts';
import { runSteps, type StepsOutcome } from './compaction-run.ts';
import type { Compactor } from './compaction-trace.ts';
import { checked, readFrameRecords, readJson } from './files.ts';
import { flagsImage } from './flags-image.ts';
import { withoutMigrations } from './migrations.ts';
import { PageFlags } from './page-flags.ts';
import type { Recording } from './recording.ts';
import { readSnapshots, type Snapshot } from './snapshots.ts';
import type { Check } from './types.ts';

const FLAGS = 'kpageflags-inflated.u64le.gz';
const META = 'meta.json';
const BEFORE = 'inflated';

const PAGES_MOVED_SHARE = 0.02;
const COUNT_SHARE = 0.05;
const HUGE_PAGES = PAGEBLOCK_PAGES;
/** Free memory in large blocks may differ by so many blocks as well. */
const LARGE_BLOCKS = 2;

/** One figure: equal when it lies within the tolerance. */
interface Figure {
  readonly name: string;
  readonly recorded: number;
  readonly actual: number;
  readonly tolerance: number;
}

/**
 * The check of a recording that tells which frames were free before memory was compacted, but not
 * the order of the lists: how much was scanned and moved, and what came of it, within tolerances.
 * None for a recording without that.
 */
export function compactionCounts(directory: string, recording: Recording): Check[] {
  const action = actionOf(directory);
  const snapshots = readSnapshots(directory);
  const at = snapshots.findIndex(({ label }) => label === BEFORE);
  const [before, after] = [snapshots[at], snapshots[at + 1]];
  const isKnown = existsSync(join(directory, FLAGS)) && (before?.zones.length ?? 0) > 0;
  if (!isKnown || action === undefined || before === undefined || after === undefined) return [];
  const frames = Math.max(...before.zones.map((zone) => zone.startPfn + zone.spannedPages));
  const flags = new PageFlags(readFrameRecords(directory, FLAGS, { frames, recordBytes: 8 }));
  const outcome = runSteps({
    memoryBytes: recording.memoryBytes,
    before: flagsImage(flags, before.zones),
    frames: flags,
    ballooned: balloonedPages(firstInflation(recording)),
    kernelPages: Math.max(0, unclaimedPages(before) - unclaimedPages(after)),
    ...action,
  });
  return [figuresCheck(figures({ before, after, outcome, ...action }))];
}

/**
 * Frames that are free, cached or in the pool. Compaction leaves their number as it is: what is
 * missing afterwards others have taken, such as the buffer of the kernel's trace events.
 */
function unclaimedPages({ zones, vmstat }: Snapshot): number {
  const cached = zones.reduce((sum, { pcp }) => sum + pcp.count, 0);
  return vmstat('nr_free_pages') + cached + vmstat('htlb_buddy_alloc_success') * HUGE_PAGES;
}

interface Action {
  readonly by: Compactor;
  readonly hugePages: number;
}

/** What the recorder did between the snapshots, from the steps in meta.json. */
function actionOf(directory: string): Action | undefined {
  const { steps } = checked(z.object({ steps: z.unknown() }), readJson(directory, META), META);
  const text = JSON.stringify(steps);
  const [, hugePages] = /nr_hugepages=(\d{1,6})/.exec(text) ?? [];
  if (hugePages !== undefined) return { by: 'nr_hugepages', hugePages: Number(hugePages) };
  return text.includes('compact_memory') ? { by: 'compact_memory', hugePages: 0 } : undefined;
}

/** The wire up to the deflation, if there is one. */
function firstInflation({ wire }: Recording): Recording['wire'] {
  const batches = withoutMigrations(wire);
  const deflation = batches.findIndex((event) => event.ev === 'buf' && event.queue === 'deflate');
  return deflation < 0 ? batches : batches.slice(0, deflation);
}

interface Compared extends Action {
  readonly before: Snapshot;
  readonly after: Snapshot;
  readonly outcome: StepsOutcome;
}

function figures({ before, after, outcome, by }: Compared): Figure[] {
  const { events, migratedPages, hugePages, allocator } = outcome;
  const figure = (name: string, actual: number, share: number): Figure => {
    const recorded = after.vmstat(name) - before.vmstat(name);
    return { name, recorded, actual, tolerance: recorded * share };
  };
  const large = largeFreePages(after);
  const counted = [
    figure('balloon_migrate', migratedPages, PAGES_MOVED_SHARE),
    figure('compact_migrate_scanned', events.compact_migrate_scanned, COUNT_SHARE),
    figure('compact_free_scanned', events.compact_free_scanned, COUNT_SHARE),
    figure('compact_isolated', events.compact_isolated, COUNT_SHARE),
    {
      name: 'free pages in blocks of order 9 and above',
      recorded: large,
      actual: largeFree(allocator),
      tolerance: Math.max(large * COUNT_SHARE, LARGE_BLOCKS * PAGEBLOCK_PAGES),
    },
  ];
  if (by !== 'nr_hugepages') return counted;
  return [...counted, figure('htlb_buddy_alloc_success', hugePages, COUNT_SHARE)];
}

function largeFreePages({ zones }: Snapshot): number {
  let pages = 0;
  for (const { freeBlocks } of zones) {
    for (const counts of freeBlocks) {
      for (let order = PAGEBLOCK_ORDER; order < MAX_ORDER; order++) pages += counts[order] << order;
    }
  }
  return pages;
}

function largeFree({ zones }: PageAllocator): number {
  let pages = 0;
  for (const { nrFree } of zones) {
    for (let order = PAGEBLOCK_ORDER; order < MAX_ORDER; order++) pages += nrFree[order] << order;
  }
  return pages;
}

function figuresCheck(all: readonly Figure[]): Check {
  const isWithin = ({ recorded, actual, tolerance }: Figure): boolean =>
    Math.abs(actual - recorded) <= tolerance;
  const first = all.findIndex((figure) => !isWithin(figure));
  return {
    name: 'compaction.counts',
    total: all.length,
    equal: all.filter(isWithin).length,
    firstDifference:
      first < 0
        ? null
        : {
            index: first,
            expected: { [all[first].name]: all[first].recorded, tolerance: all[first].tolerance },
            actual: all[first].actual,
          },
  };
}
