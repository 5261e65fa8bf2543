import { MIGRATETYPE } from '../page/gfp.ts';
import { PAGE_STATE } from '../page/page-lifecycle.ts';
import { PAGEBLOCK_ORDER, PAGEBLOCK_PAGES, type PageMap } from '../page/page-map.ts';
import { PAGE_ALLOC_COSTLY_ORDER } from '../page/per-cpu-pages.ts';
import type { Zone } from '../page/zone.ts';
import { type CompactControl, pageblockEnd, pageblockStart } from './compact-control.ts';
import { MIGRATE_MODE } from './constants.ts';

/**
 * What compaction remembers of pageblocks it has been to: a skip hint each, and where scanners
 * go on. Hints are set by the scanners and cleared when everything has been seen.
 */

export function isPageblockAligned(pfn: number): boolean {
  return (pfn & (PAGEBLOCK_PAGES - 1)) === 0;
}

export function pageblockSkip(pages: PageMap, pfn: number): boolean {
  return pages.blockSkips[pfn >>> PAGEBLOCK_ORDER] === 1;
}

export function setPageblockSkip(pages: PageMap, pfn: number, skip = true): void {
  pages.blockSkips[pfn >>> PAGEBLOCK_ORDER] = skip ? 1 : 0;
}

/** isolation_suitable. */
export function isolationSuitable(cc: CompactControl, pfn: number): boolean {
  return cc.ignoreSkipHint || !pageblockSkip(cc.zone.pages, pfn);
}

/** pageblock_skip_persistent: a huge page; there is nothing to gain before it is freed. */
export function pageblockSkipPersistent(pages: PageMap, pfn: number): boolean {
  return pages.compoundOrder(pfn) >= PAGEBLOCK_ORDER;
}

/**
 * test_and_set_skip, asked for the first page of the LRU that is isolated: true when somebody else
 * was here in the meantime.
 */
export function testAndSetSkip(cc: CompactControl, pfn: number): boolean {
  if (cc.ignoreSkipHint || !isPageblockAligned(pfn)) return false;
  const { pages } = cc.zone;
  const skip = pageblockSkip(pages, pfn);
  if (!skip) setPageblockSkip(pages, pfn);
  return skip;
}

/**
 * update_cached_migrate: the migrate scanner need not come back below this pageblock's end. Who
 * moves pages out of a range (no_set_skip_hint) has not seen what lies below.
 */
export function updateCachedMigrate(cc: CompactControl, pfn: number): void {
  if (cc.allocContig) return;
  const { cachedMigratePfn } = cc.zone.compact;
  const end = pageblockEnd(pfn);
  if (end > cachedMigratePfn[0]) cachedMigratePfn[0] = end;
  if (cc.mode !== MIGRATE_MODE.async && end > cachedMigratePfn[1]) cachedMigratePfn[1] = end;
}

/** update_pageblock_skip: the free scanner has seen this pageblock from end to end. */
export function updatePageblockSkip(cc: CompactControl, blockPfn: number): void {
  setPageblockSkip(cc.zone.pages, blockPfn);
  const { compact } = cc.zone;
  if (blockPfn < compact.cachedFreePfn) compact.cachedFreePfn = blockPfn;
}

/** reset_cached_positions: the scanners met; the next run begins at the ends of the zone. */
export function resetCachedPositions(zone: Zone): void {
  zone.compact.cachedMigratePfn.fill(zone.startPfn);
  zone.compact.cachedFreePfn = pageblockStart(zone.endPfn - 1);
}

/** reset_isolation_suitable, which kswapd does before it sleeps. */
export function resetIsolationSuitable(zones: readonly Zone[]): void {
  for (const zone of zones) if (zone.populated) resetSkipHints(zone);
}

/**
 * __reset_isolation_suitable: from both ends of the zone to the middle, clears the hints of
 * pageblocks that have pages to move or to move to, and begins there next time.
 */
export function resetSkipHints(zone: Zone): void {
  const { compact } = zone;
  if (!compact.blockSkipFlush) return;
  compact.blockSkipFlush = false;
  let migratePfn = zone.startPfn;
  let freePfn = zone.endPfn - 1;
  let resetMigrate = freePfn;
  let resetFree = migratePfn;
  let sourceSet = false;
  let freeSet = false;
  for (; migratePfn < freePfn; migratePfn += PAGEBLOCK_PAGES, freePfn -= PAGEBLOCK_PAGES) {
    if (resetPageblock(zone, migratePfn, true, sourceSet) && migratePfn < resetMigrate) {
      sourceSet = true;
      resetMigrate = migratePfn;
      compact.initMigratePfn = migratePfn;
      compact.cachedMigratePfn.fill(migratePfn);
    }
    if (resetPageblock(zone, freePfn, freeSet, true) && freePfn > resetFree) {
      freeSet = true;
      resetFree = freePfn;
      compact.initFreePfn = freePfn;
      compact.cachedFreePfn = freePfn;
    }
  }
  if (resetMigrate < resetFree) return;
  compact.cachedMigratePfn.fill(migratePfn);
  compact.cachedFreePfn = freePfn;
}

/**
 * __reset_isolation_pfn: clears the hint when every eighth frame shows a page of the LRU (for a
 * source) or a free block (for a target). True when a scanner may begin at `pfn`.
 */
function resetPageblock(zone: Zone, pfn: number, source: boolean, target: boolean): boolean {
  const { pages } = zone;
  if (pageblockSkipPersistent(pages, pfn)) return false;
  if (source && target && !pageblockSkip(pages, pfn)) return true;
  if (!source && target && pages.blockType(pfn) !== MIGRATETYPE.movable) return false;
  const first = Math.max(pageblockStart(pfn), zone.startPfn);
  const last = Math.min(pageblockEnd(first), zone.endPfn) - 1;
  for (let at = first; at <= last; at += 1 << PAGE_ALLOC_COSTLY_ORDER) {
    const onLru = source && pages.states.stateOf(at) === PAGE_STATE.lru;
    if (onLru || (target && pages.blockOrder(at) >= 0)) {
      setPageblockSkip(pages, at, false);
      return true;
    }
  }
  return false;
}
