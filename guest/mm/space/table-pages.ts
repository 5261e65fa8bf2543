import { assert } from '../../../shared/lib/assert.ts';
import { __GFP_ZERO, GFP_KERNEL_ACCOUNT } from '../page/gfp.ts';
import type { PageSource } from './alloc-pages.ts';
import { Mm } from './mm-types.ts';
import { pgdAt, pmdIn, pudAt } from './page-tables.ts';
import type { Spaces } from './spaces.ts';

/** Page-table pages: where they come from and how they hang together. */

/** GFP_PGTABLE_USER, as recorded: unmovable, order 0; a pgd has order 1 (page-table isolation). */
export const GFP_PGTABLE_USER = GFP_KERNEL_ACCOUNT | __GFP_ZERO;
const PGD_ALLOCATION_ORDER = 1;

/** mm_init: an empty address space, or undefined when there is no page for its pgd. */
export function newMm(spaces: Spaces, source: PageSource): Mm | undefined {
  const pgd = source.take(PGD_ALLOCATION_ORDER, GFP_PGTABLE_USER);
  if (pgd < 0) return undefined;
  spaces.tables.adopt(pgd);
  const mm = new Mm(spaces.newMmId(), pgd, spaces.tables.baseOf(pgd));
  spaces.tlb.newContext(mm);
  spaces.mms.add(mm);
  return mm;
}

/** __mmdrop: the pgd goes, when everything below it is gone. */
export function dropMm(spaces: Spaces, mm: Mm): void {
  assert(mm.tablePages === 0, 'an address space ends without page tables');
  spaces.tlb.dropContext(mm);
  spaces.tables.disown(mm.pgd);
  spaces.allocator.free(mm.pgd, PGD_ALLOCATION_ORDER);
  spaces.mms.delete(mm);
}

/** pud_alloc and pmd_alloc: position of the PMD of a page, or -1 when a table is missing. */
export function pmdAlloc(spaces: Spaces, mm: Mm, vpn: number, source: PageSource): number {
  const { tables } = spaces;
  const pgd = pgdAt(mm.pgdBase, vpn);
  if (tables.entries[pgd] === 0 && !hang(spaces, mm, pgd, source)) return -1;
  const pud = pudAt(tables.tableBase(tables.entries[pgd]), vpn);
  if (tables.entries[pud] === 0) {
    if (!hang(spaces, mm, pud, source)) return -1;
    spaces.vmstat.nr_page_table_pages++;
  }
  return pmdIn(tables.tableBase(tables.entries[pud]), vpn);
}

/** pte_alloc: hangs a table of PTEs into an empty PMD. False when there is no page for it. */
export function pteAlloc(spaces: Spaces, mm: Mm, pmdAt: number, source: PageSource): boolean {
  if (!hang(spaces, mm, pmdAt, source)) return false;
  spaces.vmstat.nr_page_table_pages++;
  return true;
}

/** pte_alloc_one: a table of PTEs that hangs nowhere yet, or -1. */
export function newPteTable(spaces: Spaces, mm: Mm, source: PageSource): number {
  const pfn = takeTable(spaces, mm, source);
  if (pfn >= 0) spaces.vmstat.nr_page_table_pages++;
  return pfn;
}

/** pte_free: a table that hung nowhere goes at once. */
export function freePteTable(spaces: Spaces, mm: Mm, pfn: number): void {
  forgetTable(spaces, mm, pfn, true);
  spaces.allocator.free(pfn, 0);
}

/** The frame is no table any more; the caller frees it. `counted`: of PTEs or PMDs. */
export function forgetTable(spaces: Spaces, mm: Mm, pfn: number, counted: boolean): void {
  spaces.tables.disown(pfn);
  mm.tablePages--;
  if (counted) spaces.vmstat.nr_page_table_pages--;
}

function hang(spaces: Spaces, mm: Mm, at: number, source: PageSource): boolean {
  const pfn = takeTable(spaces, mm, source);
  if (pfn < 0) return false;
  spaces.tables.populate(at, pfn);
  return true;
}

function takeTable(spaces: Spaces, mm: Mm, source: PageSource): number {
  const pfn = source.take(0, GFP_PGTABLE_USER);
  if (pfn < 0) return -1;
  spaces.tables.adopt(pfn);
  mm.tablePages++;
  return pfn;
}
