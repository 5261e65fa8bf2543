import type { Waiting } from '../../sched/scheduler.ts';
import {
  __GFP_NORETRY,
  __GFP_RETRY_MAYFAIL,
  gfpMigratetype,
  gfpToAllocFlags,
  gfpZone,
  MIGRATETYPE,
  WMARK,
} from '../page/gfp.ts';
import { PAGE_ALLOC_COSTLY_ORDER } from '../page/per-cpu-pages.ts';
import { zoneWatermarkOk } from '../page/watermark.ts';
import type { Zone } from '../page/zone.ts';
import type { Asking, SlowPath } from '../space/alloc-pages.ts';
import type { CompactionWorld } from './compact-zone.ts';
import { COMPACT, COMPACT_PRIO, type CompactPriority, type CompactResult } from './constants.ts';
import { compactionAllowed, type DirectRequest, directCompact } from './direct-compaction.ts';
import { suitableByWatermarks } from './suitability.ts';

/** MAX_RECLAIM_RETRIES, MAX_COMPACT_RETRIES. */
const MAX_RECLAIM_RETRIES = 16;
const MAX_COMPACT_RETRIES = 16;

export interface CompactingOptions {
  readonly world: CompactionWorld;
  /** Direct reclaim for a request: returns the progress it made, in pages. */
  readonly reclaim: (order: number, gfp: number) => Waiting<number>;
  /** What comes after compaction: the steps for requests that must not fail. */
  readonly next: SlowPath;
}

/**
 * The part of __alloc_pages_slowpath that compacts: for a request of more than one page memory is
 * compacted before, and again after, reclaim; how often depends on how that went. A request that
 * is not costly goes on to the OOM killer in the end, as does one for a single page at once.
 */
export class CompactingSlowPath implements SlowPath {
  readonly #options: CompactingOptions;

  constructor(options: CompactingOptions) {
    this.#options = options;
  }

  *allocate(order: number, gfp: number, asking: Asking | undefined): Waiting<number> {
    const { world, next } = this.#options;
    if (order === 0 || !compactionAllowed(gfp)) return yield* next.allocate(order, gfp, asking);
    const request = { order, gfp, allocFlags: gfpToAllocFlags(gfp, order) };
    const pfn = yield* new Attempt(request, this.#options).run();
    if (pfn < 0 && order <= PAGE_ALLOC_COSTLY_ORDER && (gfp & __GFP_NORETRY) === 0) {
      return yield* next.allocate(order, gfp, asking);
    }
    world.allocator.traceAllocation(pfn, order, gfp);
    return pfn;
  }
}

/** One request on its way through the slow path. */
class Attempt {
  readonly #request: DirectRequest;
  readonly #options: CompactingOptions;
  readonly #isCostly: boolean;
  #priority: CompactPriority = COMPACT_PRIO.syncLight;
  #result: CompactResult = COMPACT.skipped;
  #compactRetries = 0;
  #reclaimLoops = 0;

  constructor(request: DirectRequest, options: CompactingOptions) {
    this.#request = request;
    this.#options = options;
    this.#isCostly = request.order > PAGE_ALLOC_COSTLY_ORDER;
  }

  *run(): Waiting<number> {
    const { order, gfp } = this.#request;
    const { allocator } = this.#options.world;
    const early = yield* this.#compactEarly();
    if (early >= 0 || this.#givesUpEarly()) return early;
    for (;;) {
      allocator.wakeKswapds(order, gfp);
      const free = this.#take();
      if (free >= 0) return free;
      const progress = yield* this.#options.reclaim(order, gfp);
      const reclaimed = progress > 0 ? this.#takeReclaimed() : -1;
      if (reclaimed >= 0) return reclaimed;
      const compacted = yield* this.#compact(this.#priority);
      if (compacted >= 0) return compacted;
      if ((gfp & __GFP_NORETRY) !== 0) return -1;
      if (this.#isCostly && (gfp & __GFP_RETRY_MAYFAIL) === 0) return -1;
      if (this.#shouldReclaimRetry(progress > 0)) continue;
      if (progress === 0 || !this.#shouldCompactRetry()) return -1;
    }
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
    const isMovable = gfpMigratetype(this.#request.gfp) === MIGRATETYPE.movable;
    if (!this.#isCostly && isMovable) return -1;
    return yield* this.#compact(COMPACT_PRIO.async);
  }

  *#compact(priority: CompactPriority): Waiting<number> {
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

  /** zone_reclaimable_pages. Of a zone without any its free pages, as late 6.1 kernels count. */
  #reclaimable(zone: Zone): number {
    const reclaimable = this.#options.world.lru.reclaimablePages(zone);
    return reclaimable === 0 ? zone.freePages : reclaimable;
  }

  /** should_compact_retry: with more effort, or once more where there was some success. */
  #shouldCompactRetry(): boolean {
    const { order, gfp, allocFlags } = this.#request;
    const { allocator } = this.#options.world;
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
