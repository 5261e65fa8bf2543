import { MIGRATETYPE } from '../page/gfp.ts';
import { isolateFreePage } from '../page/isolate-free.ts';
import { listPrevious, listRotateToFront } from '../page/page-list.ts';
import { PAGEBLOCK_PAGES } from '../page/page-map.ts';
import { type CompactControl, pageblockStart } from './compact-control.ts';
import { COMPACT_CLUSTER_MAX } from './constants.ts';

/** freelist_scan_limit: entries of one free list to look at; fewer after searches in vain. */
export function freelistScanLimit(cc: CompactControl): number {
  return (COMPACT_CLUSTER_MAX >> Math.min(cc.fastSearchFail, 31)) + 1;
}

/**
 * fast_isolate_freepages: looks for a free block near the upper end of what is left to scan, from
 * the tails of the movable free lists, in the top quarter of the range or else in the top half. The
 * lists are turned as they are searched, so that the next search sees other blocks first.
 */
export class FreeListSearch {
  /** The block that was isolated, -1 for none, and its order. */
  block = -1;
  order = 0;
  /** Where to look around, -1 for nowhere. */
  around = -1;
  #limit = 0;
  #lowPfn = 0;
  #minPfn = 0;
  /** Pageblock of the highest block seen. */
  #highest = 0;
  #scanned = 0;

  find(cc: CompactControl): this {
    const { compact } = cc.zone;
    this.block = -1;
    this.around = -1;
    this.#highest = 0;
    this.#scanned = 0;
    this.#limit = Math.max(1, freelistScanLimit(cc) >> 1);
    const scanStart = cc.freePfn >= compact.initFreePfn;
    if (scanStart) this.#limit = PAGEBLOCK_PAGES >> 1;
    this.#setRange(cc);
    cc.searchOrder = Math.min(cc.order - 1, cc.searchOrder);
    for (let order = cc.searchOrder; this.block < 0 && order >= 0; ) {
      const searched = cc.zone.nrFree[order] === 0 || this.#searchOrder(cc, order);
      order = nextSearchOrder(cc, searched ? order : cc.searchOrder + 1);
    }
    if (this.block >= 0) this.around = this.block;
    else this.#nothingFound(cc, scanStart);
    if (this.#highest > 0 && this.#highest >= compact.cachedFreePfn) {
      compact.cachedFreePfn = this.#highest - PAGEBLOCK_PAGES;
    }
    cc.totalFreeScanned += this.#scanned;
    return this;
  }

  /** Once the scanners have passed each other no block is in range. */
  #setRange(cc: CompactControl): void {
    const distance = cc.freePfn - cc.migratePfn;
    const isPassed = distance < 0;
    const blockBefore = (pages: number): number =>
      isPassed ? Number.POSITIVE_INFINITY : pageblockStart(cc.freePfn - pages);
    this.#lowPfn = blockBefore(distance >> 2);
    this.#minPfn = blockBefore(distance >> 1);
  }

  /** One free list. False when a block was found and could not be isolated. */
  #searchOrder(cc: CompactControl, order: number): boolean {
    const { zone } = cc;
    const list = zone.freeList(order, MIGRATETYPE.movable);
    let scanned = 0;
    let found = -1;
    let highPfn = -1;
    let pfn = listPrevious(zone.words, list);
    for (; pfn !== list; pfn = listPrevious(zone.words, pfn)) {
      scanned++;
      if (pfn >= this.#highest) this.#highest = Math.max(pageblockStart(pfn), zone.startPfn);
      if (pfn >= this.#lowPfn) {
        cc.fastSearchFail = 0;
        cc.searchOrder = order;
        found = pfn;
        break;
      }
      if (pfn >= this.#minPfn && pfn > highPfn) {
        highPfn = pfn;
        this.#limit >>= 1;
      }
      if (scanned >= this.#limit) break;
    }
    this.#scanned += scanned;
    if (found < 0) found = highPfn;
    const front = found < 0 ? pfn : found;
    if (front !== list) listRotateToFront(zone.words, front, list);
    const isolated = found < 0 || this.#isolate(cc, found, order);
    if (scanned >= this.#limit) this.#limit = Math.max(1, this.#limit >> 1);
    return isolated;
  }

  #isolate(cc: CompactControl, pfn: number, order: number): boolean {
    if (!isolateFreePage(cc.zone, pfn, order)) return false;
    this.block = pfn;
    this.order = order;
    this.#scanned += (1 << order) - 1;
    return true;
  }

  /** At the start of a run the walk begins at the highest block seen, or in the middle. */
  #nothingFound(cc: CompactControl, scanStart: boolean): void {
    cc.fastSearchFail++;
    if (!scanStart) return;
    if (this.#highest >= this.#minPfn) this.around = this.#highest;
    else if (cc.direct && this.#minPfn < cc.zone.endPfn) this.around = this.#minPfn;
    if (this.around >= 0) cc.freePfn = this.around;
  }
}

/** next_search_order: round and round, each search beginning one order below the last in vain. */
function nextSearchOrder(cc: CompactControl, order: number): number {
  const next = order - 1 < 0 ? cc.order - 1 : order - 1;
  if (next !== cc.searchOrder) return next;
  cc.searchOrder = cc.searchOrder - 1 < 0 ? cc.order - 1 : cc.searchOrder - 1;
  return -1;
}
