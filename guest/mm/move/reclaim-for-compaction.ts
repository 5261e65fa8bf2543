import type { Waiting } from '../../sched/scheduler.ts';
import { gfpZone } from '../page/gfp.ts';
import { PAGE_ALLOC_COSTLY_ORDER } from '../page/per-cpu-pages.ts';
import { zoneWatermarkOk } from '../page/watermark.ts';
import type { Zone } from '../page/zone.ts';
import type { CompactionWorld } from './compact-zone.ts';
import { COMPACT } from './constants.ts';
import { resetIsolationSuitable } from './skip-hints.ts';
import { compactGap, compactionSuitable } from './suitability.ts';

export interface ReclaimOptions {
  readonly world: CompactionWorld;
  /** Asks the shrinkers; returns pages. */
  readonly shrink: () => number;
}

/**
 * Direct reclaim in a recorded guest, whose pages have no owners that could be asked for them
 * (shrink_zones): for a costly order a zone that has enough free pages is left alone, which counts
 * as progress, so that the request compacts instead. kswapd, which every such request wakes, finds
 * nothing to do, clears the skip hints of zones that were compacted to their end, and sleeps again.
 *
 * Not emulated: reclaim of pages of the LRU; see guest/mm/reclaim.
 */
export function* reclaimForCompaction(
  options: ReclaimOptions,
  order: number,
  gfp: number,
): Waiting<number> {
  const { world, shrink } = options;
  const highestZone = gfpZone(gfp);
  resetIsolationSuitable(world.allocator.zones);
  let isReady = false;
  let progress = 0;
  for (let index = highestZone; index >= 0; index--) {
    const zone = world.allocator.zones[index];
    if (!zone.populated) continue;
    const isCostly = order > PAGE_ALLOC_COSTLY_ORDER;
    if (isCostly && compactionReady(world, zone, { order, highestZone })) isReady = true;
    else progress += shrink();
  }
  yield 0;
  return isReady ? Math.max(1, progress) : progress;
}

/** compaction_ready. */
export function compactionReady(
  world: CompactionWorld,
  zone: Zone,
  request: { readonly order: number; readonly highestZone: number },
): boolean {
  const check = { ...request, allocFlags: 0 };
  const suitable = compactionSuitable(zone, check, world.trace);
  if (suitable === COMPACT.success) return true;
  if (suitable === COMPACT.skipped) return false;
  const mark = zone.highMark + compactGap(request.order);
  return zoneWatermarkOk(zone, { ...check, order: 0 }, mark, zone.freePages);
}
