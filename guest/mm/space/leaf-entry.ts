import type { Mm } from './mm-types.ts';
import { type PageTables, pteIn } from './page-tables.ts';
import { isHugePmd, isPresent, isTable, makePte, PMD_HUGE, PTE_FLAGS, ptePfn } from './pte.ts';

/**
 * What the page tables say about one page, as an entry with the PFN of exactly this page: a huge
 * page's PMD counts as the PTE of the part that is asked for. 0 when nothing is present.
 */
export function leafEntry(tables: PageTables, mm: Mm, vpn: number): number {
  const pmdAt = tables.pmdAt(mm.pgdBase, vpn);
  if (pmdAt < 0) return 0;
  const pmd = tables.entries[pmdAt];
  if (isHugePmd(pmd)) return makePte(ptePfn(pmd) + (vpn & 511), pmd & PTE_FLAGS & ~PMD_HUGE);
  if (!isTable(pmd)) return 0;
  const entry = tables.entries[pteIn(tables.tableBase(pmd), vpn)];
  return isPresent(entry) ? entry : 0;
}
