import { isListEmpty, listAdd, listAddTail, listDel, listNext } from './page-list.ts';
import { BLOCK_ORDER_MASK, DETAILS_WORD, PG_REPORTED } from './page-map.ts';
import type { Zone } from './zone.ts';

/** One zone's free lists: where a block goes on and off, with its order and the block counts. */

/** add_to_free_list: the block becomes the first of its list. */
export function addToFreeList(zone: Zone, pfn: number, order: number, migratetype: number): void {
  listAdd(zone.words, pfn, zone.freeList(order, migratetype));
  markBlock(zone, pfn, order);
}

/** add_to_free_list_tail. */
export function addToFreeListTail(
  zone: Zone,
  pfn: number,
  order: number,
  migratetype: number,
): void {
  listAddTail(zone.words, pfn, zone.freeList(order, migratetype));
  markBlock(zone, pfn, order);
}

/** move_to_free_list: to the tail of the list of another migratetype. */
export function moveToFreeList(zone: Zone, pfn: number, order: number, migratetype: number): void {
  listDel(zone.words, pfn);
  listAddTail(zone.words, pfn, zone.freeList(order, migratetype));
}

/** del_page_from_free_list: a block that is taken or merged is not a reported one any more. */
export function delFromFreeList(zone: Zone, pfn: number, order: number): void {
  listDel(zone.words, pfn);
  zone.words[(pfn << 2) + DETAILS_WORD] &= ~(BLOCK_ORDER_MASK | PG_REPORTED);
  zone.nrFree[order]--;
}

/** get_page_from_free_area: the first block of a list, or -1. */
export function firstFree(zone: Zone, order: number, migratetype: number): number {
  const list = zone.freeList(order, migratetype);
  const pfn = listNext(zone.words, list);
  return pfn === list ? -1 : pfn;
}

/** free_area_empty. */
export function isFreeAreaEmpty(zone: Zone, order: number, migratetype: number): boolean {
  return isListEmpty(zone.words, zone.freeList(order, migratetype));
}

/** page_is_buddy: a free block of exactly this order begins at `pfn`. */
export function isFreeBlock(zone: Zone, pfn: number, order: number): boolean {
  return (zone.words[(pfn << 2) + DETAILS_WORD] & BLOCK_ORDER_MASK) === order + 1;
}

function markBlock(zone: Zone, pfn: number, order: number): void {
  const at = (pfn << 2) + DETAILS_WORD;
  zone.words[at] = (zone.words[at] & ~BLOCK_ORDER_MASK) | (order + 1);
  zone.nrFree[order]++;
}
