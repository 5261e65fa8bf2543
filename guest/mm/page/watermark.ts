import { isFreeAreaEmpty } from './free-area.ts';
import {
  __GFP_ATOMIC,
  ALLOC_HIGHATOMIC,
  ALLOC_MIN_RESERVE,
  ALLOC_NON_BLOCK,
  ALLOC_OOM,
  ALLOC_RESERVES,
  ALLOC_WMARK_MASK,
  MIGRATE_PCPTYPES,
  MIGRATETYPE,
  WMARK,
} from './gfp.ts';
import { MAX_ORDER } from './page-map.ts';
import type { Zone } from './zone.ts';

/** May a zone give, with what it has to keep? Values are pages. */
export interface WatermarkCheck {
  readonly order: number;
  readonly allocFlags: number;
  /** The highest zone the request may use: the lower the zone at hand, the more it keeps back. */
  readonly highestZone: number;
}

/** __zone_watermark_ok: is more than `mark` left, and a block of the order there? */
export function zoneWatermarkOk(
  zone: Zone,
  check: WatermarkCheck,
  mark: number,
  freePages: number,
): boolean {
  const { order, allocFlags } = check;
  const usable = freePages - unusableFree(zone, order, allocFlags);
  const least = reducedMark(mark, allocFlags) + zone.lowmemReserve[check.highestZone];
  if (usable <= least) return false;
  return order === 0 || hasBlock(zone, order, allocFlags);
}

/** zone_watermark_fast against the watermark that the flags name. */
export function zoneWatermarkFast(zone: Zone, check: WatermarkCheck, gfp: number): boolean {
  const { order, allocFlags } = check;
  const freePages = zone.freePagesStat;
  const wmark = allocFlags & ALLOC_WMARK_MASK;
  const mark = zone.mark(wmark);
  if (order === 0) {
    const usable = freePages - Math.min(freePages, unusableFree(zone, 0, allocFlags));
    if (usable > mark + zone.lowmemReserve[check.highestZone]) return true;
  }
  if (zoneWatermarkOk(zone, check, mark, freePages)) return true;
  // The boost is for kswapd: it does not keep atomic requests from the last pages.
  if (order > 0 || (gfp & __GFP_ATOMIC) === 0) return false;
  if (zone.watermarkBoost === 0 || wmark !== WMARK.min) return false;
  return zoneWatermarkOk(zone, check, zone.watermark[WMARK.min], freePages);
}

function unusableFree(zone: Zone, order: number, allocFlags: number): number {
  const reserved = (allocFlags & ALLOC_RESERVES) === 0 ? zone.nrReservedHighatomic : 0;
  return (1 << order) - 1 + reserved;
}

function reducedMark(mark: number, allocFlags: number): number {
  let least = mark;
  if ((allocFlags & ALLOC_MIN_RESERVE) !== 0) {
    least -= Math.trunc(least / 2);
    if ((allocFlags & ALLOC_NON_BLOCK) !== 0) least -= Math.trunc(least / 4);
  }
  if ((allocFlags & ALLOC_OOM) !== 0) least -= Math.trunc(least / 2);
  return least;
}

function hasBlock(zone: Zone, order: number, allocFlags: number): boolean {
  const highatomic = (allocFlags & (ALLOC_HIGHATOMIC | ALLOC_OOM)) !== 0;
  for (let current = order; current < MAX_ORDER; current++) {
    if (zone.nrFree[current] === 0) continue;
    for (let type = 0; type < MIGRATE_PCPTYPES; type++) {
      if (!isFreeAreaEmpty(zone, current, type)) return true;
    }
    if (highatomic && !isFreeAreaEmpty(zone, current, MIGRATETYPE.highatomic)) return true;
  }
  return false;
}
