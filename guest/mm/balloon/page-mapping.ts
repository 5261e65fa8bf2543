import { pageLifecycle } from '../page/page-lifecycle.ts';
import type { PageMap } from '../page/page-map.ts';
import type { BalloonWorld, Book } from './book.ts';

/**
 * `page->mapping` of the 2012 design: from balloon_page_insert to balloon_page_delete it points to
 * an address_space with AS_BALLOON_MAP, whose private_data is the page's balloon_dev_info. Nothing
 * of it is stored: the frame's lifecycle state says whether it is set, its book number to which.
 *
 * Not emulated: the address_space and its operations as objects; the driver is in the book.
 */
const OFFLINE_STATES = pageLifecycle.table.tagMask('offline');

/**
 * __is_movable_balloon_page: `mapping_balloon(page->mapping)`. True of isolated pages as well, and
 * of one that was replaced until it is deleted. In a kernel without CONFIG_BALLOON_COMPACTION no
 * page has a mapping of a balloon.
 */
export function isMovableBalloonPage(pages: PageMap, pfn: number): boolean {
  return ((OFFLINE_STATES >>> pages.states.stateOf(pfn)) & 1) === 1 && pages.isMovable(pfn);
}

/**
 * balloon_page_movable: the test of compaction, without lock and reference. Pages that use
 * `mapping` otherwise are told apart first (slab, swap cache, anonymous, mapped): none of them is
 * in a state of balloons. It may be outdated as soon as it is answered, and it takes an isolated
 * page for movable: whoever acts on it looks again under the page lock.
 */
export function balloonPageMovable(pages: PageMap, pfn: number): boolean {
  return isMovableBalloonPage(pages, pfn);
}

/** balloon_page_device: the book that a page is in, undefined where it has no balloon's mapping. */
export function balloonPageDevice(world: BalloonWorld, pfn: number): Book | undefined {
  return isMovableBalloonPage(world.pages, pfn) ? world.bookOf(pfn) : undefined;
}
