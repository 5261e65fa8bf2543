import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { PageAllocator } from '../../guest/mm/page/alloc.ts';
import { MAX_ORDER, PAGEBLOCK_ORDER, PAGEBLOCK_PAGES } from '../../guest/mm/page/page-map.ts';
import { balloonedPages, requireInUse } from './ballooned-pages.ts';
import { GUEST_FILE } from './boot-state.ts';
import { requireStateOf } from './bootable.ts';
import { runSteps, type StepsOutcome } from './compaction-run.ts';
import type { Compactor } from './compaction-trace.ts';
import { checked, readFrameRecords, readJson, UnusableRecording } from './files.ts';
import { flagsImage } from './flags-image.ts';
import { withoutMigrations } from './migrations.ts';
import { PageFlags } from './page-flags.ts';
import type { Recording } from './recording.ts';
import { readSnapshots, type Snapshot } from './snapshots.ts';
import type { Check } from './types.ts';

const FLAGS = 'kpageflags-inflated.u64le.gz';
const META = 'meta.json';
const BEFORE = 'inflated';

const STEPS = z.object({ steps: z.array(z.unknown()).default([]) });

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
 * None for a recording without that. Throws UnusableRecording where one part of it is missing.
 */
export function compactionCounts(directory: string, recording: Recording): Check[] {
  if (!existsSync(join(directory, FLAGS))) return [];
  const { memoryBytes } = recording;
  const action = actionOf(directory);
  const { before, after } = snapshotsOf(directory, memoryBytes);
  const pageCount = Math.max(...before.zones.map((zone) => zone.startPfn + zone.spannedPages));
  const records = { frames: pageCount, recordBytes: 8 };
  const frames = new PageFlags(readFrameRecords(directory, FLAGS, records));
  const image = flagsImage(frames, before.zones);
  const ballooned = balloonedPages(firstInflation(recording), directory);
  requireInUse(ballooned, { before: image, frames }, directory);
  const outcome = runSteps({
    memoryBytes,
    before: image,
    frames,
    ballooned,
    kernelPages: Math.max(0, unclaimedPages(before) - unclaimedPages(after)),
    ...action,
  });
  return [figuresCheck(figures({ before, after, outcome, ...action }))];
}

/** The snapshot that goes with the flags, and the next one. */
function snapshotsOf(directory: string, memoryBytes: number): Record<'before' | 'after', Snapshot> {
  const where = `${directory}/${GUEST_FILE}`;
  const snapshots = readSnapshots(directory);
  const at = snapshots.findIndex(({ label }) => label === BEFORE);
  const [before, after] = [snapshots[at], snapshots[at + 1]];
  if (before === undefined || after === undefined) {
    throw new UnusableRecording(`${where}: no snapshots '${BEFORE}' and after it`);
  }
  for (const snapshot of [before, after]) {
    requireStateOf(memoryBytes, snapshot, `${where}: snapshot '${snapshot.label}'`);
  }
  return { before, after };
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
function actionOf(directory: string): Action {
  const where = `${directory}/${META}`;
  const { steps } = checked(STEPS, readJson(directory, META), where);
  const text = JSON.stringify(steps);
  const [, hugePages] = /nr_hugepages=(\d{1,6})/.exec(text) ?? [];
  if (hugePages !== undefined) return { by: 'nr_hugepages', hugePages: Number(hugePages) };
  if (text.includes('compact_memory')) return { by: 'compact_memory', hugePages: 0 };
  throw new UnusableRecording(`${where}: no step says what compacted memory`);
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
