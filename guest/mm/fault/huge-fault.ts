import { __GFP_DIRECT_RECLAIM, GFP_TRANSHUGE, GFP_TRANSHUGE_LIGHT } from '../page/gfp.ts';
import { HPAGE_PMD_NR, HPAGE_PMD_ORDER, PG_ANON_EXCLUSIVE, PG_UPTODATE } from '../space/frames.ts';
import { RSS, VM_HUGEPAGE, VM_NOHUGEPAGE, type Vma } from '../space/mm-types.ts';
import { makePte, PMD_HUGE, PTE_ACCESSED, PTE_DIRTY, PTE_WRITE, ptePfn } from '../space/pte.ts';
import { newPteTable } from '../space/table-pages.ts';
import { anonFlags } from './anonymous.ts';
import { addNewToLru, FAULT, type Fault, type FaultResult } from './fault.ts';

/** vma_thp_gfp_mask with defrag=madvise: only who asked for huge pages waits for them. */
function hugeGfp(vma: Vma): number {
  return vma.has(VM_HUGEPAGE) ? GFP_TRANSHUGE : GFP_TRANSHUGE_LIGHT;
}

/** hugepage_vma_check and transhuge_vma_suitable for the faulting page, and it is written to. */
export function wantsHuge(fault: Fault, vma: Vma): boolean {
  if (!fault.write || fault.noHuge || vma.file !== undefined || vma.has(VM_NOHUGEPAGE))
    return false;
  const { thp } = fault.spaces;
  if (thp === 'never' || (thp === 'madvise' && !vma.has(VM_HUGEPAGE))) return false;
  const start = fault.vpn & ~(HPAGE_PMD_NR - 1);
  return start >= vma.start && start + HPAGE_PMD_NR <= vma.end;
}

/** do_huge_pmd_anonymous_page: a huge page for an empty PMD, or `fallback` without one. */
export function hugeFault(fault: Fault, vma: Vma): FaultResult {
  const { spaces, mm, source, pmdAt } = fault;
  spaces.anonVmas.prepare(vma);
  const gfp = hugeGfp(vma);
  const head = source.take(HPAGE_PMD_ORDER, gfp);
  if (head < 0) {
    if ((gfp & __GFP_DIRECT_RECLAIM) !== 0) return FAULT.noPage;
    return fallBack(fault);
  }
  const table = newPteTable(spaces, mm, source);
  if (table < 0) {
    source.putBack(head, HPAGE_PMD_ORDER, gfp);
    return FAULT.noPage;
  }
  spaces.frames.prepareHuge(head);
  spaces.frames.pages.tags.fill(0, head, head + HPAGE_PMD_NR);
  spaces.frames.set(head, PG_UPTODATE);
  spaces.rmap.addNewAnon(head, vma, fault.vpn & ~(HPAGE_PMD_NR - 1), true);
  addNewToLru(spaces, vma, head);
  spaces.hugePages.deposit(mm, pmdAt, table);
  spaces.tables.entries[pmdAt] = makePte(head, PMD_HUGE | anonFlags(vma));
  mm.rss[RSS.anon] += HPAGE_PMD_NR;
  spaces.vmstat.thp_fault_alloc++;
  return FAULT.done;
}

/** From here on small pages do. */
export function fallBack(fault: Fault): FaultResult {
  fault.noHuge = true;
  fault.spaces.vmstat.thp_fault_fallback++;
  return FAULT.fallback;
}

/** do_huge_pmd_wp_page: the only user writes on, others' page is split here and then copied. */
export function hugeWriteProtectFault(fault: Fault, vma: Vma): FaultResult {
  const { spaces, pmdAt } = fault;
  const { frames, rmap, waits } = spaces;
  const head = ptePfn(spaces.tables.entries[pmdAt]);
  if (!frames.has(head, PG_ANON_EXCLUSIVE)) {
    if (!waits.tryLock(head)) return fault.retryUnlocked(head);
    const alone = frames.refcount(head) === 1;
    if (alone) rmap.moveAnon(head, vma);
    waits.unlock(head);
    if (!alone) {
      spaces.hugePages.splitPmd(vma, fault.vpn, pmdAt);
      return FAULT.fallback;
    }
  }
  spaces.tables.entries[pmdAt] |= PTE_WRITE | PTE_DIRTY | PTE_ACCESSED;
  spaces.vmstat.pgreuse++;
  return FAULT.done;
}
