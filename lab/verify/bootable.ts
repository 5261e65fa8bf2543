import type { FreeListDump } from '../../guest/mm/page/image.ts';
import { ImageError, imageMemoryBytes, requireBootable } from '../../guest/mm/page/image-check.ts';
import { PAGEBLOCK_PAGES } from '../../guest/mm/page/page-map.ts';
import { MAX_PCP_BATCH } from '../../guest/mm/page/per-cpu-pages.ts';
import { ramRegions, zoneSpans } from '../../guest/mm/page/ram.ts';
import { ZONE_NAMES } from '../../guest/mm/page/zone.ts';
import { formatSize, PAGE_SIZE } from '../../shared/lib/units.ts';
import type { BootState, ZoneState } from './boot-state.ts';
import { UnusableRecording } from './files.ts';

/**
 * What a recording says of its guest's memory has to be a memory, and that of the guest of its
 * meta.json: else the recording cannot be used, and the file that says so is named.
 */

/** Throws UnusableRecording for a dump of no guest, or of one with other RAM. */
export function requireDumpOf(memoryBytes: number, dump: FreeListDump, where: string): void {
  try {
    requireBootable(dump);
  } catch (error) {
    if (!(error instanceof ImageError)) throw error;
    throw new UnusableRecording(`${where}: ${error.message}`);
  }
  const ownBytes = imageMemoryBytes(dump);
  if (ownBytes !== memoryBytes) throw otherGuest(where, memoryBytes, formatSize(ownBytes));
}

/** The same for counts of free memory, as far as an image that is made of them relies on them. */
export function requireStateOf(memoryBytes: number, { zones }: BootState, where: string): void {
  const spans = zoneSpans(ramRegions(memoryBytes)).filter((span) => span.spannedPages > 0);
  const isOfGuest = spans.every(({ index, startPfn, spannedPages }) => {
    const [zone, ...others] = zones.filter(({ name }) => name === ZONE_NAMES[index]);
    return zone?.startPfn === startPfn && zone.spannedPages === spannedPages && others.length === 0;
  });
  if (!isOfGuest || zones.length !== spans.length) {
    throw otherGuest(where, memoryBytes, 'other zones');
  }
  for (const zone of zones) {
    const wrong = wrongNumber(zone);
    if (wrong !== undefined) throw new UnusableRecording(`${where}: zone ${zone.name}: ${wrong}`);
  }
}

/** The first number that no zone has. */
function wrongNumber(zone: ZoneState): string | undefined {
  const { watermark, pcp, pageblocks, managedPages, presentPages, spannedPages } = zone;
  const [min, low, high] = watermark;
  if (min < 1 || min > low || low > high) return 'watermarks do not ascend from 1';
  if (!(managedPages <= presentPages && presentPages <= spannedPages)) {
    return 'managed, present, spanned do not ascend';
  }
  if (!(pcp.batch >= 1 && pcp.batch <= MAX_PCP_BATCH)) {
    return `batch is ${pcp.batch}, of 1 to ${MAX_PCP_BATCH}`;
  }
  if (zone.lowmemReserve.length < ZONE_NAMES.length) return 'protection is of too few zones';
  const blocks = pageblocks.reduce((sum, count) => sum + count, 0);
  const room = Math.ceil(spannedPages / PAGEBLOCK_PAGES) + 1;
  if (blocks > room) return `${blocks} pageblocks do not fit in ${spannedPages} frames`;
  const free = zone.freeBlocks.flatMap((counts) =>
    counts.map((count, order) => count * 2 ** order),
  );
  const freePages = free.reduce((sum, pages) => sum + pages, pcp.count);
  if (freePages <= managedPages) return undefined;
  return `${freePages} frames are free of ${managedPages}`;
}

function otherGuest(where: string, memoryBytes: number, what: string): UnusableRecording {
  const pages = memoryBytes / PAGE_SIZE;
  return new UnusableRecording(
    `${where}: is of a guest of ${what}, not of ${formatSize(memoryBytes)} (${pages} pages)`,
  );
}
