import { Errno } from './errno.ts';
import { HPAGE_PMD_NR } from './frames.ts';
import { canMerge, type Mm, VM_LOCKED, Vma } from './mm-types.ts';
import { isTable } from './pte.ts';
import type { Spaces } from './spaces.ts';
import { MAX_MAP_COUNT } from './vma-list.ts';

/** Changes to the VMAs of an address space: linking, splitting, merging, changing flags. */

/** vma_link: throws ENOMEM when there are too many. */
export function linkVma(mm: Mm, vma: Vma): void {
  if (mm.vmas.length >= MAX_MAP_COUNT) throw new Errno('ENOMEM', 'too many mappings');
  vma.file?.linkVma(vma);
  mm.vmas.insert(vma);
  mm.totalPages += vma.pageCount;
  if (vma.has(VM_LOCKED)) mm.lockedPages += vma.pageCount;
}

/** remove_vma: when its pages are gone and it is unlinked from owner and file. */
export function unlinkVma(mm: Mm, vma: Vma): void {
  mm.vmas.remove(vma);
  mm.totalPages -= vma.pageCount;
  if (vma.has(VM_LOCKED)) mm.lockedPages -= vma.pageCount;
}

/** __split_vma: the VMA ends at `at`; returns the new one behind it. */
function splitVma(spaces: Spaces, vma: Vma, at: number): Vma {
  const { mm } = vma;
  if (mm.vmas.length >= MAX_MAP_COUNT) throw new Errno('ENOMEM', 'too many mappings');
  const range = { start: at, end: vma.end };
  const pgoff = vma.indexOf(at);
  const backing = vma.file === undefined ? undefined : { file: vma.file, pgoff };
  const behind = new Vma(mm, range, vma.flags, backing);
  behind.pgoff = pgoff;
  vma.file?.linkVma(behind);
  spaces.anonVmas.clone(vma, behind);
  splitHugeAt(spaces, vma, at);
  vma.end = at;
  mm.vmas.insert(behind);
  return behind;
}

/** vma_adjust_trans_huge: no PMD maps a huge page over the boundary of a VMA. */
function splitHugeAt(spaces: Spaces, vma: Vma, at: number): void {
  if (at % HPAGE_PMD_NR === 0) return;
  const { tables, hugePages } = spaces;
  const pmdAt = tables.pmdAt(vma.mm.pgdBase, at);
  if (pmdAt < 0 || tables.entries[pmdAt] === 0 || isTable(tables.entries[pmdAt])) return;
  hugePages.splitPmd(vma, at, pmdAt);
}

/** vma_merge: joins a VMA with its neighbours where they continue one another. */
export function mergeVma(spaces: Spaces, vma: Vma): Vma {
  const { vmas } = vma.mm;
  const index = vmas.indexAt(vma.start);
  const next = vmas.at(index + 1);
  if (next !== undefined && canMerge(vma, next)) join(spaces, vma, next);
  const previous = vmas.at(index - 1);
  if (previous === undefined || !canMerge(previous, vma)) return vma;
  join(spaces, previous, vma);
  return previous;
}

function join(spaces: Spaces, vma: Vma, next: Vma): void {
  if (vma.anonVma === undefined) spaces.anonVmas.clone(next, vma);
  vma.mm.vmas.remove(next);
  vma.end = next.end;
  spaces.anonVmas.unlink(next);
  next.file?.unlinkVma(next);
}

/** mlock_fixup and madvise_update_vma: changes flags of [start, end), splitting as needed. */
export function changeFlags(
  spaces: Spaces,
  mm: Mm,
  range: { readonly start: number; readonly end: number },
  change: (flags: number) => number,
): void {
  for (const vma of mm.vmas.overlapping(range.start, range.end)) {
    const flags = change(vma.flags);
    if (flags === vma.flags) continue;
    const part = cut(spaces, vma, range.start, range.end);
    if ((part.flags ^ flags) & VM_LOCKED) {
      mm.lockedPages += (flags & VM_LOCKED) === 0 ? -part.pageCount : part.pageCount;
    }
    part.flags = flags;
    mergeVma(spaces, part);
  }
}

/** The part of a VMA in [start, end) as a VMA of its own. */
export function cut(spaces: Spaces, vma: Vma, start: number, end: number): Vma {
  const part = vma.start < start ? splitVma(spaces, vma, start) : vma;
  if (part.end > end) splitVma(spaces, part, end);
  return part;
}
