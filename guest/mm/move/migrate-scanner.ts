import { MIGRATETYPE } from '../page/gfp.ts';
import { PAGE_STATE } from '../page/page-lifecycle.ts';
import { listNext, listRotateToFront } from '../page/page-list.ts';
import { MAX_ORDER, PAGEBLOCK_PAGES } from '../page/page-map.ts';
import { PAGE_ALLOC_COSTLY_ORDER } from '../page/per-cpu-pages.ts';
import { blockEnd, type CompactControl, pageblockEnd, pageblockStart } from './compact-control.ts';
import type { CompactionTrace } from './compaction-trace.ts';
import { COMPACT_CLUSTER_MAX } from './constants.ts';
import { freelistScanLimit } from './free-list-search.ts';
import type { MovablePages } from './movable-pages.ts';
import {
  isolationSuitable,
  isPageblockAligned,
  pageblockSkip,
  pageblockSkipPersistent,
  setPageblockSkip,
  testAndSetSkip,
  updateCachedMigrate,
} from './skip-hints.ts';

/** fast_start_pfn after it was used: a search in vain begins nowhere else again. */
const USED = Number.MAX_SAFE_INTEGER;

/**
 * The migrate scanner: isolates pages that can be moved, from the start of the zone upwards, at
 * most one pageblock and as a rule 32 pages at a time.
 *
 * A compound page is passed over as a whole, but in a range that somebody wants to have: there huge
 * pages are isolated like others.
 *
 * Not emulated: fatal signals, hugetlb pages in such a range.
 */
export class MigrateScanner {
  readonly #movable: MovablePages;
  readonly #trace: CompactionTrace;
  #isolatedPages = 0;
  /** Of the pageblock at hand: the page its skip hint was looked at by, or -1. */
  #validPfn = -1;
  #skipUpdated = false;
  #isolated = 0;
  #nextSkipPfn = 0;

  constructor(movable: MovablePages, trace: CompactionTrace) {
    this.#movable = movable;
    this.#trace = trace;
  }

  /** isolate_migratepages: true when there are pages to migrate. */
  isolate(cc: CompactControl): boolean {
    let lowPfn = this.#fastFindMigrateblock(cc);
    let isFastFound = lowPfn !== cc.migratePfn && cc.fastSearchFail === 0;
    let end = pageblockEnd(lowPfn);
    while (end <= cc.freePfn) {
      if (this.#isSource(cc, lowPfn, isFastFound)) {
        this.isolateBlock(cc, lowPfn, end);
        break;
      }
      isFastFound = false;
      lowPfn = end;
      cc.migratePfn = end;
      end += PAGEBLOCK_PAGES;
    }
    return cc.nrMigratePages > 0;
  }

  /** Pages isolated since the last call, for vmstat's compact_isolated. */
  takeIsolated(): number {
    const isolated = this.#isolatedPages;
    this.#isolatedPages = 0;
    return isolated;
  }

  /** pageblock_pfn_to_page, isolation_suitable and suitable_migration_source. */
  #isSource(cc: CompactControl, pfn: number, isFastFound: boolean): boolean {
    const { pages } = cc.zone;
    if (isPageblockAligned(pfn) && !isFastFound && !isolationSuitable(cc, pfn)) return false;
    const block = Math.max(pageblockStart(pfn), cc.zone.startPfn);
    const wanted = !cc.skipsOnFailure || pages.blockType(block) === cc.migratetype;
    if (wanted && !pageblockSkipPersistent(pages, block)) return true;
    updateCachedMigrate(cc, pageblockEnd(pfn));
    return false;
  }

  /** isolate_migratepages_block: from `start` to at most `end`, the end of its pageblock. */
  isolateBlock(cc: CompactControl, start: number, end: number): void {
    this.#validPfn = -1;
    this.#skipUpdated = false;
    this.#isolated = 0;
    this.#nextSkipPfn = cc.skipsOnFailure ? blockEnd(start, cc.order) : 0;
    const { pages } = cc.zone;
    let scanned = 0;
    let pfn = start;
    for (; pfn < end; pfn++) {
      if (cc.skipsOnFailure && pfn >= this.#nextSkipPfn) {
        if (this.#isolated > 0) break;
        this.#nextSkipPfn = blockEnd(pfn, cc.order);
      }
      scanned++;
      if (this.#validPfn < 0 && isPageblockAligned(pfn)) {
        if (!isolationSuitable(cc, pfn)) {
          pfn = end;
          break;
        }
        this.#validPfn = pfn;
      }
      const freeOrder = pages.blockOrder(pfn);
      if (freeOrder >= 0) {
        pfn += (1 << freeOrder) - 1;
        continue;
      }
      const compound = pages.compoundOrder(pfn);
      const passes = compound > 0 && !cc.allocContig;
      if (passes && compound < MAX_ORDER) pfn += (1 << compound) - 1;
      const taken = passes ? TAKEN.no : this.#take(cc, pfn);
      if (taken === TAKEN.abort) break;
      if (taken === TAKEN.no) {
        pfn = this.#fail(cc, pfn);
        continue;
      }
      const frames = 1 << compound;
      this.#isolated += frames;
      scanned += frames - 1;
      pfn += frames - 1;
      // A huge page, which is more than a cluster, ends with the pageblock.
      if (cc.nrMigratePages >= COMPACT_CLUSTER_MAX && !cc.rescan) {
        pfn++;
        break;
      }
    }
    this.#finishBlock(cc, { start, stoppedAt: Math.min(pfn, end), end, scanned });
  }

  /** Isolates one page: of a balloon, or of the LRU. The frames behind a head have no reference. */
  #take(cc: CompactControl, pfn: number): Taken {
    const { pages } = cc.zone;
    const state = pages.states.stateOf(pfn);
    if (state === PAGE_STATE.lru) {
      if (pages.refcount(pfn) === 0) return TAKEN.no;
      if (!this.#movable.canIsolateLru(pfn, cc)) return TAKEN.no;
      if (!this.#skipUpdated) {
        this.#skipUpdated = true;
        if (testAndSetSkip(cc, pfn)) return TAKEN.abort;
      }
      this.#movable.isolateLru(pfn);
    } else if (state !== PAGE_STATE.balloon || !this.#movable.isolateBalloon(pfn)) {
      return TAKEN.no;
    }
    cc.migratePages[cc.nrMigratePages++] = pfn;
    return TAKEN.yes;
  }

  /**
   * isolate_fail: where a block of the wanted order is to be had quickly, one page that cannot be
   * moved spoils it. What was isolated of it goes back, and the scan goes on behind it.
   */
  #fail(cc: CompactControl, pfn: number): number {
    if (!cc.skipsOnFailure) return pfn;
    if (this.#isolated > 0) {
      this.#movable.putbackAll(cc);
      this.#isolated = 0;
    }
    if (pfn >= this.#nextSkipPfn) return pfn;
    const last = this.#nextSkipPfn - 1;
    this.#nextSkipPfn += 1 << cc.order;
    return last;
  }

  /** Skip hint and cached position: set when the pageblock is done and gave nothing. */
  #finishBlock(cc: CompactControl, scan: BlockScan): void {
    const { start, stoppedAt, end, scanned } = scan;
    if (stoppedAt === end && (this.#isolated === 0 || cc.rescan)) {
      if (this.#validPfn >= 0 && !this.#skipUpdated) {
        setPageblockSkip(cc.zone.pages, this.#validPfn);
      }
      updateCachedMigrate(cc, stoppedAt);
    }
    this.#trace.isolateMigratepages(start, stoppedAt, scanned, this.#isolated);
    cc.totalMigrateScanned += scanned;
    this.#isolatedPages += this.#isolated;
    cc.migratePfn = stoppedAt;
  }

  /**
   * fast_find_migrateblock: for an order that is worth it, a pageblock near the start of the range
   * that has large free blocks already. Returns where to begin.
   */
  #fastFindMigrateblock(cc: CompactControl): number {
    const { zone, migratePfn } = cc;
    if (cc.ignoreSkipHint) return migratePfn;
    if (migratePfn !== zone.startPfn && !isPageblockAligned(migratePfn)) return migratePfn;
    if (cc.order <= PAGE_ALLOC_COSTLY_ORDER) return migratePfn;
    if (cc.direct && cc.migratetype !== MIGRATETYPE.movable) return migratePfn;
    const half = (cc.freePfn - migratePfn) >> 1;
    const distance = migratePfn === zone.startPfn ? half : half >> 2;
    const highPfn = pageblockStart(migratePfn + distance);
    const limit = freelistScanLimit(cc);
    let scanned = 0;
    let found = -1;
    for (let order = cc.order - 1; order >= PAGE_ALLOC_COSTLY_ORDER; order--) {
      if (found >= 0 || scanned >= limit) break;
      if (zone.nrFree[order] === 0) continue;
      const list = zone.freeList(order, MIGRATETYPE.movable);
      for (let pfn = listNext(zone.words, list); pfn !== list; pfn = listNext(zone.words, pfn)) {
        const isLast = scanned++ >= limit;
        if (!isLast && (pfn >= highPfn || pageblockSkip(zone.pages, pfn))) continue;
        turnBehind(zone.words, pfn, list);
        if (!isLast) found = pfn;
        break;
      }
    }
    cc.totalMigrateScanned += scanned;
    return found < 0 ? this.#fastSearchFailed(cc) : this.#fastFound(cc, found);
  }

  #fastFound(cc: CompactControl, pfn: number): number {
    if (cc.fastStartPfn !== USED) {
      cc.fastStartPfn = cc.fastStartPfn <= 0 ? pfn : Math.min(cc.fastStartPfn, pfn);
    }
    cc.fastSearchFail = 0;
    setPageblockSkip(cc.zone.pages, pfn);
    return Math.max(pageblockStart(pfn), cc.zone.startPfn);
  }

  /** reinit_migrate_pfn: once, the walk begins at the lowest pageblock the searches had found. */
  #fastSearchFailed(cc: CompactControl): number {
    cc.fastSearchFail++;
    if (cc.fastStartPfn > 0 && cc.fastStartPfn !== USED) {
      cc.migratePfn = cc.fastStartPfn;
      cc.fastStartPfn = USED;
    }
    return cc.migratePfn;
  }
}

const TAKEN = { no: 0, yes: 1, abort: 2 } as const;
type Taken = (typeof TAKEN)[keyof typeof TAKEN];

interface BlockScan {
  readonly start: number;
  readonly stoppedAt: number;
  readonly end: number;
  readonly scanned: number;
}

/** move_freelist_tail: what was looked at, up to and with `pfn`, goes behind the last. */
function turnBehind(words: Int32Array, pfn: number, list: number): void {
  const next = listNext(words, pfn);
  if (next !== list) listRotateToFront(words, next, list);
}
