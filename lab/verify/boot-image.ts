import { MIGRATETYPE, MIGRATETYPE_NAMES, MIGRATETYPES } from '../../guest/mm/page/gfp.ts';
import { type FreeListDump, freeListDumpSchema } from '../../guest/mm/page/image.ts';
import { MAX_ORDER, PAGEBLOCK_ORDER, PAGEBLOCK_PAGES } from '../../guest/mm/page/page-map.ts';
import { NR_PCP_LISTS } from '../../guest/mm/page/per-cpu-pages.ts';
import { HOLE_END_PFN } from '../../guest/mm/page/ram.ts';
import { BlockPlaces, type FrameRun } from './block-places.ts';
import type { BootState, ZoneState } from './boot-state.ts';

/**
 * A memory image with the free blocks that a recorded guest counted. Exact: zones, watermarks,
 * free blocks by order and migratetype, pageblocks by migratetype, frames on the per-CPU lists.
 * Chosen, since nobody recorded it: where blocks and pageblocks are, the order of the lists, and
 * which per-CPU lists the frames are on.
 */

/** Pageblocks stand in this order in a zone: the kernel has its own at the bottom. */
const PAGEBLOCK_SEQUENCE = [
  MIGRATETYPE.unmovable,
  MIGRATETYPE.reclaimable,
  MIGRATETYPE.highatomic,
  MIGRATETYPE.isolate,
  MIGRATETYPE.movable,
];

/**
 * Shares of the frames on the per-CPU lists, all of order 0. Recorded are 654 frames, of which an
 * inflation took 405 and left what is not movable, and 651, of which the free lists later had at
 * least 401 movable and 158 unmovable ones.
 */
const PCP_SHARES = { movable: 2 / 3, unmovable: 1 / 4 } as const;

/** Frames on the per-CPU lists lie together in runs of at most this order. */
const PCP_RUN_ORDER = 6;

/** Undefined where the counts do not fit into the zones. */
export function bootImage(state: BootState): FreeListDump | undefined {
  const types: number[] = [];
  const zones: unknown[] = [];
  for (const zone of state.zones) {
    const blockTypes = pageblockTypes(zone);
    const first = zone.startPfn >>> PAGEBLOCK_ORDER;
    for (const [index, type] of blockTypes.entries()) types[first + index] = type;
    const places = new BlockPlaces(runsOf(zone, blockTypes));
    const freeArea = placeBlocks(zone, places);
    if (freeArea === undefined) return undefined;
    zones.push(zoneDump(zone, freeArea, pcpLists(zone, places)));
  }
  const blockTypes = Array.from(types, (type) => type ?? MIGRATETYPE.movable);
  return freeListDumpSchema.parse({ zones, pageblock_migratetype: blockTypes });
}

export function zoneDump(
  zone: ZoneState,
  freeArea: unknown,
  lists: readonly (readonly number[])[],
) {
  const [min, low, high] = zone.watermark;
  return {
    name: zone.name,
    start_pfn: zone.startPfn,
    managed: zone.managedPages,
    spanned: zone.spannedPages,
    present: zone.presentPages,
    watermark: [min, low, high, high + (high - low)],
    lowmem_reserve: zone.lowmemReserve,
    free_area: freeArea,
    pcp: { ...zone.pcp, count: lists.reduce((sum, list) => sum + list.length, 0), lists },
  };
}

/** Migratetypes of the zone's pageblocks from its first one on. */
function pageblockTypes(zone: ZoneState): number[] {
  const end = zone.startPfn + zone.spannedPages;
  const length = Math.ceil(end / PAGEBLOCK_PAGES) - (zone.startPfn >>> PAGEBLOCK_ORDER);
  const types = PAGEBLOCK_SEQUENCE.flatMap((type) =>
    new Array<number>(zone.pageblocks[type]).fill(type),
  );
  return Array.from({ length }, (_, index) => types[index] ?? MIGRATETYPE.movable);
}

/** Frames that may be free, in runs of one migratetype. */
function runsOf(zone: ZoneState, blockTypes: readonly number[]): FrameRun[] {
  const runs: FrameRun[] = [];
  const zoneEnd = zone.startPfn + zone.spannedPages;
  const firstBlock = zone.startPfn >>> PAGEBLOCK_ORDER;
  for (const [index, migratetype] of blockTypes.entries()) {
    const blockStart = (firstBlock + index) * PAGEBLOCK_PAGES;
    const start = Math.max(blockStart, zone.startPfn, HOLE_END_PFN);
    const end = Math.min(blockStart + PAGEBLOCK_PAGES, zoneEnd);
    const last = runs.at(-1);
    if (last?.migratetype === migratetype && last.end === start) {
      runs[runs.length - 1] = { ...last, end };
    } else {
      runs.push({ start, end, migratetype });
    }
  }
  return runs;
}

/** free_area of a dump: PFNs by order and migratetype. */
function placeBlocks(zone: ZoneState, places: BlockPlaces): Record<string, number[]>[] | undefined {
  const area = Array.from({ length: MAX_ORDER }, () =>
    Object.fromEntries(MIGRATETYPE_NAMES.map((name): [string, number[]] => [name, []])),
  );
  for (let order = MAX_ORDER - 1; order >= 0; order--) {
    for (let migratetype = 0; migratetype < MIGRATETYPES; migratetype++) {
      for (let count = zone.freeBlocks[migratetype][order]; count > 0; count--) {
        const pfn = places.take(order, migratetype);
        if (pfn < 0) return undefined;
        area[order][MIGRATETYPE_NAMES[migratetype]].push(pfn);
      }
    }
  }
  return area;
}

/**
 * The 13 per-CPU lists, of which only those of order 0 hold frames. They have their places as if
 * they were free, so that giving them back joins them to nothing large.
 */
function pcpLists({ pcp }: ZoneState, places: BlockPlaces): number[][] {
  const movable = Math.round(pcp.count * PCP_SHARES.movable);
  const unmovable = Math.round(pcp.count * PCP_SHARES.unmovable);
  const counts = [unmovable, movable, pcp.count - movable - unmovable];
  return Array.from({ length: NR_PCP_LISTS }, (_, pindex) => {
    return takeFrames(places, counts[pindex] ?? 0, pindex);
  });
}

/** Frames in runs of 64 and less, in pageblocks of their migratetype as long as there is room. */
function takeFrames(places: BlockPlaces, count: number, migratetype: number): number[] {
  const frames: number[] = [];
  const types = [migratetype, MIGRATETYPE.unmovable, MIGRATETYPE.movable, MIGRATETYPE.reclaimable];
  for (const type of types) {
    for (let order = PCP_RUN_ORDER; order >= 0; order--) {
      while (count - frames.length >= 1 << order) {
        const start = places.take(order, type);
        if (start < 0) break;
        for (let index = 0; index < 1 << order; index++) frames.push(start + index);
      }
    }
  }
  return frames;
}
