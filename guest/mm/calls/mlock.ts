import type { Waiting } from '../../sched/scheduler.ts';
import type { MemoryAccess } from '../fault/access.ts';
import { FAULT } from '../fault/fault.ts';
import { Errno } from '../space/errno.ts';
import { HPAGE_PMD_NR } from '../space/frames.ts';
import { type Mm, VM_LOCKED, VM_SHARED, VM_WRITE, type Vma } from '../space/mm-types.ts';
import { pteIn } from '../space/page-tables.ts';
import { isHugePmd, isPresent, isTable, PTE_SPECIAL, ptePfn } from '../space/pte.ts';
import type { Spaces } from '../space/spaces.ts';
import { cut, mergeVma } from '../space/vma-ops.ts';
import { checkMapped } from './madvise.ts';

/**
 * mlock: the pages are brought in and stay. Throws ENOMEM for a range with gaps, or when memory is
 * out and the process is killed for it.
 */
export function* mlock(
  spaces: Spaces,
  mm: Mm,
  range: { readonly start: number; readonly pageCount: number },
  access: MemoryAccess,
): Waiting {
  const { start, pageCount } = range;
  checkMapped(mm, start, pageCount);
  spaces.lru.drain();
  for (const vma of mm.vmas.overlapping(start, start + pageCount)) {
    fixup(spaces, vma, { start, end: start + pageCount }, true);
  }
  yield* populate(mm, start, start + pageCount, access);
}

/** munlock: the pages may be reclaimed again. Throws ENOMEM for a range with gaps. */
export function munlock(spaces: Spaces, mm: Mm, start: number, pageCount: number): void {
  checkMapped(mm, start, pageCount);
  spaces.lru.drain();
  for (const vma of mm.vmas.overlapping(start, start + pageCount)) {
    fixup(spaces, vma, { start, end: start + pageCount }, false);
  }
}

/** mlock_fixup: flags and VMAs, then the pages that are there already (mlock_vma_pages_range). */
function fixup(
  spaces: Spaces,
  vma: Vma,
  range: { readonly start: number; readonly end: number },
  lock: boolean,
): void {
  if (vma.has(VM_LOCKED) === lock) return;
  const part = cut(spaces, vma, range.start, range.end);
  part.flags ^= VM_LOCKED;
  part.mm.lockedPages += lock ? part.pageCount : -part.pageCount;
  markPresent(spaces, part, lock);
  mergeVma(spaces, part);
}

/** mlock_pte_range for every page of the VMA. */
function markPresent(spaces: Spaces, vma: Vma, lock: boolean): void {
  const { tables, lru } = spaces;
  const mark = (pfn: number): void => (lock ? lru.mlock(pfn) : lru.munlock(pfn));
  for (let vpn = vma.start; vpn < vma.end; ) {
    const next = Math.min(vma.end, (vpn & ~(HPAGE_PMD_NR - 1)) + HPAGE_PMD_NR);
    const pmdAt = tables.pmdAt(vma.mm.pgdBase, vpn);
    const pmd = pmdAt < 0 ? 0 : tables.entries[pmdAt];
    if (isHugePmd(pmd)) mark(ptePfn(pmd));
    else if (isTable(pmd)) {
      const base = tables.tableBase(pmd);
      for (let page = vpn; page < next; page++) {
        const entry = tables.entries[pteIn(base, page)];
        const counted = isPresent(entry) && (entry & PTE_SPECIAL) === 0;
        if (counted && !spaces.frames.isHuge(ptePfn(entry))) mark(ptePfn(entry));
      }
    }
    vpn = next;
  }
}

/** __mm_populate: faults every page in, for writing where a private copy is to be made. */
export function* populate(mm: Mm, start: number, end: number, access: MemoryAccess): Waiting {
  for (let vpn = start; vpn < end; vpn++) {
    const vma = mm.vmas.find(vpn);
    if (vma === undefined) continue;
    const write = (vma.flags & (VM_WRITE | VM_SHARED)) === VM_WRITE;
    let pfn = access.tryFrame(vpn, write);
    if (pfn < 0) pfn = yield* access.frame(vpn, write);
    if (pfn === -1 - FAULT.oom) throw new Errno('ENOMEM', 'populate');
  }
}
