import { assert } from '../../../shared/lib/assert.ts';
import type { Waiting } from '../../sched/scheduler.ts';
import type { PageAllocator } from '../page/alloc.ts';
import { __GFP_NOFAIL, __GFP_NORETRY, __GFP_RETRY_MAYFAIL } from '../page/gfp.ts';
import { PAGE_ALLOC_COSTLY_ORDER } from '../page/per-cpu-pages.ts';
import type { Asking, SlowPath } from '../space/alloc-pages.ts';
import type { Vmstat } from '../vmstat.ts';
import type { OomNotifierChain } from './oom.ts';

/** Rounds of the notifier chain and the killer for one allocation; reaching it is our bug. */
const OOM_ROUNDS_MAX = 4096;

export interface OutOfMemoryOptions {
  readonly allocator: PageAllocator;
  readonly vmstat: Vmstat;
  readonly notifiers: OomNotifierChain;
  /**
   * Kills the process that weighs most (oom_badness) and takes its private memory from it. False
   * when there is none to kill.
   */
  readonly killWorst: () => boolean;
  /** Frees what can be freed without I/O: huge pages that wait to be split. Returns pages. */
  readonly shrink: () => number;
}

/**
 * The slow path without reclaim: drains the per-CPU lists, gives up a highatomic pageblock, splits
 * huge pages that wait for it, asks the OOM notifiers and kills the largest process
 * (__alloc_pages_may_oom). Where nothing can be killed an allocation that may not fail is our bug,
 * as it is a panic of the kernel.
 *
 * Not emulated: direct compaction, direct reclaim and kswapd, oom_score_adj, the reserves that a
 * killed task may use.
 */
export class OutOfMemory implements SlowPath {
  readonly #options: OutOfMemoryOptions;

  constructor(options: OutOfMemoryOptions) {
    this.#options = options;
  }

  *allocate(order: number, gfp: number, asking: Asking | undefined): Waiting<number> {
    const { allocator, vmstat } = this.#options;
    vmstat.allocstall++;
    for (let round = 0; ; round++) {
      assert(round < OOM_ROUNDS_MAX, 'killing processes frees memory in the end');
      allocator.drainAllPages();
      const pfn = allocator.alloc(order, gfp);
      if (pfn >= 0) return pfn;
      if (allocator.unreserveHighatomic(gfp, true) || this.#options.shrink() > 0) continue;
      if (mayFail(order, gfp) || asking?.killed === true) return -1;
      if (!(yield* this.#outOfMemory())) return -1;
    }
  }

  /** out_of_memory: false when nothing was freed and nobody can be killed. */
  *#outOfMemory(): Waiting<boolean> {
    if ((yield* this.#options.notifiers.call()) > 0) return true;
    if (!this.#options.killWorst()) return false;
    this.#options.vmstat.oom_kill++;
    return true;
  }
}

/** Requests for which Linux does not kill: costly ones and those that say so. */
function mayFail(order: number, gfp: number): boolean {
  if ((gfp & __GFP_NOFAIL) !== 0) return false;
  const gentle = (gfp & (__GFP_NORETRY | __GFP_RETRY_MAYFAIL)) !== 0;
  return gentle || order > PAGE_ALLOC_COSTLY_ORDER;
}
