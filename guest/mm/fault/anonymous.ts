import { PG_UPTODATE } from '../space/frames.ts';
import { RSS, VM_WRITE, type Vma } from '../space/mm-types.ts';
import { pteIn } from '../space/page-tables.ts';
import { makePte, PTE_ACCESSED, PTE_DIRTY, PTE_SPECIAL, PTE_WRITE } from '../space/pte.ts';
import { pteAlloc } from '../space/table-pages.ts';
import { addNewToLru, FAULT, type Fault, type FaultResult, GFP_ANON } from './fault.ts';

/** pte_alloc: makes sure that there is a table of PTEs. False when there is no page for it. */
export function ensurePteTable(fault: Fault): boolean {
  const { spaces, mm, pmdAt, source } = fault;
  return spaces.tables.entries[pmdAt] !== 0 || pteAlloc(spaces, mm, pmdAt, source);
}

/** Position of the faulting page's PTE; there is a table. */
export function ptePosition(fault: Fault): number {
  const { tables } = fault.spaces;
  return pteIn(tables.tableBase(tables.entries[fault.pmdAt]), fault.vpn);
}

/** do_anonymous_page: a zeroed page, or for a read the zero page that all share. */
export function anonymousFault(fault: Fault, vma: Vma): FaultResult {
  const { spaces, mm, vpn, source } = fault;
  if (!ensurePteTable(fault)) return FAULT.noPage;
  const { entries } = spaces.tables;
  const at = ptePosition(fault);
  if (!fault.write) {
    entries[at] = makePte(spaces.zeroPfn, PTE_SPECIAL | PTE_ACCESSED);
    return FAULT.done;
  }
  spaces.anonVmas.prepare(vma);
  const pfn = source.take(0, GFP_ANON);
  if (pfn < 0) return FAULT.noPage;
  spaces.frames.set(pfn, PG_UPTODATE);
  mm.rss[RSS.anon]++;
  spaces.rmap.addNewAnon(pfn, vma, vpn);
  addNewToLru(spaces, vma, pfn);
  entries[at] = makePte(pfn, anonFlags(vma));
  return FAULT.done;
}

/** Flags of an entry that maps a page of one's own. */
export function anonFlags(vma: Vma): number {
  const writable = vma.has(VM_WRITE) ? PTE_WRITE | PTE_DIRTY : 0;
  return PTE_ACCESSED | writable;
}
