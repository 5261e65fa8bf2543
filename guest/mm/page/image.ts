import { z } from 'zod';
import { assert } from '../../../shared/lib/assert.ts';
import type { PfnRange } from '../../../shared/lib/pfn-ranges.ts';
import { addToFreeListTail } from './free-area.ts';
import { MIGRATE_PCPTYPES, MIGRATETYPE, MIGRATETYPE_NAMES, WMARK, ZONES } from './gfp.ts';
import { PAGE_EVENT, PAGE_STATE } from './page-lifecycle.ts';
import { listAddTail } from './page-list.ts';
import {
  ALLOC_ORDER_MASK,
  ALLOC_ORDER_SHIFT,
  DETAILS_WORD,
  MAX_ORDER,
  PAGEBLOCK_PAGES,
  PageMap,
  REFCOUNT_WORD,
} from './page-map.ts';
import { stepBlock } from './pcp.ts';
import { NR_PCP_LISTS, PAGE_ALLOC_COSTLY_ORDER, pindexToOrder } from './per-cpu-pages.ts';
import { HOLE_END_PFN, makeZones, spanOf } from './ram.ts';
import type { Tracepoints } from './tracepoints.ts';
import { ZONE_NAMES, type Zone } from './zone.ts';
import { normalThreshold } from './zone-tuning.ts';

/**
 * Memory as a recorded dump of a real guest's allocator shows it: every free list and per-CPU list
 * in its order. A dump does not say who holds the frames that are not free: all of them count as
 * allocated, the kernel image and the memory map included.
 */

const pfns = z.array(z.int().nonnegative());
const pageCount = z.int().nonnegative();
const freeArea = z.record(z.enum(MIGRATETYPE_NAMES), pfns);

const zoneDump = z.object({
  name: z.enum(ZONE_NAMES),
  start_pfn: pageCount,
  managed: pageCount,
  spanned: pageCount,
  present: pageCount,
  watermark: z.array(pageCount).length(4),
  lowmem_reserve: z.array(pageCount).min(ZONES),
  watermark_boost: pageCount.nullish(),
  nr_reserved_highatomic: pageCount.nullish(),
  /** Bit 0 ZONE_BOOSTED_WATERMARK, bit 1 ZONE_RECLAIM_ACTIVE. */
  flags: z.int().nonnegative().nullish(),
  /** What compaction remembers of the zone. */
  compact: z
    .object({
      cached_free_pfn: pageCount,
      cached_migrate_pfn: z.array(pageCount).length(2),
      init_migrate_pfn: pageCount,
      init_free_pfn: pageCount,
      considered: pageCount,
      defer_shift: pageCount,
      order_failed: pageCount,
    })
    .nullish(),
  free_area: z.array(freeArea).length(MAX_ORDER),
  pcp: z.object({
    count: pageCount,
    high: pageCount,
    batch: z.int().positive(),
    free_factor: z.int().nonnegative().nullish(),
    lists: z.array(pfns).length(NR_PCP_LISTS),
  }),
});
type ZoneDump = z.infer<typeof zoneDump>;

/** `freelists-*.json` of a recording; what is not named here is ignored. */
export const freeListDumpSchema = z.object({
  zones: z.array(zoneDump).min(1),
  pageblock_migratetype: z.array(
    z
      .int()
      .min(0)
      .max(MIGRATETYPE_NAMES.length - 1),
  ),
  pageblock_skip: z.array(z.int().min(0).max(1)).nullish(),
});
export type FreeListDump = z.infer<typeof freeListDumpSchema>;

/** Zones and frames as the dump has them. The dump must fit the regions. */
export function bootFromImage(
  dump: FreeListDump,
  regions: readonly PfnRange[],
  trace: Tracepoints,
): readonly Zone[] {
  const pages = new PageMap(spanOf(regions));
  pages.blockTypes.set(dump.pageblock_migratetype.slice(0, pages.blockTypes.length));
  pages.blockSkips.set(dump.pageblock_skip?.slice(0, pages.blockSkips.length) ?? []);
  const zones = makeZones(pages, regions, trace);
  for (const zoneData of dump.zones) {
    const zone = zones[ZONE_NAMES.indexOf(zoneData.name)];
    const fits = zone.startPfn === zoneData.start_pfn && zone.spannedPages === zoneData.spanned;
    assert(fits, 'a free-list dump is of a guest of this size');
    fillZone(zone, zoneData);
  }
  return zones;
}

/** Makes `pfn` the start of an allocation of 2^order frames that a dump could not name. */
export function adoptAllocation(pages: PageMap, pfn: number, order: number): void {
  const at = pfn << 2;
  const details = pages.words[at + DETAILS_WORD] & ~ALLOC_ORDER_MASK;
  pages.words[at + DETAILS_WORD] = details | (order << ALLOC_ORDER_SHIFT);
  pages.words[at + REFCOUNT_WORD] = 1;
}

function fillZone(zone: Zone, dump: ZoneDump): void {
  zone.managedPages = dump.managed;
  zone.watermark.set(dump.watermark);
  zone.lowmemReserve.set(dump.lowmem_reserve.slice(0, ZONES));
  zone.watermarkBoost = dump.watermark_boost ?? 0;
  zone.nrReservedHighatomic = dump.nr_reserved_highatomic ?? reservedHighatomic(zone);
  zone.boostedWatermark = ((dump.flags ?? 0) & 1) !== 0;
  zone.reclaimActive = ((dump.flags ?? 0) & 2) !== 0;
  fillCompaction(zone, dump);
  fillFreeLists(zone, dump);
  fillPerCpuLists(zone, dump);
  claimTheRest(zone);
  zone.foldStats();
  zone.statThreshold = normalThreshold(zone.presentPages);
  assert(zone.watermark[WMARK.min] > 0, 'a populated zone has watermarks');
}

/** The reserve of a dump that does not tell it: it is made of whole pageblocks. */
function reservedHighatomic(zone: Zone): number {
  let reserved = 0;
  for (let pfn = zone.startPfn; pfn < zone.endPfn; pfn += PAGEBLOCK_PAGES) {
    if (zone.pages.blockType(pfn) === MIGRATETYPE.highatomic) reserved += PAGEBLOCK_PAGES;
  }
  return reserved;
}

function fillCompaction({ compact }: Zone, dump: ZoneDump): void {
  if (dump.compact === undefined || dump.compact === null) return;
  compact.cachedFreePfn = dump.compact.cached_free_pfn;
  compact.cachedMigratePfn.set(dump.compact.cached_migrate_pfn);
  compact.initMigratePfn = dump.compact.init_migrate_pfn;
  compact.initFreePfn = dump.compact.init_free_pfn;
  compact.considered = dump.compact.considered;
  compact.deferShift = dump.compact.defer_shift;
  compact.orderFailed = dump.compact.order_failed;
}

function fillFreeLists(zone: Zone, dump: ZoneDump): void {
  dump.free_area.forEach((area, order) => {
    MIGRATETYPE_NAMES.forEach((name, migratetype) => {
      for (const pfn of area[name]) {
        stepBlock(zone, pfn, order, PAGE_EVENT.release);
        addToFreeListTail(zone, pfn, order, migratetype);
        zone.modFreePages(1 << order);
      }
    });
  });
}

function fillPerCpuLists(zone: Zone, dump: ZoneDump): void {
  const { pcp, pages } = zone;
  pcp.high = dump.pcp.high;
  pcp.batch = dump.pcp.batch;
  pcp.freeFactor = dump.pcp.free_factor ?? 0;
  dump.pcp.lists.forEach((list, pindex) => {
    const order = pindexToOrder(pindex);
    for (const pfn of list) {
      stepBlock(zone, pfn, order, PAGE_EVENT.release);
      stepBlock(zone, pfn, order, PAGE_EVENT.refill);
      const blockType = pages.blockType(pfn);
      const ofList = order <= PAGE_ALLOC_COSTLY_ORDER && blockType < MIGRATE_PCPTYPES;
      pages.setCachedType(pfn, ofList ? pindex % MIGRATE_PCPTYPES : blockType);
      listAddTail(zone.words, pfn, pcp.list(pindex));
      pcp.count += 1 << order;
    }
  });
  assert(pcp.count === dump.pcp.count, 'the per-CPU lists of a dump hold what it counts');
}

/** Frames that are on no list are somebody's: order 0, one reference. */
function claimTheRest(zone: Zone): void {
  const { pages } = zone;
  for (let pfn = Math.max(zone.startPfn, HOLE_END_PFN); pfn < zone.endPfn; pfn++) {
    if (pages.states.stateOf(pfn) !== PAGE_STATE.reserved) continue;
    pages.states.step(pfn, PAGE_EVENT.claim);
    adoptAllocation(pages, pfn, 0);
  }
}
