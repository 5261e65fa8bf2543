import { Errno } from '../space/errno.ts';
import { type Mm, VM_HUGEPAGE, VM_LOCKED, VM_NOHUGEPAGE } from '../space/mm-types.ts';
import type { Spaces } from '../space/spaces.ts';
import { changeFlags } from '../space/vma-ops.ts';
import { zapPages } from '../space/zap.ts';
import { checkRange } from './mmap.ts';

/**
 * madvise(MADV_DONTNEED): the pages go at once; anonymous memory reads as zero afterwards. Throws
 * EINVAL for locked memory and ENOMEM for a range with gaps.
 */
export function madviseDontneed(spaces: Spaces, mm: Mm, start: number, pageCount: number): void {
  checkMapped(mm, start, pageCount);
  const end = start + pageCount;
  const vmas = mm.vmas.overlapping(start, end);
  if (vmas.some((vma) => vma.has(VM_LOCKED))) throw new Errno('EINVAL', 'memory is locked');
  for (const vma of vmas) {
    zapPages(spaces, vma, Math.max(start, vma.start), Math.min(end, vma.end));
  }
}

/** madvise(MADV_HUGEPAGE), madvise(MADV_NOHUGEPAGE). Throws ENOMEM for a range with gaps. */
export function madviseHuge(
  spaces: Spaces,
  mm: Mm,
  range: { readonly start: number; readonly pageCount: number },
  wanted: boolean,
): void {
  const { start, pageCount } = range;
  checkMapped(mm, start, pageCount);
  const flag = wanted ? VM_HUGEPAGE : VM_NOHUGEPAGE;
  const change = (flags: number): number => (flags & ~(VM_HUGEPAGE | VM_NOHUGEPAGE)) | flag;
  changeFlags(spaces, mm, { start, end: start + pageCount }, change);
}

/** Throws ENOMEM unless every page of the range is in a VMA. */
export function checkMapped(mm: Mm, start: number, pageCount: number): void {
  checkRange(start, pageCount);
  if (!mm.vmas.covers(start, start + pageCount)) throw new Errno('ENOMEM', 'range has gaps');
}
