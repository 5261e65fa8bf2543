import type { PfnRange } from '../../../shared/lib/pfn-ranges.ts';
import { FIRMWARE_TOP_PAGES, HOLE_END_PFN } from './ram.ts';

/**
 * Which frames a booting Linux 6.1 (Debian's cloud kernel, without address randomisation) keeps
 * for itself or gives to the allocator only at the end of boot. Sizes are those of recorded guests
 * with 256, 512 and 1024 MiB, where the managed pages come out exactly; what is above 4 GiB
 * follows the kernel's rules without a recording to compare with.
 */

/** The kernel image from 16 MiB on: what stays, as [first, count] from its start. */
const KERNEL_START_PFN = 4096;
const KERNEL_RUNS = [
  [0, 3586],
  [4096, 2087],
  [6656, 1562],
  [8880, 851],
  [10240, 17],
] as const;
const KERNEL_PAGES = 10257;

/** The initial RAM disk, freed once it is unpacked. */
const INITRD_PAGES = 326;
/** Early allocations that do not depend on the size of memory: 309 at the top and 61 below. */
const EARLY_TOP_PAGES = 309;
const EARLY_LOW_PAGES = 61;
/** Free frames between the early allocations and the top of RAM. */
const TOP_GAP_PAGES = 368;

/** A section of memory and what its memory map takes, 64 bytes a frame. */
const SECTION_PAGES = 32768;
const SECTION_MEMMAP_PAGES = 512;
/** The bounce buffer (swiotlb) with its slots, where there is RAM above 4 GiB. */
const SWIOTLB_PAGES = 16384 + 193;

export interface ReservedFrames {
  /** Never given to the allocator; ascending, without overlap. */
  readonly kept: readonly PfnRange[];
  /** Freed page by page at the end of boot: parts of the kernel image, the RAM disk. */
  readonly freedLate: readonly PfnRange[];
}

export function reservedFrames(regions: readonly PfnRange[]): ReservedFrames {
  const [low, high] = regions;
  const lowEnd = low.count - FIRMWARE_TOP_PAGES;
  const top = high === undefined ? lowEnd : high.start + high.count;
  const early = EARLY_TOP_PAGES + hashTablePages(regions) + directMapPages(regions);
  const earlyStart = top - TOP_GAP_PAGES - early;
  const memmapPages = SECTION_MEMMAP_PAGES * sections(regions);
  const memmapStart = Math.floor(earlyStart / 512) * 512 - memmapPages;
  const earlyLowStart = memmapStart - EARLY_LOW_PAGES;
  const kept: PfnRange[] = [
    { start: 0, count: HOLE_END_PFN },
    ...KERNEL_RUNS.map(([first, count]) => ({ start: KERNEL_START_PFN + first, count })),
    ...(high === undefined ? [] : [{ start: lowEnd - SWIOTLB_PAGES, count: SWIOTLB_PAGES }]),
    { start: earlyLowStart, count: EARLY_LOW_PAGES },
    { start: memmapStart, count: memmapPages },
    { start: earlyStart, count: early },
    { start: lowEnd, count: FIRMWARE_TOP_PAGES },
  ];
  // The boot loader knows no memory above 4 GiB.
  const initrdEnd = high === undefined ? earlyLowStart : lowEnd - SWIOTLB_PAGES;
  const initrd = { start: initrdEnd - INITRD_PAGES, count: INITRD_PAGES };
  return {
    kept: kept.sort((a, b) => a.start - b.start),
    freedLate: [...kernelGaps(), initrd],
  };
}

/** Between the runs of the kernel image: init sections and alignment. */
function kernelGaps(): PfnRange[] {
  const starts = [...KERNEL_RUNS.slice(1).map(([first]) => first), KERNEL_PAGES];
  const gaps = KERNEL_RUNS.map(([first, count], index) => ({
    start: KERNEL_START_PFN + first + count,
    count: starts[index] - first - count,
  }));
  return gaps.filter(({ count }) => count > 0);
}

function sections(regions: readonly PfnRange[]): number {
  return regions.reduce((sum, { count }) => sum + Math.ceil(count / SECTION_PAGES), 0);
}

/** Dentry and inode hash tables: one 8-byte bucket for 2 and for 4 frames, powers of two. */
function hashTablePages(regions: readonly PfnRange[]): number {
  const frames = regions.reduce((sum, { count }) => sum + count, 0);
  const dentryBuckets = 2 ** Math.ceil(Math.log2(frames / 2));
  return Math.ceil((dentryBuckets * 8 + (dentryBuckets / 2) * 8) / 4096);
}

/** Page tables of the direct map beyond the first GiB: a page a GiB, with 2 MiB mappings. */
function directMapPages(regions: readonly PfnRange[]): number {
  const frames = regions.reduce((sum, { count }) => sum + count, 0);
  return Math.max(0, Math.ceil(frames / 262_144) - 1);
}
