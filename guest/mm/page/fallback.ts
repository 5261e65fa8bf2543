import { fail } from '../../../shared/lib/assert.ts';
import { rmqueueSmallest } from './buddy.ts';
import { firstFree, isFreeAreaEmpty, moveToFreeList } from './free-area.ts';
import { ALLOC_KSWAPD, ALLOC_NOFRAGMENT, MIGRATETYPE, WMARK } from './gfp.ts';
import { MAX_ORDER, PAGEBLOCK_ORDER, PAGEBLOCK_PAGES } from './page-map.ts';
import type { Zone } from './zone.ts';

/**
 * What happens when a zone has no block of the migratetype asked for: whom to take from, how much
 * of a pageblock to take along, and when the pageblock changes sides.
 */

/** watermark_boost_factor, in ten-thousandths of the high watermark. */
const WATERMARK_BOOST_FACTOR = 15_000;

/** Whom to take from, first choice first. */
const FALLBACKS: readonly (readonly number[])[] = [
  [MIGRATETYPE.reclaimable, MIGRATETYPE.movable],
  [MIGRATETYPE.reclaimable, MIGRATETYPE.unmovable],
  [MIGRATETYPE.unmovable, MIGRATETYPE.movable],
];

/** Frames moved and frames found movable by the last moveFreepagesBlock (Linux: num_movable). */
const moved = { freePages: 0, movablePages: 0 };

/** __rmqueue: a block of `migratetype`, else one taken from another. Returns a PFN or -1. */
export function rmqueueAny(
  zone: Zone,
  order: number,
  migratetype: number,
  allocFlags: number,
): number {
  for (;;) {
    const pfn = rmqueueSmallest(zone, order, migratetype);
    if (pfn >= 0) return pfn;
    if (!rmqueueFallback(zone, order, migratetype, allocFlags)) return -1;
  }
}

/** can_steal_fallback: may a whole pageblock be claimed on behalf of a block of this order? */
export function canStealFallback(order: number, startType: number): boolean {
  return order >= PAGEBLOCK_ORDER >>> 1 || startType !== MIGRATETYPE.movable;
}

/** find_suitable_fallback without only_stealable: a migratetype with a free block, or -1. */
export function findSuitableFallback(zone: Zone, order: number, migratetype: number): number {
  if (zone.nrFree[order] === 0) return -1;
  for (const fallback of FALLBACKS[migratetype]) {
    if (!isFreeAreaEmpty(zone, order, fallback)) return fallback;
  }
  return -1;
}

/**
 * move_freepages_block: moves every free block of the pageblock to the list tails of
 * `migratetype`. Returns the frames moved, 0 also when the pageblock reaches out of its zone.
 */
export function moveFreepagesBlock(zone: Zone, pfn: number, migratetype: number): number {
  let at = pfn & ~(PAGEBLOCK_PAGES - 1);
  const end = at + PAGEBLOCK_PAGES;
  if (at < zone.startPfn) at = pfn;
  moved.freePages = 0;
  moved.movablePages = 0;
  if (end > zone.endPfn) return 0;
  const { pages } = zone;
  while (at < end) {
    const order = pages.blockOrder(at);
    if (order < 0) {
      if (pages.isMovable(at)) moved.movablePages++;
      at++;
      continue;
    }
    moveToFreeList(zone, at, order, migratetype);
    moved.freePages += 1 << order;
    at += 1 << order;
  }
  return moved.freePages;
}

/**
 * __rmqueue_fallback: puts a block of another migratetype on the lists of `startType`. False when
 * there is none. The largest block goes first, as a stand-in for the emptiest pageblock; a movable
 * request that cannot have the whole pageblock takes the smallest instead.
 */
function rmqueueFallback(
  zone: Zone,
  order: number,
  startType: number,
  allocFlags: number,
): boolean {
  const noFragment = order < PAGEBLOCK_ORDER && (allocFlags & ALLOC_NOFRAGMENT) !== 0;
  const minOrder = noFragment ? PAGEBLOCK_ORDER : order;
  for (let current = MAX_ORDER - 1; current >= minOrder; current--) {
    if (findSuitableFallback(zone, current, startType) < 0) continue;
    const whole = canStealFallback(current, startType);
    const smallest = !whole && startType === MIGRATETYPE.movable && current > order;
    const from = smallest ? smallestFallback(zone, order, startType) : current;
    take(zone, from, order, { startType, allocFlags });
    return true;
  }
  return false;
}

function smallestFallback(zone: Zone, order: number, startType: number): number {
  for (let current = order; current < MAX_ORDER; current++) {
    if (findSuitableFallback(zone, current, startType) >= 0) return current;
  }
  return fail('a fallback that was found is gone');
}

interface Taker {
  readonly startType: number;
  readonly allocFlags: number;
}

function take(zone: Zone, current: number, order: number, taker: Taker): void {
  const { startType } = taker;
  const fallbackType = findSuitableFallback(zone, current, startType);
  const pfn = firstFree(zone, current, fallbackType);
  steal(zone, pfn, current, taker);
  zone.trace.sink?.mm_page_alloc_extfrag({
    pfn,
    order,
    fallbackOrder: current,
    migratetype: startType,
    fallbackMigratetype: fallbackType,
  });
}

/** steal_suitable_fallback: one block, or all free blocks of its pageblock, or the pageblock. */
function steal(zone: Zone, pfn: number, order: number, taker: Taker): void {
  const { startType, allocFlags } = taker;
  const oldType = zone.pages.blockType(pfn);
  if (oldType !== MIGRATETYPE.highatomic) {
    if (order >= PAGEBLOCK_ORDER) {
      changePageblockRange(zone, pfn, order, startType);
    } else {
      if (boostWatermark(zone) && (allocFlags & ALLOC_KSWAPD) !== 0) zone.boostedWatermark = true;
      if (canStealFallback(order, startType) && moveFreepagesBlock(zone, pfn, startType) > 0) {
        const enough = moved.freePages + alikePages(oldType, startType) >= PAGEBLOCK_PAGES / 2;
        if (enough) zone.pages.setBlockType(pfn, startType);
        return;
      }
    }
  }
  moveToFreeList(zone, pfn, order, startType);
}

/**
 * Frames in use in the pageblock that go well with the new owner. A non-movable taker of a movable
 * block counts all that are not movable; between unmovable and reclaimable nothing can be said.
 */
function alikePages(oldType: number, startType: number): number {
  if (startType === MIGRATETYPE.movable) return moved.movablePages;
  if (oldType !== MIGRATETYPE.movable) return 0;
  return PAGEBLOCK_PAGES - (moved.freePages + moved.movablePages);
}

function changePageblockRange(zone: Zone, pfn: number, order: number, migratetype: number): void {
  for (let at = pfn; at < pfn + (1 << order); at += PAGEBLOCK_PAGES) {
    zone.pages.setBlockType(at, migratetype);
  }
}

/** boost_watermark: a fallback is a reason for kswapd to reclaim a little more for a while. */
function boostWatermark(zone: Zone): boolean {
  if (PAGEBLOCK_PAGES * 4 > zone.managedPages) return false;
  const most = Math.floor((zone.watermark[WMARK.high] * WATERMARK_BOOST_FACTOR) / 10_000);
  if (most === 0) return false;
  const limit = Math.max(PAGEBLOCK_PAGES, most);
  zone.watermarkBoost = Math.min(zone.watermarkBoost + PAGEBLOCK_PAGES, limit);
  return true;
}

/** What kswapd does in the end, whether or not it could reclaim anything: the boosts are over. */
export function endBoosts(zones: readonly Zone[], highestZone: number): void {
  for (const zone of zones) if (zone.index <= highestZone) zone.watermarkBoost = 0;
}
