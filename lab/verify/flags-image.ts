import { MIGRATETYPE, MIGRATETYPE_NAMES } from '../../guest/mm/page/gfp.ts';
import { type FreeListDump, freeListDumpSchema } from '../../guest/mm/page/image.ts';
import { MAX_ORDER, PAGEBLOCK_ORDER, PAGEBLOCK_PAGES } from '../../guest/mm/page/page-map.ts';
import { NR_PCP_LISTS } from '../../guest/mm/page/per-cpu-pages.ts';
import { MAX_DMA_PFN } from '../../guest/mm/page/zone.ts';
import { zoneDump } from './boot-image.ts';
import type { ZoneState } from './boot-state.ts';
import type { PageFlags } from './page-flags.ts';

/**
 * A memory image from the flags of every frame. Exact: which frames are free and in which blocks,
 * zones, watermarks. Guessed, since nobody recorded it: the order of the lists (small blocks were
 * freed from the bottom up, large ones are in the order of boot), the migratetypes of pageblocks
 * (from what is in them), and which frames are on the per-CPU lists.
 */
export function flagsImage(flags: PageFlags, zones: readonly ZoneState[]): FreeListDump {
  const types = pageblockTypes(flags);
  return freeListDumpSchema.parse({
    zones: zones.map((zone) => {
      return zoneDump(zone, freeArea(zone, flags, types), pcpLists(zone, flags, types));
    }),
    pageblock_migratetype: types,
  });
}

/**
 * What the kernel holds for itself makes a pageblock unmovable, or reclaimable if all is slab. So
 * it was with address randomisation, where the kernel image is not at the bottom.
 */
function pageblockTypes(flags: PageFlags): number[] {
  const types: number[] = [MIGRATETYPE.unmovable];
  for (let block = 1; block * PAGEBLOCK_PAGES < flags.pageCount; block++) {
    types.push(pageblockType(flags, block * PAGEBLOCK_PAGES, types[block - 1]));
  }
  return types;
}

function pageblockType(flags: PageFlags, start: number, before: number): number {
  let free = 0;
  let reserved = 0;
  let slab = 0;
  let other = 0;
  for (let pfn = start; pfn < start + PAGEBLOCK_PAGES; pfn++) {
    if (flags.isMovable(pfn)) return MIGRATETYPE.movable;
    if (flags.isFree(pfn)) free++;
    else if (flags.isReserved(pfn)) reserved++;
    else if (flags.isSlab(pfn)) slab++;
    else other++;
  }
  if (reserved > 0) return MIGRATETYPE.unmovable;
  // Behind a pageblock of the kernel's is what it has taken with it and not used yet.
  const isReserve = free === PAGEBLOCK_PAGES && start % (2 * PAGEBLOCK_PAGES) > 0;
  if (slab === 0 && other === 0 && !(isReserve && start > MAX_DMA_PFN)) return MIGRATETYPE.movable;
  if (slab === 0) return other > PAGEBLOCK_PAGES / 2 ? MIGRATETYPE.unmovable : before;
  return other * 4 < slab ? MIGRATETYPE.reclaimable : MIGRATETYPE.unmovable;
}

/**
 * Frames on the per-CPU lists carry no flag, like the kernel's own. Taken for them are those among
 * pages of processes, those in pageblocks that are mostly free, and those between parts of the
 * kernel image, which were freed after boot and are not movable: an inflation would have had them.
 */
function pcpLists(zone: ZoneState, flags: PageFlags, types: readonly number[]): number[][] {
  const lists = Array.from({ length: NR_PCP_LISTS }, (): number[] => []);
  const end = zone.startPfn + zone.spannedPages;
  let left = zone.pcp.count;
  for (let start = blockOf(zone.startPfn + PAGEBLOCK_PAGES - 1); start < end; ) {
    const next = start + PAGEBLOCK_PAGES;
    const type = types[start >>> PAGEBLOCK_ORDER];
    if (type === MIGRATETYPE.movable || mayBeCached(flags, start, next)) {
      for (let pfn = start; pfn < Math.min(next, end) && left > 0; pfn++) {
        if (!flags.isPlain(pfn)) continue;
        lists[type].unshift(pfn);
        left--;
      }
    }
    start = next;
  }
  return lists;
}

function blockOf(pfn: number): number {
  return pfn - (pfn % PAGEBLOCK_PAGES);
}

function mayBeCached(flags: PageFlags, start: number, end: number): boolean {
  let free = 0;
  for (let pfn = start; pfn < end; pfn++) {
    if (flags.isReserved(pfn)) return true;
    if (flags.isFree(pfn)) free++;
  }
  return free > PAGEBLOCK_PAGES / 2;
}

type FreeArea = Record<string, number[]>[];

function freeArea(zone: ZoneState, flags: PageFlags, types: readonly number[]): FreeArea {
  const area: FreeArea = Array.from({ length: MAX_ORDER }, () =>
    Object.fromEntries(MIGRATETYPE_NAMES.map((name): [string, number[]] => [name, []])),
  );
  const end = zone.startPfn + zone.spannedPages;
  for (let pfn = zone.startPfn; pfn < end; ) {
    const order = freeOrder(flags, pfn, end);
    if (order < 0) {
      pfn++;
      continue;
    }
    const list = area[order][MIGRATETYPE_NAMES[types[pfn >>> PAGEBLOCK_ORDER]]];
    if (order < PAGEBLOCK_ORDER) list.unshift(pfn);
    else list.push(pfn);
    pfn += 1 << order;
  }
  return area;
}

/** The largest aligned block of free frames that begins here, -1 for none: buddies are merged. */
function freeOrder(flags: PageFlags, pfn: number, end: number): number {
  if (!flags.isFree(pfn)) return -1;
  let order = 0;
  while (order < MAX_ORDER - 1 && (pfn & ((2 << order) - 1)) === 0) {
    const next = pfn + (2 << order);
    if (next > end || !allFree(flags, pfn + (1 << order), next)) break;
    order++;
  }
  return order;
}

function allFree(flags: PageFlags, start: number, end: number): boolean {
  for (let pfn = start; pfn < end; pfn++) if (!flags.isFree(pfn)) return false;
  return true;
}
