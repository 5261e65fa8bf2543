import type { PfnRange } from '../../../shared/lib/pfn-ranges.ts';
import { type AllocatorHooks, PageAllocator } from './alloc.ts';
import { freeOnePageToTail } from './buddy.ts';
import {
  __GFP_DMA,
  __GFP_RECLAIMABLE,
  GFP_HIGHUSER_MOVABLE,
  GFP_KERNEL,
  MIGRATETYPE,
} from './gfp.ts';
import { PAGE_EVENT } from './page-lifecycle.ts';
import { MAX_ORDER, PageMap } from './page-map.ts';
import { stepBlock } from './pcp.ts';
import { makeZones, spanOf } from './ram.ts';
import { reservedFrames } from './reserved.ts';
import type { Tracepoints } from './tracepoints.ts';
import { type Zone, zoneIndexOf } from './zone.ts';
import {
  hugepageMinFreePages,
  minFreePages,
  normalThreshold,
  setupLowmemReserve,
  setupPageset,
  setupPerZoneWmarks,
} from './zone-tuning.ts';

/**
 * A freshly booted guest. Boot is run through in short: memblock gives its ranges to the buddy
 * lists, watermarks are set up, the kernel and init take their pages through the allocator, init
 * sections and RAM disk are freed. So the lists look as after a boot; they are not those of one
 * particular recorded boot, for which there is image.ts.
 *
 * Exact for the recorded sizes: zones, managed pages, watermarks, reserves, batches. Modelled: who
 * holds the frames in use (order and place of some 7,000), everything above 4 GiB.
 */

/** Frames in use after boot, and how many more for each GiB. */
const USED_PAGES = 6870;
const USED_PAGES_PER_GIB = 170;
/** Of these: taken from DMA, mapped or cached, reclaimable slab. */
const USED_DMA_ORDER = 5;
const USED_LRU_PAGES = 843;
const USED_RECLAIMABLE_PAGES = 2250;
/** NR_FILE_PAGES: the unpacked RAM disk, all of it shared memory and none on a file LRU. */
const FILE_PAGES = 720;
/** Orders the kernel asks for, as in the recorded guests' slab and stack allocations. */
const KERNEL_ORDERS = [0, 1, 0, 3, 0, 2, 0, 1] as const;
/** A guest too small for all that does with a quarter of its memory. */
const USED_SHARE = 4;

/** Zones, frames and allocator of a fresh guest with RAM in `regions`. */
export function bootLayout(
  regions: readonly PfnRange[],
  trace: Tracepoints,
  hooks: AllocatorHooks | undefined,
): PageAllocator {
  const pages = new PageMap(spanOf(regions));
  pages.blockTypes.fill(MIGRATETYPE.movable);
  // The first pageblock begins with frames of the firmware; what is left of it is not for movable.
  pages.setBlockType(0, MIGRATETYPE.unmovable);
  const zones = makeZones(pages, regions, trace);
  const { kept, freedLate } = reservedFrames(regions);
  const reserved = [...kept, ...freedLate].sort((a, b) => a.start - b.start);
  for (const range of complement(reserved, regions)) releaseRange(zones, range);
  setUpZones(zones);
  const allocator = new PageAllocator({ zones, trace, ...(hooks && { hooks }) });
  takeBootPages(allocator);
  for (const range of freedLate) freeReservedArea(allocator, range);
  allocator.foldStats();
  return allocator;
}

/** Ranges of `regions` that are in none of the sorted `reserved` ranges. */
function complement(reserved: readonly PfnRange[], regions: readonly PfnRange[]): PfnRange[] {
  const free: PfnRange[] = [];
  for (const region of regions) {
    const regionEnd = region.start + region.count;
    let at = region.start;
    for (const { start, count } of reserved) {
      if (start < region.start || start >= regionEnd) continue;
      if (start > at) free.push({ start: at, count: start - at });
      at = start + count;
    }
    if (at < regionEnd) free.push({ start: at, count: regionEnd - at });
  }
  return free;
}

/** __free_pages_memory: the largest aligned blocks, ascending, to the lists' tails. */
function releaseRange(zones: readonly Zone[], range: PfnRange): void {
  const end = range.start + range.count;
  for (let pfn = range.start; pfn < end; ) {
    let order = Math.min(MAX_ORDER - 1, 31 - Math.clz32(pfn & -pfn));
    while (pfn + (1 << order) > end) order--;
    const zone = zones[zoneIndexOf(pfn)];
    stepBlock(zone, pfn, order, PAGE_EVENT.release);
    freeOnePageToTail(zone, pfn, order, zone.pages.blockType(pfn));
    zone.managedPages += 1 << order;
    pfn += 1 << order;
  }
}

/** init_per_zone_wmark_min, then khugepaged's larger minimum. */
function setUpZones(zones: readonly Zone[]): void {
  const managed = zones.reduce((sum, zone) => sum + zone.managedPages, 0);
  const least = minFreePages(managed);
  setupPerZoneWmarks(zones, least);
  setupLowmemReserve(zones);
  const forHugepages = hugepageMinFreePages(zones);
  if (forHugepages > least) setupPerZoneWmarks(zones, forHugepages);
  for (const zone of zones) {
    if (!zone.populated) continue;
    setupPageset(zone);
    zone.statThreshold = normalThreshold(zone.managedPages);
    zone.foldStats();
  }
}

/** What kernel and init hold after boot; nobody gives these pages back. */
function takeBootPages(allocator: PageAllocator): void {
  const managed = allocator.managedPages;
  const full = USED_PAGES + Math.round((managed * USED_PAGES_PER_GIB) / 262_144);
  const share = Math.min(1, managed / USED_SHARE / full);
  const lru = Math.round(USED_LRU_PAGES * share);
  const reclaimable = Math.round(USED_RECLAIMABLE_PAGES * share);
  allocator.alloc(USED_DMA_ORDER, GFP_KERNEL | __GFP_DMA);
  const unmovable = Math.round(full * share) - lru - reclaimable - (1 << USED_DMA_ORDER);
  takePages(allocator, unmovable, GFP_KERNEL);
  takePages(allocator, reclaimable, GFP_KERNEL | __GFP_RECLAIMABLE);
  for (let taken = 0; taken < lru; taken++) {
    allocator.lruAdd(allocator.alloc(0, GFP_HIGHUSER_MOVABLE));
  }
  allocator.levels.slabReclaimable = reclaimable;
  allocator.levels.filePages = Math.round(FILE_PAGES * share);
}

function takePages(allocator: PageAllocator, pages: number, gfp: number): void {
  for (let taken = 0, turn = 0; taken < pages; turn++) {
    const wished = KERNEL_ORDERS[turn % KERNEL_ORDERS.length];
    const order = Math.min(wished, 31 - Math.clz32(pages - taken));
    allocator.alloc(order, gfp);
    taken += 1 << order;
  }
}

/** free_reserved_area: page by page, ascending, as pages nobody has managed before. */
function freeReservedArea(allocator: PageAllocator, range: PfnRange): void {
  const { pages } = allocator;
  for (let pfn = range.start; pfn < range.start + range.count; pfn++) {
    pages.states.step(pfn, PAGE_EVENT.claim);
    pages.getFirst(pfn);
    allocator.adjustManagedPageCount(pfn, 1);
    allocator.putPage(pfn);
  }
}
