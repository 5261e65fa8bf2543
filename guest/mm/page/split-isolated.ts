import { PAGE_EVENT } from './page-lifecycle.ts';
import { ALLOC_ORDER_MASK, DETAILS_WORD, REFCOUNT_WORD } from './page-map.ts';
import { stepBlock } from './pcp.ts';
import type { Zone } from './zone.ts';

/**
 * split_map_pages for one block that isolateFreePage took: it becomes 2^order pages of order 0 with
 * one reference each, the caller's.
 */
export function splitIsolatedPage(zone: Zone, pfn: number, order: number): void {
  const { words } = zone;
  stepBlock(zone, pfn, order, PAGE_EVENT.take);
  zone.isolatedFreePages -= 1 << order;
  for (let at = pfn << 2; at < (pfn + (1 << order)) << 2; at += 4) {
    words[at + DETAILS_WORD] &= ~ALLOC_ORDER_MASK;
    words[at + REFCOUNT_WORD] = 1;
  }
}
