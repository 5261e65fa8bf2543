import { PAGE_SIZE, SizeError } from '../../../shared/lib/units.ts';
import { MIGRATETYPE_NAMES } from './gfp.ts';
import type { FreeListDump } from './image.ts';
import { MAX_ORDER, PAGEBLOCK_ORDER, PAGEBLOCK_PAGES } from './page-map.ts';
import { MAX_PCP_BATCH, pindexToOrder } from './per-cpu-pages.ts';
import { FIRMWARE_TOP_PAGES, ramRegions, zoneSpans } from './ram.ts';
import { ZONE_NAMES, type ZoneSpan } from './zone.ts';

/**
 * What has to be true of a free-list dump before a guest is booted from it, beside its shape. A
 * recorded dump has all of it; a file from elsewhere is refused here, with the first thing that is
 * wrong, instead of failing an assertion half-way through a boot.
 */

/** A dump from which no guest can be booted; one line that says what is wrong and where. */
export class ImageError extends Error {
  override readonly name = 'ImageError';
}

type ZoneDump = FreeListDump['zones'][number];

/** COMPACT_MAX_DEFER_SHIFT. */
const MAX_DEFER_SHIFT = 6;

/**
 * RAM in bytes of the guest that a dump is of, as QEMU's -m gives it. Throws ImageError when no
 * guest of QEMU's q35 has such zones.
 */
export function imageMemoryBytes(dump: FreeListDump): number {
  const spanned = (name: string): number => zoneNamed(dump, name)?.spanned ?? 0;
  const lowEnd = (zoneNamed(dump, 'DMA32')?.start_pfn ?? 0) + spanned('DMA32');
  const bytes = (lowEnd + FIRMWARE_TOP_PAGES + spanned('Normal')) * PAGE_SIZE;
  const expected = spansOf(bytes);
  for (const span of expected) {
    const zone = zoneNamed(dump, ZONE_NAMES[span.index]);
    const matches = zone?.start_pfn === span.startPfn && zone.spanned === span.spannedPages;
    if (span.spannedPages > 0 && !matches) throw notQ35();
  }
  return bytes;
}

/** Throws ImageError for the first thing that a boot from the dump could not do with. */
export function requireBootable(dump: FreeListDump): void {
  const spans = spansOf(imageMemoryBytes(dump));
  const populated = spans.filter(({ spannedPages }) => spannedPages > 0);
  const span = Math.max(...populated.map((zone) => zone.startPfn + zone.spannedPages));
  const blocks = Math.ceil(span / PAGEBLOCK_PAGES);
  if (dump.pageblock_migratetype.length < blocks) {
    const found = dump.pageblock_migratetype.length;
    throw new ImageError(`pageblock_migratetype has ${found} of ${blocks} pageblocks`);
  }
  const names = dump.zones.map(({ name }) => name);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) throw new ImageError(`zone ${twice} is there twice`);
  const places = new Places(span);
  for (const zone of dump.zones) {
    if (spans[ZONE_NAMES.indexOf(zone.name)].spannedPages === 0) throw notQ35();
    requireNumbers(zone);
    placeLists(zone, places);
  }
  places.requireMerged();
}

function zoneNamed(dump: FreeListDump, name: string): ZoneDump | undefined {
  return dump.zones.find((zone) => zone.name === name);
}

function spansOf(memoryBytes: number): readonly ZoneSpan[] {
  try {
    return zoneSpans(ramRegions(memoryBytes));
  } catch (error) {
    if (!(error instanceof SizeError)) throw error;
    throw notQ35();
  }
}

function notQ35(): ImageError {
  return new ImageError("its zones are not those of a guest on QEMU's q35 of 64M to 64G");
}

function requireNumbers(zone: ZoneDump): void {
  const require = (holds: boolean, what: string): void => {
    if (!holds) throw new ImageError(`zone ${zone.name}: ${what}`);
  };
  const { start_pfn: start, spanned, present, managed, watermark, pcp, compact } = zone;
  require(present <= spanned && managed <= present, 'managed, present, spanned do not ascend');
  const [min, low, high] = watermark;
  require(min > 0 && min <= low && low <= high, 'watermarks do not ascend from 1');
  const cached = pcp.lists.map((list, pindex) => list.length << pindexToOrder(pindex));
  const count = cached.reduce((sum, frames) => sum + frames, 0);
  require(count === pcp.count, `pcp.count is ${pcp.count}, its lists have ${count}`);
  const { batch } = pcp;
  const isBatch = batch >= 1 && batch <= MAX_PCP_BATCH;
  require(isBatch, `batch is ${batch}, of 1 to ${MAX_PCP_BATCH}`);
  const free = zone.free_area.map((area, order) => {
    return MIGRATETYPE_NAMES.reduce((sum, name) => sum + area[name].length, 0) << order;
  });
  const freeFrames = free.reduce((sum, frames) => sum + frames, 0);
  require(freeFrames + count <= managed, `more frames are free than managed (${managed})`);
  if (compact === undefined || compact === null) return;
  const scanners = [
    ...[compact.cached_free_pfn, compact.init_free_pfn, compact.init_migrate_pfn],
    ...compact.cached_migrate_pfn,
  ];
  // 0 is where a scanner has never been.
  const inside = scanners.every((pfn) => pfn === 0 || (pfn >= start && pfn <= start + spanned));
  require(inside, 'a scanner of compaction is outside');
  const deferral = compact.defer_shift <= MAX_DEFER_SHIFT && compact.order_failed <= MAX_ORDER;
  require(deferral, 'compact.defer_shift or order_failed is too large');
}

function placeLists(zone: ZoneDump, places: Places): void {
  zone.free_area.forEach((area, order) => {
    for (const name of MIGRATETYPE_NAMES) {
      for (const pfn of area[name]) places.take(zone, pfn, order, true);
    }
  });
  zone.pcp.lists.forEach((list, pindex) => {
    for (const pfn of list) places.take(zone, pfn, pindexToOrder(pindex), false);
  });
}

/** What lies at each frame: a byte of 0 for nothing, order + 1 where a free block begins. */
class Places {
  readonly #at: Uint8Array;

  constructor(pageCount: number) {
    this.#at = new Uint8Array(pageCount);
  }

  take(zone: ZoneDump, pfn: number, order: number, isFree: boolean): void {
    const end = pfn + (1 << order);
    const where = `zone ${zone.name}: PFN ${pfn} of order ${order}`;
    if (pfn % (1 << order) !== 0) throw new ImageError(`${where} is not aligned`);
    if (pfn < zone.start_pfn || end > zone.start_pfn + zone.spanned) {
      throw new ImageError(`${where} is not in the zone`);
    }
    for (let at = pfn; at < end; at++) {
      if (this.#at[at] !== 0) throw new ImageError(`${where}: frame ${at} is there twice`);
      this.#at[at] = TAKEN;
    }
    if (isFree) this.#at[pfn] = order + 1;
  }

  /** Free buddies of orders below a pageblock's never stay apart. */
  requireMerged(): void {
    for (let pfn = 0; pfn < this.#at.length; pfn++) {
      const order = this.#at[pfn] - 1;
      if (order < 0 || order >= PAGEBLOCK_ORDER) continue;
      if (this.#at[pfn ^ (1 << order)] !== order + 1) continue;
      throw new ImageError(`PFN ${pfn} of order ${order} and its buddy are both free`);
    }
  }
}

/** No order is as large. */
const TAKEN = 255;
