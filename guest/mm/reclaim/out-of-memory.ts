import { TICK_MS } from '../../sched/jiffies.ts';
import type { Waiting } from '../../sched/scheduler.ts';
import type { PageAllocator } from '../page/alloc.ts';
import {
  __GFP_DIRECT_RECLAIM,
  __GFP_FS,
  __GFP_NOFAIL,
  __GFP_RETRY_MAYFAIL,
  __GFP_THISNODE,
  ALLOC_NO_WATERMARKS,
  gfpZone,
  WMARK,
  ZONE,
} from '../page/gfp.ts';
import { PAGE_ALLOC_COSTLY_ORDER } from '../page/per-cpu-pages.ts';
import type { Vmstat } from '../vmstat.ts';
import type { OomNotifierChain } from './oom.ts';

export interface OutOfMemoryOptions {
  readonly allocator: PageAllocator;
  readonly vmstat: Vmstat;
  readonly notifiers: OomNotifierChain;
  /**
   * Kills the process that weighs most (oom_badness) and takes its private memory from it. False
   * when there is none to kill.
   */
  readonly killWorst: () => boolean;
}

/** What the last step of an allocation came to. */
export interface OomResult {
  /** The block, or -1. */
  readonly pfn: number;
  /** Memory was freed, or somebody else is at it: the request is tried again. */
  readonly progress: boolean;
  /** Somebody else is at it, as long as a host does not answer perhaps, and a tick has passed. */
  readonly waited?: true;
}

const NOTHING: OomResult = { pfn: -1, progress: false };
const PROGRESS: OomResult = { pfn: -1, progress: true };
const OTHERS_PROGRESS: OomResult = { pfn: -1, progress: true, waited: true };

/**
 * The last step of the slow path (__alloc_pages_may_oom): one more look at the free lists, then
 * the OOM notifiers, then the largest process. Where nothing can be killed an allocation that may
 * not fail is our bug, as it is a panic of the kernel.
 *
 * Not emulated: oom_score_adj, the reserves that a killed task may use, the reaper's delay.
 */
export class OutOfMemory {
  readonly #options: OutOfMemoryOptions;
  /** oom_lock: the notifiers may wait, and nobody else kills meanwhile. */
  #isHeld = false;

  constructor(options: OutOfMemoryOptions) {
    this.#options = options;
  }

  *mayOom(order: number, gfp: number): Waiting<OomResult> {
    if (this.#isHeld) {
      yield TICK_MS;
      return OTHERS_PROGRESS;
    }
    // A high mark: this is only to see whether somebody else has just freed a lot.
    const { allocator } = this.#options;
    const waitless = gfp & ~__GFP_DIRECT_RECLAIM;
    const pfn = allocator.getPageFromFreelist(order, waitless, WMARK.high);
    if (pfn >= 0) return { pfn, progress: true };
    if (order > PAGE_ALLOC_COSTLY_ORDER) return NOTHING;
    if ((gfp & (__GFP_RETRY_MAYFAIL | __GFP_THISNODE)) !== 0) return NOTHING;
    if (gfpZone(gfp) < ZONE.normal) return NOTHING;
    this.#isHeld = true;
    try {
      const progress = yield* this.#outOfMemory(gfp);
      if ((gfp & __GFP_NOFAIL) === 0) return progress ? PROGRESS : NOTHING;
      // What must not fail may have all that is left.
      const reserve = allocator.getPageFromFreelist(order, gfp, ALLOC_NO_WATERMARKS);
      return { pfn: reserve, progress };
    } finally {
      this.#isHeld = false;
    }
  }

  /** out_of_memory: false when nothing was freed and nobody can be killed. */
  *#outOfMemory(gfp: number): Waiting<boolean> {
    const { notifiers, killWorst, vmstat } = this.#options;
    if ((yield* notifiers.call()) > 0) return true;
    // Who may not enter file systems has not tried everything: others will.
    if ((gfp & __GFP_FS) === 0) return true;
    if (!killWorst()) return false;
    vmstat.oom_kill++;
    return true;
  }
}
