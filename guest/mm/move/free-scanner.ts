import type { PageAllocator } from '../page/alloc.ts';
import { MIGRATETYPE } from '../page/gfp.ts';
import { isolateFreePage } from '../page/isolate-free.ts';
import { MAX_ORDER, PAGEBLOCK_ORDER, PAGEBLOCK_PAGES } from '../page/page-map.ts';
import { splitIsolatedPage } from '../page/split-isolated.ts';
import type { Zone } from '../page/zone.ts';
import { type CompactControl, pageblockEnd, pageblockStart } from './compact-control.ts';
import type { CompactionTrace } from './compaction-trace.ts';
import { COMPACT_CLUSTER_MAX, MIGRATE_MODE } from './constants.ts';
import { FreeListSearch } from './free-list-search.ts';
import { isolationSuitable, setPageblockSkip, updatePageblockSkip } from './skip-hints.ts';

/**
 * The free scanner: finds pages to migrate to, from the end of the zone downwards, pageblock by
 * pageblock and upwards within one. Before it walks, a run for one order looks for a block at the
 * upper end through the free lists.
 */
export class FreeScanner {
  readonly #trace: CompactionTrace;
  readonly #search = new FreeListSearch();
  /** Blocks isolated by the call under way, as PFN << 4 | order. */
  readonly #blocks: number[] = [];
  /** Pages of these blocks. */
  #pages = 0;
  /** Where the last look into a pageblock ended. */
  #stoppedAt = 0;
  #isolatedPages = 0;

  constructor(trace: CompactionTrace) {
    this.#trace = trace;
  }

  /** compaction_alloc: a free page, or -1 when the scanners have met. */
  take(cc: CompactControl): number {
    if (cc.nrFreePages === 0) this.#isolate(cc);
    if (cc.nrFreePages === 0) return -1;
    return cc.freePages[--cc.nrFreePages];
  }

  /** compaction_free: a page that was taken and is not needed. */
  giveBack(cc: CompactControl, pfn: number): void {
    cc.freePages[cc.nrFreePages++] = pfn;
  }

  /** release_freepages: frees what is left and returns the highest PFN of it. */
  release(cc: CompactControl, allocator: PageAllocator): number {
    let highest = 0;
    while (cc.nrFreePages > 0) {
      const pfn = cc.freePages[--cc.nrFreePages];
      allocator.putPage(pfn);
      if (pfn > highest) highest = pfn;
    }
    return highest;
  }

  /** Pages isolated since the last call, for vmstat's compact_isolated. */
  takeIsolated(): number {
    const isolated = this.#isolatedPages;
    this.#isolatedPages = 0;
    return isolated;
  }

  /** isolate_freepages. */
  #isolate(cc: CompactControl): void {
    this.#blocks.length = 0;
    if (cc.order > 0) this.#isolateFast(cc);
    if (this.#blocks.length === 0) this.#descend(cc);
    this.#split(cc);
  }

  /** fast_isolate_freepages with fast_isolate_around. */
  #isolateFast(cc: CompactControl): void {
    const found = this.#search.find(cc);
    if (found.block >= 0) this.#add(found.block, found.order);
    if (found.around < 0) return;
    if (this.#pages >= cc.nrMigratePages || cc.skipsOnFailure) return;
    const first = Math.max(pageblockStart(found.around), cc.zone.startPfn);
    const end = Math.min(pageblockEnd(found.around), cc.zone.endPfn);
    this.#isolateBlock(cc, first, end, 1);
    if (this.#pages < cc.nrMigratePages) setPageblockSkip(cc.zone.pages, first);
  }

  /** The walk of isolate_freepages. */
  #descend(cc: CompactControl): void {
    const { zone } = cc;
    const lowPfn = pageblockEnd(cc.migratePfn);
    let startPfn = cc.freePfn;
    let block = pageblockStart(startPfn);
    let end = Math.min(block + PAGEBLOCK_PAGES, zone.endPfn);
    let stride = cc.mode === MIGRATE_MODE.async ? COMPACT_CLUSTER_MAX : 1;
    for (; block >= lowPfn; end = block, block -= PAGEBLOCK_PAGES, startPfn = block) {
      if (!isTarget(cc, block) || !isolationSuitable(cc, block)) continue;
      const before = this.#pages;
      this.#isolateBlock(cc, startPfn, end, stride);
      startPfn = this.#stoppedAt;
      if (startPfn === end) updatePageblockSkip(cc, block);
      if (this.#pages >= cc.nrMigratePages) {
        if (startPfn >= end) startPfn = block - PAGEBLOCK_PAGES;
        break;
      }
      if (startPfn < end) break;
      stride = this.#pages > before ? 1 : Math.min(COMPACT_CLUSTER_MAX, stride << 1);
    }
    cc.freePfn = startPfn;
  }

  /**
   * isolate_freepages_block: from `start` on until there are as many free pages as pages to
   * migrate. With a stride above 1 only every so many frames are looked at.
   */
  #isolateBlock(cc: CompactControl, start: number, end: number, stride: number): void {
    const { pages } = cc.zone;
    const before = this.#pages;
    let scanned = 0;
    let pfn = start;
    for (; pfn < end; pfn += stride) {
      scanned++;
      const order = pages.blockOrder(pfn);
      if (order < 0) {
        const compound = pages.compoundOrder(pfn);
        if (compound < MAX_ORDER) pfn += (1 << compound) - 1;
        continue;
      }
      if (!isolateFreePage(cc.zone, pfn, order)) break;
      scanned += (1 << order) - 1;
      this.#add(pfn, order);
      if (cc.nrMigratePages <= this.#pages) {
        pfn += 1 << order;
        break;
      }
      pfn += (1 << order) - 1;
    }
    this.#stoppedAt = Math.min(pfn, end);
    this.#trace.isolateFreepages(start, this.#stoppedAt, scanned, this.#pages - before);
    cc.totalFreeScanned += scanned;
  }

  #add(pfn: number, order: number): void {
    this.#blocks.push((pfn << 4) | order);
    this.#pages += 1 << order;
    this.#isolatedPages += 1 << order;
  }

  /** split_map_pages: the page isolated last will be taken first. */
  #split(cc: CompactControl): void {
    for (const block of this.#blocks) {
      const pfn = block >>> 4;
      const order = block & 15;
      splitIsolatedPage(cc.zone, pfn, order);
      for (let at = pfn; at < pfn + (1 << order); at++) cc.freePages[cc.nrFreePages++] = at;
    }
    this.#pages = 0;
  }
}

/** pageblock_pfn_to_page and suitable_migration_target. */
function isTarget(cc: CompactControl, block: number): boolean {
  const { zone } = cc;
  if (!isInZone(zone, block)) return false;
  if (zone.pages.blockOrder(block) >= PAGEBLOCK_ORDER) return false;
  return cc.ignoreBlockSuitable || zone.pages.blockType(block) === MIGRATETYPE.movable;
}

function isInZone(zone: Zone, pfn: number): boolean {
  return pfn >= zone.startPfn && pfn < zone.endPfn;
}
