import type { Mm, Vma } from './mm-types.ts';
import { PGD_PAGES, PMD_PAGES, PUD_PAGES, pgdAt, pmdIn, pudAt } from './page-tables.ts';
import { ptePfn } from './pte.ts';
import type { Spaces } from './spaces.ts';
import { forgetTable } from './table-pages.ts';

/**
 * Frees page tables that no VMA needs any more: free_pgtables of Linux 6.1. A table goes when all
 * it covers lies between `floor` and `ceiling`: the end of the VMA before and the start of the one
 * behind those that were unmapped. Tables are gathered behind the pages they mapped, those of PTEs
 * before the PMD table above them.
 */

/** Behind the last page any table covers: there is no VMA behind. */
export const NO_CEILING = 16 * PGD_PAGES;

interface Bounds {
  readonly floor: number;
  readonly ceiling: number;
}

/** Tables of VMAs that were just unmapped, in order; they lie between the bounds. */
export function freePgtables(
  spaces: Spaces,
  vmas: readonly Vma[],
  floor: number,
  ceiling: number,
): void {
  for (let index = 0; index < vmas.length; ) {
    const first = vmas[index] as Vma;
    let last = first;
    detach(spaces, first);
    let next = vmas[++index];
    // Neighbours share tables: they go together.
    while (next !== undefined && next.start <= last.end + PMD_PAGES) {
      last = next;
      detach(spaces, last);
      next = vmas[++index];
    }
    const bounds = { floor, ceiling: next?.start ?? ceiling };
    freePgdRange(spaces, first.mm, { start: first.start, end: last.end }, bounds);
  }
}

/** unlink_anon_vmas and unlink_file_vma. */
function detach(spaces: Spaces, vma: Vma): void {
  spaces.anonVmas.unlink(vma);
  vma.file?.unlinkVma(vma);
}

interface Range {
  readonly start: number;
  readonly end: number;
}

/** free_pgd_range. */
function freePgdRange(spaces: Spaces, mm: Mm, range: Range, bounds: Bounds): void {
  let start = floorTo(range.start, PMD_PAGES);
  if (start < bounds.floor) start += PMD_PAGES;
  const ceiling = floorTo(bounds.ceiling, PMD_PAGES);
  let { end } = range;
  if (end > ceiling) end -= PMD_PAGES;
  for (let vpn = start; vpn < end; ) {
    const next = Math.min(end, floorTo(vpn, PGD_PAGES) + PGD_PAGES);
    const at = pgdAt(mm.pgdBase, vpn);
    if (spaces.tables.entries[at] !== 0) {
      freePudRange(spaces, mm, { start: vpn, end: next }, bounds);
      if (isWhole({ start: vpn, end: next }, bounds, PGD_PAGES))
        freeTable(spaces, mm, { at, vpn, counted: false });
    }
    vpn = next;
  }
}

function freePudRange(spaces: Spaces, mm: Mm, range: Range, bounds: Bounds): void {
  const { tables } = spaces;
  const base = tables.tableBase(tables.entries[pgdAt(mm.pgdBase, range.start)]);
  for (let vpn = range.start; vpn < range.end; ) {
    const next = Math.min(range.end, floorTo(vpn, PUD_PAGES) + PUD_PAGES);
    const at = pudAt(base, vpn);
    if (tables.entries[at] !== 0) {
      freePmdRange(spaces, mm, tables.tableBase(tables.entries[at]), { start: vpn, end: next });
      if (isWhole({ start: vpn, end: next }, bounds, PUD_PAGES)) {
        freeTable(spaces, mm, { at, vpn, counted: true });
      }
    }
    vpn = next;
  }
}

function freePmdRange(spaces: Spaces, mm: Mm, base: number, range: Range): void {
  const { entries } = spaces.tables;
  for (let vpn = floorTo(range.start, PMD_PAGES); vpn < range.end; vpn += PMD_PAGES) {
    const at = pmdIn(base, vpn);
    if (entries[at] !== 0) freeTable(spaces, mm, { at, vpn, counted: true });
  }
}

/** Does the table of a level that covers the range cover nothing that is still mapped? */
function isWhole(range: Range, bounds: Bounds, size: number): boolean {
  if (floorTo(range.start, size) < bounds.floor) return false;
  return range.end <= floorTo(bounds.ceiling, size);
}

/** An entry that leads to a table, and the first page the table covers. */
interface TableEntry {
  readonly at: number;
  readonly vpn: number;
  /** The table is counted in the mm's page tables. */
  readonly counted: boolean;
}

/** pte_free_tlb and its likes: empties the entry and gathers the table it led to. */
function freeTable(spaces: Spaces, mm: Mm, { at, vpn, counted }: TableEntry): void {
  const pfn = ptePfn(spaces.tables.entries[at]);
  spaces.tables.entries[at] = 0;
  forgetTable(spaces, mm, pfn, counted);
  spaces.gather.unmapped(vpn, vpn + 1);
  if (spaces.gather.remove(pfn)) spaces.gather.flush();
}

function floorTo(vpn: number, size: number): number {
  return vpn - (vpn % size);
}
