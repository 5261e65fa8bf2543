import { assert } from '../../../shared/lib/assert.ts';
import { rmqueueSmallest } from './buddy.ts';
import { rmqueueAny } from './fallback.ts';
import { PageFreeing } from './free.ts';
import {
  __GFP_KSWAPD_RECLAIM,
  __GFP_MEMALLOC,
  __GFP_MOVABLE,
  __GFP_NOMEMALLOC,
  ALLOC_HIGHATOMIC,
  ALLOC_KSWAPD,
  ALLOC_NO_WATERMARKS,
  ALLOC_NOFRAGMENT,
  ALLOC_NON_BLOCK,
  ALLOC_OOM,
  ALLOC_WMARK_LOW,
  GFP_BALLOON,
  gfpMigratetype,
  gfpToAllocFlags,
  gfpZone,
  MIGRATETYPE,
  ZONE,
} from './gfp.ts';
import { reserveHighatomicPageblock, unreserveHighatomicPageblock } from './highatomic.ts';
import { type MemInfo, memInfo, type NodeLevels } from './mem-info.ts';
import { PAGE_EVENT } from './page-lifecycle.ts';
import type { Places } from './page-list.ts';
import { MAX_ORDER, type PageMap, REFCOUNT_WORD } from './page-map.ts';
import { drainPagesZone, rmqueuePcplist, stepBlock, takePcplist } from './pcp.ts';
import { pcpAllowedOrder } from './per-cpu-pages.ts';
import { PagePreparation } from './prepare.ts';
import type { KmemTrace, Tracepoints } from './tracepoints.ts';
import { type WatermarkCheck, zoneWatermarkFast } from './watermark.ts';
import { type Zone, zoneIndexOf } from './zone.ts';

/** What the allocator calls up into; each may be left out. */
export interface AllocatorHooks {
  /**
   * wakeup_kswapd: 2^order frames are wanted from `zone`, or from any up to `highestZone`. Must not
   * allocate.
   */
  readonly wakeKswapd?: (zone: Zone, order: number, gfp: number, highestZone: number) => void;
}

export interface AllocatorOptions {
  /** DMA, DMA32 and Normal, also where they have no memory. */
  readonly zones: readonly Zone[];
  readonly trace: Tracepoints;
  readonly hooks?: AllocatorHooks;
}

/** The request being served; one is enough, since nothing here waits. */
class Request implements WatermarkCheck {
  order = 0;
  gfp = 0;
  migratetype = 0;
  highestZone: number = ZONE.normal;
  allocFlags = 0;
}

/**
 * The page allocator of Linux 6.1 on one CPU: the same requests get the same frames in the same
 * order. What can wait is not here: where the kernel would begin direct compaction or reclaim,
 * `alloc` returns -1 and its caller decides.
 *
 * Not emulated: NUMA, cpusets, CMA, memory control groups, debugging aids but page_poison,
 * init_on_alloc (content is zeroed where __GFP_ZERO asks).
 */
export class PageAllocator {
  readonly pages: PageMap;
  readonly zones: readonly Zone[];
  /** Frames in use by kind, kept by whoever uses them; they enter MemAvailable. */
  readonly levels: NodeLevels = { fileLru: 0, filePages: 0, slabReclaimable: 0 };
  #balloonGfp = GFP_BALLOON;
  readonly #trace: Tracepoints;
  readonly #hooks: AllocatorHooks;
  readonly #request = new Request();
  readonly #preparation: PagePreparation;
  readonly #freeing: PageFreeing;

  constructor(options: AllocatorOptions) {
    this.zones = options.zones;
    this.pages = options.zones[0].pages;
    this.#trace = options.trace;
    this.#hooks = options.hooks ?? {};
    this.#preparation = new PagePreparation(this.pages, options.trace);
    this.#freeing = new PageFreeing({ ...options, preparation: this.#preparation });
  }

  /** Sends the kmem trace events of this guest to `sink`; undefined turns them off. */
  set traceSink(sink: KmemTrace | undefined) {
    this.#trace.sink = sink;
  }

  /** page_poisoning_enabled. */
  get pagePoison(): boolean {
    return this.#preparation.poison;
  }

  /** Frames handed out whose poison was not as it had been written when they were freed. */
  get poisonErrors(): number {
    return this.#preparation.poisonErrors;
  }

  /** page_poison=1: free pages hold PAGE_POISON, those of boot too; it is checked at their use. */
  enablePagePoison(): void {
    this.#preparation.enablePoison();
  }

  /** Without CONFIG_BALLOON_COMPACTION: balloons take unmovable pages, and keep them in place. */
  pinBalloonPages(): void {
    this.#balloonGfp &= ~__GFP_MOVABLE;
    this.pages.pinBalloonPages();
  }

  /**
   * __alloc_pages up to where it would wait: the first PFN of 2^order frames with one reference,
   * or -1. Tries the low watermark, then wakes kswapd and tries what gfp allows. Their content is
   * zero with __GFP_ZERO, else what the last owner left.
   */
  alloc(order: number, gfp: number): number {
    if (order >= MAX_ORDER) return -1;
    const kswapd = gfp & __GFP_KSWAPD_RECLAIM;
    let pfn = this.getPageFromFreelist(
      order,
      gfp,
      ALLOC_WMARK_LOW | kswapd | this.#noFragment(gfp),
    );
    if (pfn < 0) pfn = this.#slowPathStart(order, gfp);
    if (pfn >= 0) this.#trace.sink?.mm_page_alloc(pfn, order, gfpMigratetype(gfp), gfp);
    return pfn;
  }

  /** The flags of balloon_page_alloc. */
  get balloonGfp(): number {
    return this.#balloonGfp;
  }

  /** balloon_page_alloc: one frame for a balloon, or -1 when out of puff. */
  allocBalloonPage(): number {
    return this.alloc(0, this.#balloonGfp);
  }

  /**
   * allocBalloonPage for places `from` to before `to` of `out`: the frames that as many calls would
   * hand out, in that order. Returns the place after the last one. While the highest zone passes
   * its low watermark and has frames on its per-CPU list, taking one changes nothing that the next
   * allocation looks at.
   */
  allocBalloonPages(out: Int32Array, from: number, to: number): number {
    const highest = this.zones.findLast((zone) => zone.populated);
    let at = from;
    while (at < to) {
      const pfn = this.allocBalloonPage();
      if (pfn < 0) break;
      out[at++] = pfn;
      if (highest !== undefined && this.#listServes(highest))
        at = this.#takeListed(highest, { pfns: out, from: at, to });
    }
    return at;
  }

  /**
   * get_page_from_freelist with explicit ALLOC_* flags, for steps of the slow path that live
   * elsewhere. Emits no mm_page_alloc.
   */
  getPageFromFreelist(order: number, gfp: number, allocFlags: number): number {
    const request = this.#request;
    request.order = order;
    request.gfp = gfp;
    request.migratetype = gfpMigratetype(gfp);
    request.highestZone = gfpZone(gfp);
    request.allocFlags = allocFlags;
    const pfn = this.#tryZones(request);
    if (pfn >= 0 || (allocFlags & ALLOC_NOFRAGMENT) === 0) return pfn;
    request.allocFlags = allocFlags & ~ALLOC_NOFRAGMENT;
    return this.#tryZones(request);
  }

  /** prep_new_page for a block that compaction captured for this request. */
  prepareCaptured(pfn: number, order: number, gfp: number): void {
    this.#preparation.toUse(pfn, order, gfp);
  }

  /**
   * The end of __alloc_pages for steps of the slow path that live elsewhere: mm_page_alloc, with
   * PFN 0 for a request that failed, as the kernel prints it.
   */
  traceAllocation(pfn: number, order: number, gfp: number): void {
    this.#trace.sink?.mm_page_alloc(Math.max(pfn, 0), order, gfpMigratetype(gfp), gfp);
  }

  /** wake_all_kswapds, for the same. */
  wakeKswapds(order: number, gfp: number): void {
    this.#wakeAllKswapds(gfpToAllocFlags(gfp, order), order, gfp);
  }

  /** __free_pages: drops a reference; the last one frees the block, which has this order. */
  free(pfn: number, order: number): void {
    assert(this.pages.allocOrder(pfn) === order, 'a block is freed with the order it was had with');
    this.putPage(pfn);
  }

  /** put_page: drops a reference; the last one takes the block off the LRU and frees it. */
  putPage(pfn: number): void {
    if (this.putPageTestZero(pfn)) this.freeUnreferenced(pfn);
  }

  /** put_page_testzero: drops a reference; true for the last: then the caller frees the block. */
  putPageTestZero(pfn: number): boolean {
    const { words } = this.pages;
    const at = (pfn << 2) + REFCOUNT_WORD;
    assert(words[at] > 0, 'put_page needs a reference to drop');
    return --words[at] === 0;
  }

  /** free_the_page: takes a block that nobody refers to any more off the LRU and frees it. */
  freeUnreferenced(pfn: number): void {
    this.#freeing.one(pfn);
  }

  /** freeUnreferenced for the frames at places `from` to before `to` of `pfns`, in this order. */
  freeUnreferencedEach(pfns: Int32Array, from: number, to: number): void {
    this.#freeing.each(pfns, from, to);
  }

  /**
   * free_unref_page_list for order-0 frames that each have one reference left: all are prepared
   * first, then go to the per-CPU lists in the order given.
   */
  freeList(pfns: Int32Array, count: number): void {
    this.#freeing.list(pfns, count);
  }

  /** The frames count as mapped or cached from now on; freeing them ends it. */
  lruAdd(pfn: number, order = 0): void {
    stepBlock(this.zoneOf(pfn), pfn, order, PAGE_EVENT.lruAdd);
  }

  /** refresh_cpu_vm_stats, which the kernel's vmstat worker runs once a second. */
  foldStats(): void {
    for (const zone of this.zones) zone.foldStats();
  }

  /** drain_all_pages: all per-CPU lists back to the buddy lists. */
  drainAllPages(): void {
    for (const zone of this.zones) if (zone.populated) drainPagesZone(zone);
  }

  /**
   * unreserve_highatomic_pageblock: when an allocation is about to fail, gives a pageblock of the
   * highatomic reserve up. True when there was one with free frames.
   */
  unreserveHighatomic(gfp: number, force: boolean): boolean {
    for (let index = gfpZone(gfp); index >= 0; index--) {
      const zone = this.zones[index];
      if (!zone.populated) continue;
      if (unreserveHighatomicPageblock(zone, gfpMigratetype(gfp), force)) return true;
    }
    return false;
  }

  zoneOf(pfn: number): Zone {
    return this.zones[zoneIndexOf(pfn)];
  }

  /** Free frames, per-CPU lists not counted: of one zone, or of all. */
  nrFree(zone?: Zone): number {
    if (zone !== undefined) return zone.freePages;
    return this.zones.reduce((sum, each) => sum + each.freePages, 0);
  }

  /** Frames the allocator manages less those ballooned away: MemTotal. */
  get managedPages(): number {
    return this.zones.reduce((sum, zone) => sum + zone.managedPages, 0);
  }

  /** totalram_pages, which moves with the managed pages of the zones. */
  get totalRamPages(): number {
    return this.managedPages;
  }

  /** adjust_managed_page_count. */
  adjustManagedPageCount(pfn: number, delta: number): void {
    this.zoneOf(pfn).managedPages += delta;
  }

  /** vmstat's pgfree: frames freed. */
  get pgfree(): number {
    return this.#freeing.pgfree;
  }

  /** vmstat's pgalloc: frames handed out. */
  get pgalloc(): number {
    return this.zones.reduce((sum, zone) => sum + zone.pgalloc, 0);
  }

  memInfo(): MemInfo {
    return memInfo(this.zones, this.levels);
  }

  /** alloc_flags_nofragment: keep pageblocks pure while there is DMA32 to go to. */
  #noFragment(gfp: number): number {
    const fromNormal = gfpZone(gfp) === ZONE.normal && this.zones[ZONE.normal].populated;
    return fromNormal ? ALLOC_NOFRAGMENT : 0;
  }

  /** __alloc_pages_slowpath up to direct reclaim. Both attempts are Linux': flags may differ. */
  #slowPathStart(order: number, gfp: number): number {
    const flags = gfpToAllocFlags(gfp, order);
    this.#wakeAllKswapds(flags, order, gfp);
    const pfn = this.getPageFromFreelist(order, gfp, flags);
    if (pfn >= 0) return pfn;
    this.#wakeAllKswapds(flags, order, gfp);
    const reserves = (gfp & __GFP_NOMEMALLOC) === 0 && (gfp & __GFP_MEMALLOC) !== 0;
    const retryFlags = reserves ? ALLOC_NO_WATERMARKS | (flags & ALLOC_KSWAPD) : flags;
    return this.getPageFromFreelist(order, gfp, retryFlags);
  }

  #wakeAllKswapds(allocFlags: number, order: number, gfp: number): void {
    if ((allocFlags & ALLOC_KSWAPD) === 0) return;
    for (let index = gfpZone(gfp); index >= 0; index--) {
      const zone = this.zones[index];
      if (zone.managedPages === 0) continue;
      // One node: the first zone with memory stands for it.
      this.#hooks.wakeKswapd?.(zone, order, gfp, gfpZone(gfp));
      return;
    }
  }

  #tryZones(request: Request): number {
    for (let index = request.highestZone; index >= 0; index--) {
      const zone = this.zones[index];
      if (!zone.populated) continue;
      const anyway = (request.allocFlags & ALLOC_NO_WATERMARKS) !== 0;
      if (!zoneWatermarkFast(zone, request, request.gfp) && !anyway) continue;
      const pfn = this.#rmqueue(zone, request);
      if (pfn < 0) continue;
      this.#preparation.toUse(pfn, request.order, request.gfp);
      if ((request.allocFlags & ALLOC_HIGHATOMIC) !== 0) reserveHighatomicPageblock(zone, pfn);
      return pfn;
    }
    return -1;
  }

  /** The next frame for a balloon comes from this zone's per-CPU list, unless that is empty. */
  #listServes(zone: Zone): boolean {
    const gfp = this.#balloonGfp;
    const request = this.#request;
    request.order = 0;
    request.highestZone = gfpZone(gfp);
    request.allocFlags = ALLOC_WMARK_LOW | this.#noFragment(gfp);
    return !zone.pcp.locked && zoneWatermarkFast(zone, request, gfp);
  }

  #takeListed(zone: Zone, into: Places): number {
    const { pfns, from } = into;
    const gfp = this.#balloonGfp;
    const migratetype = gfpMigratetype(gfp);
    const end = takePcplist(zone, migratetype, into);
    for (let at = from; at < end; at++) {
      this.#preparation.toUse(pfns[at], 0, gfp);
      this.#trace.sink?.mm_page_alloc(pfns[at], 0, migratetype, gfp);
    }
    zone.pgalloc += end - from;
    return end;
  }

  /** rmqueue: from the per-CPU lists where they serve the order, else from the free lists. */
  #rmqueue(zone: Zone, request: Request): number {
    const { order, migratetype, allocFlags } = request;
    let pfn = -1;
    if (pcpAllowedOrder(order)) pfn = rmqueuePcplist(zone, order, migratetype, allocFlags);
    if (pfn < 0) pfn = this.#rmqueueBuddy(zone, request);
    if (pfn >= 0) zone.pgalloc += 1 << order;
    if (zone.boostedWatermark) {
      zone.boostedWatermark = false;
      this.#hooks.wakeKswapd?.(zone, 0, 0, zone.index);
    }
    return pfn;
  }

  /** rmqueue_buddy: the highatomic reserve first or last, by what the request may use. */
  #rmqueueBuddy(zone: Zone, request: Request): number {
    const { order, migratetype, allocFlags } = request;
    let pfn = -1;
    if ((allocFlags & ALLOC_HIGHATOMIC) !== 0) {
      pfn = rmqueueSmallest(zone, order, MIGRATETYPE.highatomic);
    }
    if (pfn < 0) pfn = rmqueueAny(zone, order, migratetype, allocFlags);
    if (pfn < 0 && (allocFlags & (ALLOC_OOM | ALLOC_NON_BLOCK)) !== 0) {
      pfn = rmqueueSmallest(zone, order, MIGRATETYPE.highatomic);
    }
    if (pfn < 0) return -1;
    stepBlock(zone, pfn, order, PAGE_EVENT.take);
    zone.modFreePages(-(1 << order));
    return pfn;
  }
}
