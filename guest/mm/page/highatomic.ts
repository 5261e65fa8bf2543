import { isMergeable } from './buddy.ts';
import { moveFreepagesBlock } from './fallback.ts';
import { firstFree } from './free-area.ts';
import { MIGRATETYPE } from './gfp.ts';
import { MAX_ORDER, PAGEBLOCK_PAGES } from './page-map.ts';
import type { Zone } from './zone.ts';

/** Pageblocks kept for high-order requests that cannot wait. */

/** reserve_highatomic_pageblock: keeps the pageblock of `pfn`, up to one plus 1 % of the zone. */
export function reserveHighatomicPageblock(zone: Zone, pfn: number): void {
  const most = Math.floor(zone.managedPages / 100) + PAGEBLOCK_PAGES;
  if (zone.nrReservedHighatomic >= most || !isMergeable(zone.pages.blockType(pfn))) return;
  zone.nrReservedHighatomic += PAGEBLOCK_PAGES;
  zone.pages.setBlockType(pfn, MIGRATETYPE.highatomic);
  moveFreepagesBlock(zone, pfn, MIGRATETYPE.highatomic);
}

/**
 * unreserve_highatomic_pageblock for one zone: gives one reserved pageblock with free frames to
 * `migratetype`. Unless forced one pageblock stays reserved. True when frames were moved.
 */
export function unreserveHighatomicPageblock(
  zone: Zone,
  migratetype: number,
  force: boolean,
): boolean {
  if (!force && zone.nrReservedHighatomic <= PAGEBLOCK_PAGES) return false;
  for (let order = 0; order < MAX_ORDER; order++) {
    const pfn = firstFree(zone, order, MIGRATETYPE.highatomic);
    if (pfn < 0) continue;
    if (zone.pages.blockType(pfn) === MIGRATETYPE.highatomic) {
      zone.nrReservedHighatomic -= Math.min(PAGEBLOCK_PAGES, zone.nrReservedHighatomic);
    }
    zone.pages.setBlockType(pfn, migratetype);
    if (moveFreepagesBlock(zone, pfn, migratetype) > 0) return true;
  }
  return false;
}
