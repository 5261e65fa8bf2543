import { MIGRATE_PCPTYPES, WMARK, ZONES } from './gfp.ts';
import { PAGEBLOCK_PAGES } from './page-map.ts';
import type { Zone } from './zone.ts';

/** Numbers the kernel derives from the size of its zones at boot. All in pages. */

/** sysctl_lowmem_reserve_ratio by zone. */
const LOWMEM_RESERVE_RATIO = [256, 256, 32] as const;
/** watermark_scale_factor, in ten-thousandths of the zone. */
const WATERMARK_SCALE_FACTOR = 10;
const MIN_FREE_KBYTES_LEAST = 128;
const MIN_FREE_KBYTES_MOST = 262_144;
/** Huge pages are on from 512 MiB of managed memory on (hugepage_init). */
const HUGEPAGE_MIN_PAGES = 131_072;

/** calculate_min_free_kbytes: 4 times the square root of the memory in KiB. */
export function minFreePages(managedPages: number): number {
  const kbytes = Math.floor(Math.sqrt(managedPages * 4 * 16));
  return Math.min(Math.max(kbytes, MIN_FREE_KBYTES_LEAST), MIN_FREE_KBYTES_MOST) >> 2;
}

/**
 * set_recommended_min_free_kbytes of khugepaged: room for two pageblocks of every migratetype
 * pair in each zone, at most a twentieth of what is free for the taking. 0 where huge pages are
 * off. The zones' watermarks must have been set up before.
 */
export function hugepageMinFreePages(zones: readonly Zone[]): number {
  const managed = sum(zones, (zone) => zone.managedPages);
  if (managed < HUGEPAGE_MIN_PAGES) return 0;
  const populated = zones.filter((zone) => zone.populated).length;
  const recommended = PAGEBLOCK_PAGES * populated * (2 + MIGRATE_PCPTYPES * MIGRATE_PCPTYPES);
  const bufferPages = sum(zones, (zone) => Math.max(0, zone.managedPages - zone.highMark));
  return Math.min(recommended, Math.floor(bufferPages / 20));
}

/** setup_per_zone_wmarks: every zone's share of the minimum, and what follows from it. */
export function setupPerZoneWmarks(zones: readonly Zone[], minPages: number): void {
  const lowmemPages = sum(zones, (zone) => zone.managedPages);
  for (const zone of zones) {
    const min = Math.floor((minPages * zone.managedPages) / lowmemPages);
    const byScale = Math.floor((zone.managedPages * WATERMARK_SCALE_FACTOR) / 10_000);
    const gap = Math.max(min >> 2, byScale);
    zone.watermarkBoost = 0;
    zone.watermark[WMARK.min] = min;
    zone.watermark[WMARK.low] = min + gap;
    zone.watermark[WMARK.high] = min + 2 * gap;
    zone.watermark[WMARK.promo] = min + 3 * gap;
  }
}

/** setup_per_zone_lowmem_reserve: what a zone keeps from requests that could use higher zones. */
export function setupLowmemReserve(zones: readonly Zone[]): void {
  for (const zone of zones) {
    let above = 0;
    for (let higher = zone.index + 1; higher < ZONES; higher++) {
      above += zones[higher].managedPages;
      const reserve = Math.floor(above / LOWMEM_RESERVE_RATIO[zone.index]);
      zone.lowmemReserve[higher] = zone.managedPages > 0 ? reserve : 0;
    }
  }
}

/** zone_batchsize. */
function zoneBatchsize(zone: Zone): number {
  const quarter = Math.max(1, Math.floor(Math.min(zone.managedPages >> 10, 256) / 4));
  const wished = quarter + (quarter >> 1);
  return 2 ** Math.floor(Math.log2(wished)) - 1;
}

/** zone_set_pageset_high_and_batch for one CPU: lists hold up to the low watermark. */
export function setupPageset(zone: Zone): void {
  zone.pcp.batch = Math.max(1, zoneBatchsize(zone));
  zone.pcp.high = Math.max(zone.lowMark, zone.pcp.batch << 2);
}

/** calculate_normal_threshold for one CPU, with which its limit of 125 is out of reach. */
export function normalThreshold(managedPages: number): number {
  const by128Mib = managedPages >> 15;
  return 2 * (1 + bitLength(by128Mib));
}

/** calculate_totalreserve_pages: what no ordinary allocation can have. */
export function totalReservePages(zones: readonly Zone[]): number {
  return sum(zones, (zone) => {
    const most = Math.max(...zone.lowmemReserve);
    return Math.min(most + zone.highMark, zone.managedPages);
  });
}

function bitLength(value: number): number {
  return 32 - Math.clz32(value);
}

function sum(zones: readonly Zone[], pick: (zone: Zone) => number): number {
  return zones.reduce((total, zone) => total + pick(zone), 0);
}
