import type { Waiting } from '../../sched/scheduler.ts';
import type { FileMapping } from '../space/address-spaces.ts';
import { Errno } from '../space/errno.ts';
import { freePgtables, NO_CEILING } from '../space/free-pgtables.ts';
import {
  type Mm,
  VM_HUGEPAGE,
  VM_NOHUGEPAGE,
  VM_SHARED,
  VM_WRITE,
  Vma,
} from '../space/mm-types.ts';
import { TASK_SIZE_PAGES } from '../space/page-tables.ts';
import type { Spaces } from '../space/spaces.ts';
import { evictIfUnused } from '../space/truncate.ts';
import { MAX_MAP_COUNT, MMAP_MIN } from '../space/vma-list.ts';
import { cut, linkVma, mergeVma, unlinkVma } from '../space/vma-ops.ts';
import { unmapRange } from '../space/zap.ts';

/** What to map; sizes and addresses in pages. */
export interface MapRequest {
  readonly pageCount: number;
  /** MAP_FIXED: exactly here, in the place of what is there. Left out: the highest gap. */
  readonly at?: number;
  /** PROT_WRITE; true if left out. */
  readonly writable?: boolean;
  /** MAP_SHARED; false if left out. */
  readonly shared?: boolean;
  /** What to map from page `pgoff` on; left out: anonymous memory. */
  readonly file?: FileMapping;
  readonly pgoff?: number;
  /** MADV_HUGEPAGE or MADV_NOHUGEPAGE from the start. */
  readonly huge?: 'yes' | 'no';
}

/** mmap: returns the first page. Throws EINVAL for a bad range, ENOMEM without room. */
export function* mmap(spaces: Spaces, mm: Mm, request: MapRequest): Waiting<number> {
  const { pageCount, at } = request;
  checkRange(at ?? MMAP_MIN, pageCount);
  if (mm.vmas.length >= MAX_MAP_COUNT) throw new Errno('ENOMEM', 'too many mappings');
  if (at !== undefined) yield* munmap(spaces, mm, at, pageCount);
  const start = at ?? mm.vmas.unmappedArea(pageCount);
  if (start < 0) throw new Errno('ENOMEM', `no gap of ${pageCount} pages`);
  const range = { start, end: start + pageCount };
  const file = backing(spaces, request);
  const vma = new Vma(mm, range, vmFlags(request), file && { file, pgoff: request.pgoff ?? 0 });
  linkVma(mm, vma);
  mergeVma(spaces, vma);
  return start;
}

/** Shared anonymous memory is a tmpfs file without a name (shmem_zero_setup). */
function backing(spaces: Spaces, request: MapRequest): FileMapping | undefined {
  if (request.file !== undefined || request.shared !== true) return request.file;
  const mapping = spaces.files.create('tmpfs');
  mapping.sizePages = request.pageCount;
  return mapping;
}

function vmFlags({ writable, shared, huge }: MapRequest): number {
  let flags = writable === false ? 0 : VM_WRITE;
  if (shared === true) flags |= VM_SHARED;
  if (huge !== undefined) flags |= huge === 'yes' ? VM_HUGEPAGE : VM_NOHUGEPAGE;
  return flags;
}

/** munmap: pages of the range go, with their tables; gaps in it do not matter. Throws EINVAL. */
export function* munmap(spaces: Spaces, mm: Mm, start: number, pageCount: number): Waiting {
  checkRange(start, pageCount);
  const end = start + pageCount;
  const vmas = mm.vmas.overlapping(start, end).map((vma) => cut(spaces, vma, start, end));
  if (vmas.length === 0) return;
  spaces.lru.drain();
  spaces.gather.start(mm);
  for (const vma of vmas) unmapRange(spaces, vma, vma.start, vma.end);
  for (const vma of vmas) unlinkVma(mm, vma);
  const ceiling = mm.vmas.nextStart(start);
  const bounded = ceiling === TASK_SIZE_PAGES ? NO_CEILING : ceiling;
  freePgtables(spaces, vmas, mm.vmas.previousEnd(start), bounded);
  spaces.gather.finish();
  for (const { file } of vmas) if (file !== undefined) yield* evictIfUnused(spaces, file);
}

/** Throws EINVAL unless [start, start + pageCount) lies in user space. */
export function checkRange(start: number, pageCount: number): void {
  const whole = Number.isInteger(start) && Number.isInteger(pageCount);
  const inside = start >= MMAP_MIN && pageCount > 0 && start + pageCount <= TASK_SIZE_PAGES;
  if (!whole || !inside) throw new Errno('EINVAL', `pages ${start} + ${pageCount}`);
}
