import type { Zone } from '../page/zone.ts';
import type { Spaces } from '../space/spaces.ts';
import { LRU } from './lru.ts';

/** Pages of a zone that reclaim could have: of files, and of processes while swap has room. */
export function reclaimablePages({ lru, swap }: Spaces, zone: Zone): number {
  const files = lru.sizeOf(LRU.inactiveFile, zone.index) + lru.sizeOf(LRU.activeFile, zone.index);
  if (swap === undefined || swap.freePages === 0) return files;
  return files + lru.sizeOf(LRU.inactiveAnon, zone.index) + lru.sizeOf(LRU.activeAnon, zone.index);
}
