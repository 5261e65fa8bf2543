import { ALLOC_WMARK_MASK, WMARK } from '../page/gfp.ts';
import { MAX_ORDER } from '../page/page-map.ts';
import { PAGE_ALLOC_COSTLY_ORDER } from '../page/per-cpu-pages.ts';
import { zoneWatermarkOk } from '../page/watermark.ts';
import type { Zone } from '../page/zone.ts';
import type { CompactionTrace } from './compaction-trace.ts';
import { COMPACT, COMPACTION_HPAGE_ORDER, type CompactResult, WHOLE_NODE } from './constants.ts';

/** Is a zone worth compacting? Whole numbers as the kernel computes them (5.4 of the facts). */

/** sysctl extfrag_threshold: up to here a failure is put down to a lack of memory. */
const EXTFRAG_THRESHOLD = 500;

export interface SuitabilityRequest {
  readonly order: number;
  readonly allocFlags: number;
  readonly highestZone: number;
}

/** compact_gap: pages that have to be free beyond the watermark, for source and target. */
export function compactGap(order: number): number {
  return 2 << order;
}

/** compaction_suitable: `continue` when compaction should run, `success` or `skipped` else. */
export function compactionSuitable(
  zone: Zone,
  request: SuitabilityRequest,
  trace: CompactionTrace,
): CompactResult {
  const { order } = request;
  let result = suitableByWatermarks(zone, request);
  if (result === COMPACT.continue && order > PAGE_ALLOC_COSTLY_ORDER) {
    const index = fragmentationIndex(zone, order);
    if (index >= 0 && index <= EXTFRAG_THRESHOLD) result = COMPACT.notSuitableZone;
  }
  trace.suitable(zone, order, result);
  return result === COMPACT.notSuitableZone ? COMPACT.skipped : result;
}

/** __compaction_suitable with the pages that are free now. */
export function suitableByWatermarks(
  zone: Zone,
  request: SuitabilityRequest,
  freePages = zone.freePagesStat,
): CompactResult {
  const { order, allocFlags, highestZone } = request;
  if (order === WHOLE_NODE) return COMPACT.continue;
  const mark = zone.mark(allocFlags & ALLOC_WMARK_MASK);
  if (zoneWatermarkOk(zone, request, mark, zone.freePagesStat)) return COMPACT.success;
  const least = zone.mark(order > PAGE_ALLOC_COSTLY_ORDER ? WMARK.low : WMARK.min);
  const single = { order: 0, allocFlags: 0, highestZone };
  const enough = zoneWatermarkOk(zone, single, least + compactGap(order), freePages);
  return enough ? COMPACT.continue : COMPACT.skipped;
}

class FreeBlocks {
  pages = 0;
  total = 0;
  /** In units of the order asked for. */
  suitable = 0;

  constructor(zone: Zone, order: number) {
    for (let current = 0; current < MAX_ORDER; current++) {
      const blocks = zone.nrFree[current];
      this.total += blocks;
      this.pages += blocks << current;
      if (current >= order) this.suitable += blocks << (current - order);
    }
  }
}

/**
 * fragmentation_index: why a request of this order would fail, from 0 (too little memory) to 1000
 * (too fragmented); -1000 when it would not.
 */
export function fragmentationIndex(zone: Zone, order: number): number {
  const { pages, total, suitable } = new FreeBlocks(zone, order);
  if (total === 0) return 0;
  if (suitable > 0) return -1000;
  return 1000 - Math.floor((1000 + Math.floor((pages * 1000) / (1 << order))) / total);
}

/** unusable_free_index: thousandths of the free memory that are in blocks too small. */
export function unusableFreeIndex(zone: Zone, order: number): number {
  const { pages, suitable } = new FreeBlocks(zone, order);
  if (pages === 0) return 1000;
  return Math.floor(((pages - (suitable << order)) * 1000) / pages);
}

/** extfrag_for_order: the same in percent; 0 where nothing is free. */
export function extfragForOrder(zone: Zone, order: number): number {
  const { pages, suitable } = new FreeBlocks(zone, order);
  if (pages === 0) return 0;
  return Math.floor(((pages - (suitable << order)) * 100) / pages);
}

/** fragmentation_score_zone. */
export function fragmentationScore(zone: Zone): number {
  return extfragForOrder(zone, COMPACTION_HPAGE_ORDER);
}

/** fragmentation_score_node: zones' scores by their share of the memory. */
export function nodeFragmentationScore(zones: readonly Zone[]): number {
  const present = zones.reduce((sum, zone) => sum + zone.presentPages, 0);
  return zones.reduce((sum, zone) => {
    return sum + Math.floor((zone.presentPages * fragmentationScore(zone)) / (present + 1));
  }, 0);
}
