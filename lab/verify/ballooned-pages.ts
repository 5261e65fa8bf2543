import type { FreeListDump } from '../../guest/mm/page/image.ts';
import { FRAME, type RecordedFrames } from '../../guest/mm/page/page-dump.ts';
import { pindexToOrder } from '../../guest/mm/page/per-cpu-pages.ts';
import { HOLE_END_PFN } from '../../guest/mm/page/ram.ts';
import { expandRuns } from './allocator-run.ts';
import { UnusableRecording } from './files.ts';
import { withoutMigrations } from './migrations.ts';
import type { WireEvent } from './wire-lines.ts';

/**
 * The recorded balloon at a dump, from what the wire told before it. An emulated driver takes it
 * over, so that wire and dump have to agree on whose these pages are.
 */

const WIRE = 'wire.jsonl.gz';

/**
 * The balloon's list after these events, oldest page first: what comes last goes first. Throws
 * UnusableRecording where more comes out than went in.
 */
export function balloonedPages(wire: readonly WireEvent[], directory: string): number[] {
  const pages: number[] = [];
  for (const event of withoutMigrations(wire)) {
    if (event.ev !== 'buf') continue;
    if (event.queue === 'inflate') pages.push(...expandRuns(event.runs));
    if (event.queue !== 'deflate') continue;
    if (event.n > pages.length) {
      const reason = `${event.n} pages leave a balloon of ${pages.length}`;
      throw new UnusableRecording(`${directory}/${WIRE}: at ${event.tMs} ms: ${reason}`);
    }
    pages.length -= event.n;
  }
  return pages;
}

/** Throws UnusableRecording for a page that cannot have been a balloon's when `before` was made. */
export function requireInUse(
  ballooned: readonly number[],
  { before, frames }: { readonly before: FreeListDump; readonly frames: RecordedFrames },
  directory: string,
): void {
  const end = Math.max(...before.zones.map((zone) => zone.start_pfn + zone.spanned));
  const inUse = new Uint8Array(end).fill(1, HOLE_END_PFN);
  for (const [pfn, order] of freeBlocks(before)) inUse.fill(0, pfn, pfn + 2 ** order);
  for (const pfn of ballooned) {
    const isOnLru = pfn < frames.pageCount && (frames.describe(pfn) & FRAME.lru) !== 0;
    if (inUse[pfn] === 1 && !isOnLru && frames.compoundOrder(pfn) === 0) {
      inUse[pfn] = 0;
      continue;
    }
    const reason = 'is there twice, or the memory dump has it free or as somebody else has it';
    throw new UnusableRecording(`${directory}/${WIRE}: in the balloon PFN ${pfn} ${reason}`);
  }
}

function* freeBlocks({ zones }: FreeListDump): Generator<[pfn: number, order: number]> {
  for (const { free_area, pcp } of zones) {
    for (const [order, lists] of free_area.entries()) {
      for (const pfn of Object.values(lists).flat()) yield [pfn, order];
    }
    for (const [pindex, list] of pcp.lists.entries()) {
      for (const pfn of list) yield [pfn, pindexToOrder(pindex)];
    }
  }
}
