import { assert } from '../../../shared/lib/assert.ts';
import { TICK_MS } from '../../sched/jiffies.ts';
import type { Waiting } from '../../sched/scheduler.ts';
import {
  __GFP_NOFAIL,
  __GFP_NORETRY,
  __GFP_RETRY_MAYFAIL,
  ALLOC_MIN_RESERVE,
  gfpMigratetype,
  gfpToAllocFlags,
  gfpZone,
  MIGRATETYPE,
  WMARK,
} from '../page/gfp.ts';
import { PAGE_ALLOC_COSTLY_ORDER } from '../page/per-cpu-pages.ts';
import { zoneWatermarkOk } from '../page/watermark.ts';
import type { Zone } from '../page/zone.ts';
import type { OomResult } from '../reclaim/out-of-memory.ts';
import { MAX_RECLAIM_RETRIES, zoneReclaimablePages } from '../reclaim/reclaimable.ts';
import type { Asking, SlowPath } from '../space/alloc-pages.ts';
import type { CompactionWorld } from './compact-zone.ts';
import { COMPACT, COMPACT_PRIO, type CompactPriority, type CompactResult } from './constants.ts';
import { compactionAllowed, type DirectRequest, directCompact } from './direct-compaction.ts';
import { suitableByWatermarks } from './suitability.ts';

/** What `#tryHard` returns where only the OOM killer is left. */
const OUT_OF_MEMORY = -2;

const MAX_COMPACT_RETRIES = 16;

/** Rounds of the OOM killer, one after the other, for one allocation; reaching it is our bug. */
const OOM_ROUNDS_MAX = 4096;

/** The steps that are handed in: what is above the allocator and beside compaction. */
export interface SlowPathOptions {
  readonly world: CompactionWorld;
  /** try_to_free_pages: direct reclaim for a request; returns the pages it reclaimed. */
  readonly reclaim: (order: number, gfp: number, asking: Asking | undefined) => Waiting<number>;
  /** __alloc_pages_may_oom. */
  readonly mayOom: (order: number, gfp: number) => Waiting<OomResult>;
}

/**
 * __alloc_pages_slowpath where it may wait: wakes kswapd, compacts, reclaims, and tries again as
 * long as that leads anywhere; then the OOM notifiers and the killer. For a costly order compaction
 * comes first as well.
 */
export class AllocSlowPath implements SlowPath {
  readonly #options: SlowPathOptions;

  constructor(options: SlowPathOptions) {
    this.#options = options;
  }

  *allocate(order: number, gfp: number, asking: Asking | undefined): Waiting<number> {
    const request = { order, gfp, allocFlags: gfpToAllocFlags(gfp, order) };
    const pfn = yield* new Attempt(request, this.#options, asking).run();
    this.#options.world.allocator.traceAllocation(pfn, order, gfp);
    return pfn;
  }
}

/** One request on its way through the slow path. */
class Attempt {
  readonly #request: DirectRequest;
  readonly #options: SlowPathOptions;
  readonly #asking: Asking | undefined;
  readonly #isCostly: boolean;
  #priority: CompactPriority = COMPACT_PRIO.syncLight;
  #result: CompactResult = COMPACT.skipped;
  #compactRetries = 0;
  #reclaimLoops = 0;

  constructor(request: DirectRequest, options: SlowPathOptions, asking: Asking | undefined) {
    this.#request = request;
    this.#options = options;
    this.#asking = asking;
    this.#isCostly = request.order > PAGE_ALLOC_COSTLY_ORDER;
  }

  /** With __GFP_NOFAIL a request that was refused may use some of the reserve, and goes on. */
  *run(): Waiting<number> {
    let pfn = yield* this.#untilRefused();
    while (pfn < 0 && (this.#request.gfp & __GFP_NOFAIL) !== 0) {
      const { order, gfp } = this.#request;
      const { allocator } = this.#options.world;
      pfn = allocator.getPageFromFreelist(order, gfp, ALLOC_MIN_RESERVE);
      if (pfn >= 0) break;
      // Linux only lets others run. They may have to wait, so that here a tick passes.
      yield TICK_MS;
      pfn = yield* this.#retry();
    }
    return pfn;
  }

  *#untilRefused(): Waiting<number> {
    const early = yield* this.#compactEarly();
    if (early >= 0 || this.#givesUpEarly()) return early;
    return yield* this.#retry();
  }

  *#retry(): Waiting<number> {
    for (let rounds = 0; ; ) {
      assert(rounds < OOM_ROUNDS_MAX, 'killing processes frees memory in the end');
      const pfn = yield* this.#tryHard();
      if (pfn !== OUT_OF_MEMORY) return pfn;
      if (this.#asking?.killed === true) return -1;
      const { order, gfp } = this.#request;
      const last = yield* this.#options.mayOom(order, gfp);
      if (last.pfn >= 0 || !last.progress) return last.pfn;
      rounds = last.waited === true ? 0 : rounds + 1;
      this.#reclaimLoops = 0;
    }
  }

  /** Until it has a block, may fail (-1), or nothing is left but the OOM killer. */
  *#tryHard(): Waiting<number> {
    const { order, gfp } = this.#request;
    const { allocator } = this.#options.world;
    for (;;) {
      allocator.wakeKswapds(order, gfp);
      const free = this.#take();
      if (free >= 0) return free;
      const progress = yield* this.#options.reclaim(order, gfp, this.#asking);
      const reclaimed = progress > 0 ? this.#takeReclaimed() : -1;
      if (reclaimed >= 0) return reclaimed;
      const compacted = yield* this.#compact(this.#priority);
      if (compacted >= 0) return compacted;
      if ((gfp & __GFP_NORETRY) !== 0) return -1;
      if (this.#isCostly && !this.#mayRetryCostly) return -1;
      if (this.#shouldReclaimRetry(progress > 0)) continue;
      const mayCompact = progress > 0 && compactionAllowed(gfp);
      if (!mayCompact || !this.#shouldCompactRetry()) return OUT_OF_MEMORY;
    }
  }

  get #mayRetryCostly(): boolean {
    const { gfp } = this.#request;
    return (gfp & __GFP_RETRY_MAYFAIL) !== 0 && compactionAllowed(gfp);
  }

  #take(): number {
    const { order, gfp, allocFlags } = this.#request;
    return this.#options.world.allocator.getPageFromFreelist(order, gfp, allocFlags);
  }

  /** The end of __alloc_pages_direct_reclaim: once more after everything cached was given back. */
  #takeReclaimed(): number {
    const { allocator } = this.#options.world;
    const pfn = this.#take();
    if (pfn >= 0) return pfn;
    allocator.unreserveHighatomic(this.#request.gfp, false);
    allocator.drainAllPages();
    return this.#take();
  }

  /** Costly requests compact before they reclaim, as do those that must not mix pageblocks. */
  *#compactEarly(): Waiting<number> {
    const { order, gfp } = this.#request;
    const isMovable = gfpMigratetype(gfp) === MIGRATETYPE.movable;
    if (order === 0 || (!this.#isCostly && isMovable)) return -1;
    return yield* this.#compact(COMPACT_PRIO.async);
  }

  *#compact(priority: CompactPriority): Waiting<number> {
    const { order, gfp } = this.#request;
    if (order === 0 || !compactionAllowed(gfp)) return -1;
    const { pfn, result } = yield* directCompact(this.#options.world, this.#request, priority);
    this.#result = result;
    return pfn;
  }

  /** A costly request that is not to retry: reclaim would cost more than it is worth. */
  #givesUpEarly(): boolean {
    if (!this.#isCostly || (this.#request.gfp & __GFP_NORETRY) === 0) return false;
    this.#priority = COMPACT_PRIO.async;
    return this.#result === COMPACT.skipped || this.#result === COMPACT.deferred;
  }

  /** should_reclaim_retry: could the request be served if all was reclaimed that can be? */
  #shouldReclaimRetry(progress: boolean): boolean {
    const { order, gfp, allocFlags } = this.#request;
    const { allocator } = this.#options.world;
    this.#reclaimLoops = progress && !this.#isCostly ? 0 : this.#reclaimLoops + 1;
    const check = { order, allocFlags, highestZone: gfpZone(gfp) };
    const isPossible =
      this.#reclaimLoops <= MAX_RECLAIM_RETRIES &&
      allocator.zones.some((zone) => {
        if (!zone.populated || zone.index > check.highestZone) return false;
        return zoneWatermarkOk(zone, check, zone.mark(WMARK.min), this.#available(zone));
      });
    return isPossible || allocator.unreserveHighatomic(gfp, true);
  }

  #available(zone: Zone): number {
    return zone.freePages + this.#reclaimable(zone);
  }

  #reclaimable(zone: Zone): number {
    return zoneReclaimablePages(zone, this.#options.world.lru.reclaimablePages(zone));
  }

  /** should_compact_retry: with more effort, or once more where there was some success. */
  #shouldCompactRetry(): boolean {
    const { order, gfp, allocFlags } = this.#request;
    const { allocator } = this.#options.world;
    if (order === 0 || this.#asking?.killed === true) return false;
    if (this.#result === COMPACT.success) this.#compactRetries++;
    if (this.#result === COMPACT.skipped) {
      const check = { order, allocFlags, highestZone: gfpZone(gfp) };
      return allocator.zones.some((zone) => {
        if (!zone.populated || zone.index > check.highestZone) return false;
        const available = zone.freePages + Math.floor(this.#reclaimable(zone) / order);
        return suitableByWatermarks(zone, check, available) === COMPACT.continue;
      });
    }
    const isWithdrawn = WITHDRAWN.has(this.#result);
    const retries = this.#isCostly ? MAX_COMPACT_RETRIES / 4 : MAX_COMPACT_RETRIES;
    if (!isWithdrawn && this.#compactRetries <= retries) return true;
    const hardest = this.#isCostly ? COMPACT_PRIO.syncLight : COMPACT_PRIO.syncFull;
    if (this.#priority <= hardest) return false;
    this.#priority = (this.#priority - 1) as CompactPriority;
    this.#compactRetries = 0;
    return true;
  }
}

/** Results after which only more effort is worth another try: all was scanned, or hardly any. */
const WITHDRAWN: ReadonlySet<CompactResult> = new Set([
  COMPACT.complete,
  COMPACT.deferred,
  COMPACT.contended,
  COMPACT.partialSkipped,
]);
