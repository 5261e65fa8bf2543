import { moveFreepagesBlock } from './fallback.ts';
import { isFreeBlock } from './free-area.ts';
import { MIGRATETYPE } from './gfp.ts';
import { isolateFreePage, putbackIsolatedPage } from './isolate-free.ts';
import { PAGE_STATE } from './page-lifecycle.ts';
import { MAX_ORDER, PAGEBLOCK_ORDER, PAGEBLOCK_PAGES } from './page-map.ts';
import type { Zone } from './zone.ts';

/**
 * Isolating a range of pageblocks: nothing is handed out of them any more, and what is freed there
 * stays there (MIGRATE_ISOLATE). So a range can be emptied and taken as a whole.
 *
 * Ranges begin and end where a block of the largest order may: then no free block and no compound
 * page reaches across their ends.
 *
 * Not emulated: memory offlining and what it lets pass, CMA. A pageblock of the highatomic reserve
 * is refused; Linux takes it, and its count of the reserve is wrong from then on.
 */

/** Frames that a range has to be a multiple of. */
export const RANGE_ALIGN_PAGES = 1 << (MAX_ORDER - 1);

export interface PageRange {
  readonly start: number;
  /** One more than the last. */
  readonly end: number;
}

/**
 * start_isolate_page_range: false where a pageblock has something that cannot be moved away, or
 * somebody else has isolated it; then nothing is isolated. The pageblocks at both ends are first.
 */
export function startIsolatePageRange(zone: Zone, { start, end }: PageRange): boolean {
  const last = end - PAGEBLOCK_PAGES;
  if (!setMigratetypeIsolate(zone, start)) return false;
  if (last > start && !setMigratetypeIsolate(zone, last)) {
    unsetMigratetypeIsolate(zone, start);
    return false;
  }
  for (let pfn = start + PAGEBLOCK_PAGES; pfn < last; pfn += PAGEBLOCK_PAGES) {
    if (setMigratetypeIsolate(zone, pfn)) continue;
    undoIsolatePageRange(zone, { start, end: pfn });
    unsetMigratetypeIsolate(zone, last);
    return false;
  }
  return true;
}

/** undo_isolate_page_range: the pageblocks are movable ones from now on. */
export function undoIsolatePageRange(zone: Zone, { start, end }: PageRange): void {
  for (let pfn = start; pfn < end; pfn += PAGEBLOCK_PAGES) unsetMigratetypeIsolate(zone, pfn);
}

/** test_pages_isolated: the first frame that is not free, or the end. */
export function testPagesIsolated(zone: Zone, { start, end }: PageRange): number {
  let pfn = start;
  while (pfn < end) {
    const order = zone.pages.blockOrder(pfn);
    if (order < 0) return pfn;
    pfn += 1 << order;
  }
  return pfn;
}

/** set_migratetype_isolate. */
function setMigratetypeIsolate(zone: Zone, block: number): boolean {
  const { pages } = zone;
  const type = pages.blockType(block);
  if (type === MIGRATETYPE.isolate || type === MIGRATETYPE.highatomic) return false;
  if (hasUnmovablePages(zone, block)) return false;
  pages.setBlockType(block, MIGRATETYPE.isolate);
  zone.nrIsolatePageblock++;
  zone.modFreePages(-moveFreepagesBlock(zone, block, MIGRATETYPE.isolate));
  return true;
}

/**
 * unset_migratetype_isolate. A large free block whose buddy was not isolated could not merge with
 * it: it is taken and freed once more.
 */
function unsetMigratetypeIsolate(zone: Zone, block: number): void {
  const { pages } = zone;
  if (pages.blockType(block) !== MIGRATETYPE.isolate) return;
  const order = pages.blockOrder(block);
  const merges =
    order >= PAGEBLOCK_ORDER && order < MAX_ORDER - 1 && hasFreeBuddy(zone, block, order);
  if (merges) isolateFreePage(zone, block, order);
  else zone.modFreePages(moveFreepagesBlock(zone, block, MIGRATETYPE.movable));
  pages.setBlockType(block, MIGRATETYPE.movable);
  if (merges) putbackIsolatedPage(zone, block, order, MIGRATETYPE.movable);
  zone.nrIsolatePageblock--;
}

function hasFreeBuddy(zone: Zone, block: number, order: number): boolean {
  const buddy = block ^ (1 << order);
  return isFreeBlock(zone, buddy, order) && zone.pages.blockType(buddy) !== MIGRATETYPE.isolate;
}

/** has_unmovable_pages for a pageblock. Frames behind the head of a page have no reference. */
function hasUnmovablePages(zone: Zone, block: number): boolean {
  const { pages } = zone;
  for (let pfn = block; pfn < block + PAGEBLOCK_PAGES; pfn++) {
    if (pages.states.stateOf(pfn) === PAGE_STATE.reserved) return true;
    const free = pages.blockOrder(pfn);
    if (free >= 0) pfn += (1 << free) - 1;
    else if (pages.refcount(pfn) > 0 && !pages.isMovable(pfn)) return true;
  }
  return false;
}
