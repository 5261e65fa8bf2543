import type { Zone } from '../page/zone.ts';
import type { Spaces } from '../space/spaces.ts';
import { LRU } from './lru-lists.ts';

/** So often in vain, and reclaim is left to others, or to the OOM killer. */
export const MAX_RECLAIM_RETRIES = 16;

/** Pages of a zone that reclaim could have: of files, and of processes while swap has room. */
export function reclaimablePages({ lru, swap }: Spaces, { index }: Zone): number {
  const { lists } = lru;
  const files = lists.sizeOf(LRU.inactiveFile, index) + lists.sizeOf(LRU.activeFile, index);
  if (swap === undefined || swap.freePages === 0) return files;
  return files + lists.sizeOf(LRU.inactiveAnon, index) + lists.sizeOf(LRU.activeAnon, index);
}

/** zone_reclaimable_pages. Of a zone without any its free pages, as late 6.1 kernels count. */
export function zoneReclaimablePages(zone: Zone, reclaimable: number): number {
  return reclaimable === 0 ? zone.freePages : reclaimable;
}
