import { BalloonPages } from '../../../../guest/mm/balloon/balloon-pages.ts';
import type { GuestMemory } from '../../../../guest/mm/memory.ts';

/** Isolates and puts back pages of a guest's balloons, as compaction does. */
export function pagesOf({ balloons }: GuestMemory): BalloonPages {
  return new BalloonPages(balloons);
}
