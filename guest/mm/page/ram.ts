import type { PfnRange } from '../../../shared/lib/pfn-ranges.ts';
import { MIB, PAGE_SIZE, SizeError } from '../../../shared/lib/units.ts';
import { MAX_GUEST_MIB, MIN_GUEST_MIB } from '../../../shared/limits.ts';
import type { PageMap } from './page-map.ts';
import type { Tracepoints } from './tracepoints.ts';
import { MAX_DMA_PFN, MAX_DMA32_PFN, Zone, type ZoneSpan } from './zone.ts';

/** Where QEMU's q35 puts RAM, and the zones Linux makes of it. */

/** RAM of this size and more is split: so much below 4 GiB, the rest from 4 GiB on. */
const SPLIT_FROM_BYTES = 2816 * MIB;
const LOW_PAGES_WHEN_SPLIT = (2048 * MIB) / PAGE_SIZE;

/** Frames at the top of low RAM that the firmware keeps (ACPI tables): not in any zone. */
export const FIRMWARE_TOP_PAGES = 32;
/** Usable frames below 1 MiB, and where RAM goes on behind the hole. PFN 0 is in no zone. */
const BELOW_HOLE_PAGES = 158;
export const HOLE_END_PFN = 256;

/**
 * RAM as QEMU's -m option gives it, in PFN ranges; their counts sum up to memoryBytes. Throws
 * SizeError for a size without a boot layout.
 */
export function ramRegions(memoryBytes: number): PfnRange[] {
  const mib = memoryBytes / MIB;
  if (!Number.isInteger(mib) || mib < MIN_GUEST_MIB || mib > MAX_GUEST_MIB) {
    throw new SizeError(
      `a guest has a whole number of MiB from ${MIN_GUEST_MIB} to ${MAX_GUEST_MIB}, not ${mib}`,
    );
  }
  const pages = memoryBytes / PAGE_SIZE;
  if (memoryBytes < SPLIT_FROM_BYTES) return [{ start: 0, count: pages }];
  return [
    { start: 0, count: LOW_PAGES_WHEN_SPLIT },
    { start: MAX_DMA32_PFN, count: pages - LOW_PAGES_WHEN_SPLIT },
  ];
}

/** One more than the highest PFN. */
export function spanOf(regions: readonly PfnRange[]): number {
  return Math.max(...regions.map(({ start, count }) => start + count));
}

/** DMA, DMA32 and Normal, empty; Normal has memory only where RAM is split. */
export function makeZones(
  pages: PageMap,
  regions: readonly PfnRange[],
  trace: Tracepoints,
): readonly Zone[] {
  return zoneSpans(regions).map((span) => new Zone(pages, span, trace));
}

/** Where the zones of RAM in `regions` lie; a zone without memory spans no pages. */
export function zoneSpans(regions: readonly PfnRange[]): ZoneSpan[] {
  const [low, high] = regions;
  const lowEnd = low.count - FIRMWARE_TOP_PAGES;
  const dma32Pages = lowEnd - MAX_DMA_PFN;
  const highPages = high?.count ?? 0;
  return [
    {
      index: 0,
      startPfn: 1,
      spannedPages: MAX_DMA_PFN - 1,
      presentPages: BELOW_HOLE_PAGES + MAX_DMA_PFN - HOLE_END_PFN,
    },
    { index: 1, startPfn: MAX_DMA_PFN, spannedPages: dma32Pages, presentPages: dma32Pages },
    { index: 2, startPfn: MAX_DMA32_PFN, spannedPages: highPages, presentPages: highPages },
  ];
}
