import { freeOnePageToTail, isMergeable } from './buddy.ts';
import { delFromFreeList } from './free-area.ts';
import { MIGRATETYPE, WMARK } from './gfp.ts';
import { PAGE_EVENT } from './page-lifecycle.ts';
import { PAGEBLOCK_ORDER, PAGEBLOCK_PAGES } from './page-map.ts';
import { stepBlock } from './pcp.ts';
import { zoneWatermarkOk } from './watermark.ts';
import type { Zone } from './zone.ts';

/**
 * Borrowing a free block: it leaves the free lists without an owner and without a kmem trace
 * event, and comes back to a tail.
 */

/**
 * __isolate_free_page: takes a whole free block, as if it was allocated. False when the zone would
 * have too little left. A block of half a pageblock or more makes its pageblocks movable.
 */
export function isolateFreePage(zone: Zone, pfn: number, order: number): boolean {
  const isIsolated = zone.pages.blockType(pfn) === MIGRATETYPE.isolate;
  if (!isIsolated) {
    const mark = zone.watermark[WMARK.min] + (1 << order);
    if (!keepsFree(zone, mark)) return false;
    zone.modFreePages(-(1 << order));
  }
  delFromFreeList(zone, pfn, order);
  stepBlock(zone, pfn, order, PAGE_EVENT.isolate);
  zone.isolatedFreePages += 1 << order;
  if (order >= PAGEBLOCK_ORDER - 1) claimPageblocks(zone, pfn, order);
  return true;
}

/** __putback_isolated_page: the block goes back, perhaps merged, and nobody is told of it. */
export function putbackIsolatedPage(
  zone: Zone,
  pfn: number,
  order: number,
  migratetype: number,
): void {
  stepBlock(zone, pfn, order, PAGE_EVENT.putback);
  zone.isolatedFreePages -= 1 << order;
  freeOnePageToTail(zone, pfn, order, migratetype);
}

/** zone_watermark_ok for a single page that may come from any zone above. */
export function keepsFree(zone: Zone, mark: number): boolean {
  const check = { order: 0, allocFlags: 0, highestZone: 0 };
  return zoneWatermarkOk(zone, check, mark, zone.freePagesStat);
}

function claimPageblocks(zone: Zone, pfn: number, order: number): void {
  for (let at = pfn; at < pfn + (1 << order); at += PAGEBLOCK_PAGES) {
    if (isMergeable(zone.pages.blockType(at))) zone.pages.setBlockType(at, MIGRATETYPE.movable);
  }
}
