import {
  addToFreeList,
  addToFreeListTail,
  delFromFreeList,
  firstFree,
  isFreeBlock,
} from './free-area.ts';
import { MIGRATE_PCPTYPES, MIGRATETYPE } from './gfp.ts';
import { PAGE_EVENT } from './page-lifecycle.ts';
import { MAX_ORDER, PAGEBLOCK_ORDER } from './page-map.ts';
import { pcpAllowedOrder } from './per-cpu-pages.ts';
import type { Zone } from './zone.ts';

/**
 * The buddy system of one zone: splitting a block to take a part of it and merging what is freed.
 * Which end of which list a block goes to is as in Linux 6.1; the order is the product. Callers
 * step the lifecycle of the frames: here only lists and counts change.
 *
 * Not emulated: guard pages, shuffling.
 */

/**
 * __rmqueue_smallest and expand: takes the first block of the smallest order that has one and puts
 * the halves it does not need at the head of their lists. Returns a PFN or -1.
 */
export function rmqueueSmallest(zone: Zone, order: number, migratetype: number): number {
  for (let current = order; current < MAX_ORDER; current++) {
    const pfn = firstFree(zone, current, migratetype);
    if (pfn < 0) continue;
    delFromFreeList(zone, pfn, current);
    for (let high = current - 1; high >= order; high--) {
      addToFreeList(zone, pfn + (1 << high), high, migratetype);
    }
    zone.pages.setCachedType(pfn, migratetype);
    const refill = pcpAllowedOrder(order) && migratetype < MIGRATE_PCPTYPES;
    zone.trace.sink?.mm_page_alloc_zone_locked(pfn, order, migratetype, refill);
    return pfn;
  }
  return -1;
}

/**
 * __free_one_page with no flags: merges a block with its buddies and puts the result at the head
 * of its list, or at the tail where a further merge looks likely (buddy_merge_likely). Whoever
 * reports free pages is told of a large one.
 */
export function freeOnePage(zone: Zone, pfn: number, order: number, migratetype: number): void {
  const merged = merge(zone, pfn, order, migratetype);
  if (merged === CAPTURED) return;
  const block = merged >>> 4;
  const blockOrder = merged & 15;
  if (mergeLikely(zone, block, blockOrder)) addToFreeListTail(zone, block, blockOrder, migratetype);
  else addToFreeList(zone, block, blockOrder, migratetype);
  const { freeNotifier } = zone;
  if (freeNotifier !== undefined && blockOrder >= freeNotifier.order) freeNotifier.notify();
}

/**
 * __free_one_page with FPI_TO_TAIL: boot, and blocks that were only borrowed, of which nobody is
 * told (FPI_SKIP_REPORT_NOTIFY).
 */
export function freeOnePageToTail(
  zone: Zone,
  pfn: number,
  order: number,
  migratetype: number,
): void {
  const merged = merge(zone, pfn, order, migratetype);
  if (merged === CAPTURED) return;
  addToFreeListTail(zone, merged >>> 4, merged & 15, migratetype);
}

/** Pageblocks whose free pages may merge with those of any other such block. */
export function isMergeable(migratetype: number): boolean {
  return migratetype < MIGRATE_PCPTYPES;
}

/** What `merge` returns for a block that a compaction has captured. */
const CAPTURED = -1;

/**
 * Takes every free buddy off its list. Returns the merged block as PFN << 4 | order, or CAPTURED.
 */
function merge(zone: Zone, pfn: number, order: number, migratetype: number): number {
  if (migratetype !== MIGRATETYPE.isolate) zone.modFreePages(1 << order);
  let block = pfn;
  let blockOrder = order;
  while (blockOrder < MAX_ORDER - 1) {
    if (capture(zone, block, blockOrder, migratetype)) return CAPTURED;
    const buddy = block ^ (1 << blockOrder);
    if (!isFreeBlock(zone, buddy, blockOrder)) break;
    if (blockOrder >= PAGEBLOCK_ORDER && !mayMerge(zone, buddy, migratetype)) break;
    delFromFreeList(zone, buddy, blockOrder);
    block &= buddy;
    blockOrder++;
  }
  return (block << 4) | blockOrder;
}

/** Whether a block of this migratetype may merge with a buddy that is a pageblock or larger. */
function mayMerge(zone: Zone, buddy: number, migratetype: number): boolean {
  const buddyType = zone.pages.blockType(buddy);
  return migratetype === buddyType || (isMergeable(migratetype) && isMergeable(buddyType));
}

/**
 * compaction_capture: whoever compacts for a block of this order takes it as it is made, before it
 * is on a list. Small blocks of movable pageblocks are left alone, so that they stay movable.
 */
function capture(zone: Zone, block: number, order: number, migratetype: number): boolean {
  const control = zone.capture;
  if (control === undefined || control.pfn >= 0 || control.order !== order) return false;
  if (migratetype === MIGRATETYPE.isolate) return false;
  if (order < PAGEBLOCK_ORDER && migratetype === MIGRATETYPE.movable) return false;
  control.pfn = block;
  zone.modFreePages(-(1 << order));
  zone.pages.states.stepRange(block, 1 << order, PAGE_EVENT.take);
  return true;
}

/** Only this block is missing for one two orders up: it had better not be handed out soon. */
function mergeLikely(zone: Zone, block: number, order: number): boolean {
  if (order >= MAX_ORDER - 2) return false;
  const higher = block & ~(1 << order);
  return isFreeBlock(zone, higher ^ (1 << (order + 1)), order + 1);
}
