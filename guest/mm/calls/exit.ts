import type { Waiting } from '../../sched/scheduler.ts';
import { freePgtables, NO_CEILING } from '../space/free-pgtables.ts';
import { type Mm, VM_SHARED } from '../space/mm-types.ts';
import type { Spaces } from '../space/spaces.ts';
import { dropMm } from '../space/table-pages.ts';
import { evictIfUnused } from '../space/truncate.ts';
import { unlinkVma } from '../space/vma-ops.ts';
import { unmapRange } from '../space/zap.ts';

/** exit_mmap and __mmdrop: the end of an address space. Files nobody uses any more go with it. */
export function* exitMmap(spaces: Spaces, mm: Mm): Waiting {
  const vmas = [...mm.vmas];
  spaces.lru.drain();
  spaces.gather.start(mm, true);
  for (const vma of vmas) unmapRange(spaces, vma, vma.start, vma.end);
  freePgtables(spaces, vmas, 0, NO_CEILING);
  spaces.gather.finish();
  for (const vma of vmas) unlinkVma(mm, vma);
  dropMm(spaces, mm);
  for (const { file } of vmas) if (file !== undefined) yield* evictIfUnused(spaces, file);
}

/**
 * __oom_reap_task_mm: takes all private memory from a process that was killed, without waiting for
 * it. Returns the pages freed at most.
 */
export function reapMm(spaces: Spaces, mm: Mm): number {
  const before = mm.residentPages;
  spaces.lru.drain();
  spaces.gather.start(mm);
  for (const vma of mm.vmas) {
    const reapable = vma.file === undefined || !vma.has(VM_SHARED);
    if (reapable) unmapRange(spaces, vma, vma.start, vma.end);
  }
  spaces.gather.finish();
  return before - mm.residentPages;
}
