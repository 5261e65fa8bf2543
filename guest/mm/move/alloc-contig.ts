import { assert } from '../../../shared/lib/assert.ts';
import { type Flow, runFlow } from '../../sched/flow.ts';
import type { Waiting } from '../../sched/scheduler.ts';
import { BalloonPages } from '../balloon/balloon-pages.ts';
import { gfpZone } from '../page/gfp.ts';
import { isolateFreePage } from '../page/isolate-free.ts';
import {
  type PageRange,
  RANGE_ALIGN_PAGES,
  startIsolatePageRange,
  testPagesIsolated,
  undoIsolatePageRange,
} from '../page/page-isolation.ts';
import { PAGE_STATE } from '../page/page-lifecycle.ts';
import { PAGEBLOCK_PAGES } from '../page/page-map.ts';
import { drainPagesZone } from '../page/pcp.ts';
import { splitIsolatedPage } from '../page/split-isolated.ts';
import type { Zone } from '../page/zone.ts';
import type { PageSupply } from '../space/alloc-pages.ts';
import { CONTIG_EVENT, CONTIG_STATE, contigLifecycle } from './alloc-contig-flow.ts';
import { CompactControl, pageblockEnd } from './compact-control.ts';
import { addMigrated } from './compact-events.ts';
import { type CompactionWorld, THROTTLE_MS } from './compact-zone.ts';
import { COMPACT_CLUSTER_MAX, MIGRATE_MODE, WHOLE_NODE } from './constants.ts';
import { PageMigration } from './migrate-pages.ts';
import { MigrateScanner } from './migrate-scanner.ts';
import { AllocatedTargets } from './migration-targets.ts';
import { MovablePages } from './movable-pages.ts';

/** Rounds over the same isolated pages before they count as busy. */
const MAX_TRIES = 5;

export interface ContigWorld extends CompactionWorld {
  readonly supply: PageSupply;
  /** reclaim_clean_pages_from_list: takes the isolated pages, returns those that are left. */
  readonly reclaimClean?: (pfns: readonly number[]) => readonly number[];
}

/**
 * Allocation of ranges far larger than the largest block, as mm/page_alloc.c of Linux 6.1 does it
 * for huge pages of 1 GiB: a range is isolated, whatever is in use there is moved out of it, pages
 * of balloons and huge pages included, and all of it is taken.
 *
 * Not emulated: ranges that begin or end elsewhere than at a multiple of 4 MiB, CMA, fatal signals.
 */
export class ContigAllocator {
  readonly #world: ContigWorld;

  constructor(world: ContigWorld) {
    this.#world = world;
  }

  /**
   * alloc_contig_pages: the first PFN of `count` frames, a power of two, aligned to their number,
   * or -1. Each of them is a page of its own with one reference. Every range of the zones that
   * `gfp` allows is tried once, the highest zone's first, unless `isHugetlb` says of one of its
   * pageblocks that it belongs to a huge page of a pool.
   */
  *allocPages(
    count: number,
    gfp: number,
    isHugetlb: (blockPfn: number) => boolean,
  ): Waiting<number> {
    assert(
      count % RANGE_ALIGN_PAGES === 0,
      'a contiguous range is a multiple of the largest block',
    );
    for (let index = gfpZone(gfp); index >= 0; index--) {
      const zone = this.#world.allocator.zones[index];
      const first = Math.ceil(zone.startPfn / count) * count;
      for (let start = first; start + count <= zone.endPfn; start += count) {
        const range = { start, end: start + count };
        if (!isValid(zone, range, isHugetlb)) continue;
        if (yield* this.allocRange(range, gfp)) return start;
      }
    }
    return -1;
  }

  /**
   * alloc_contig_range with MIGRATE_MOVABLE: true when all frames of the range are the caller's,
   * with one reference each. The range lies in one zone.
   */
  *allocRange(range: PageRange, gfp: number): Waiting<boolean> {
    const isAligned = range.start % RANGE_ALIGN_PAGES === 0 && range.end % RANGE_ALIGN_PAGES === 0;
    assert(isAligned, 'a contiguous range begins and ends with the largest block');
    const zone = this.#world.allocator.zoneOf(range.start);
    assert(range.end <= zone.endPfn, 'a contiguous range lies in one zone');
    const attempt = new ContigAttempt(this.#world, zone, range, gfp);
    return (yield* runFlow(STAGES, attempt)) === CONTIG_STATE.allocated;
  }

  /** free_contig_range: frames of a range, page by page, ascending. */
  freeRange({ start, end }: PageRange): void {
    for (let pfn = start; pfn < end; pfn++) this.#world.allocator.free(pfn, 0);
  }
}

/** pfn_range_valid_contig: the frames exist, are not reserved and not of a pool. */
function isValid(zone: Zone, range: PageRange, isHugetlb: (blockPfn: number) => boolean): boolean {
  const { states } = zone.pages;
  for (let pfn = range.start; pfn < range.end; pfn++) {
    if (states.stateOf(pfn) === PAGE_STATE.reserved) return false;
    if (pfn % PAGEBLOCK_PAGES === 0 && isHugetlb(pfn)) return false;
  }
  return true;
}

/** One run of alloc_contig_range. */
class ContigAttempt {
  readonly #world: ContigWorld;
  readonly #zone: Zone;
  readonly #range: PageRange;
  readonly #cc: CompactControl;
  readonly #movable: MovablePages;
  readonly #scanner: MigrateScanner;
  readonly #migration: PageMigration;

  constructor(world: ContigWorld, zone: Zone, range: PageRange, gfp: number) {
    const { allocator, balloons, lru, trace, supply } = world;
    this.#world = world;
    this.#zone = zone;
    this.#range = range;
    this.#cc = new CompactControl(zone, {
      order: WHOLE_NODE,
      mode: MIGRATE_MODE.sync,
      gfp,
      ignoreSkipHint: true,
      allocContig: true,
    });
    this.#movable = new MovablePages(allocator, lru, new BalloonPages(balloons));
    this.#scanner = new MigrateScanner(this.#movable, trace);
    this.#migration = new PageMigration({
      movable: this.#movable,
      targets: new AllocatedTargets(supply, lru),
      trace,
      reason: 'contig_range',
    });
  }

  isolate(): number {
    if (!startIsolatePageRange(this.#zone, this.#range)) return CONTIG_EVENT.unmovable;
    drainPagesZone(this.#zone);
    return CONTIG_EVENT.isolated;
  }

  /** __alloc_contig_migrate_range. Meanwhile no page waits in a batch of the LRU. */
  *migrate(): Waiting<number> {
    const { lru, events } = this.#world;
    lru.disableCache();
    const outcome = yield* this.#emptyRange();
    lru.enableCache();
    if (outcome !== CONTIG_EVENT.emptied) this.#movable.putbackAll(this.#cc);
    events.compact_isolated += this.#scanner.takeIsolated();
    addMigrated(events, this.#migration.takeCounts());
    return outcome;
  }

  /** test_pages_isolated, then isolate_freepages_range with split_map_pages. */
  take(): number {
    const { start, end } = this.#range;
    const { trace, events } = this.#world;
    const testedTo = testPagesIsolated(this.#zone, this.#range);
    trace.testPagesIsolated(start, end, testedTo);
    if (testedTo < end) return CONTIG_EVENT.notFree;
    for (let pfn = start; pfn < end; ) {
      const from = pfn;
      const to = pageblockEnd(from);
      while (pfn < to) pfn += 1 << this.#takeBlock(pfn);
      trace.isolateFreepages(from, to, pfn - from, pfn - from);
    }
    events.compact_isolated += end - start;
    return CONTIG_EVENT.taken;
  }

  settle(): number {
    undoIsolatePageRange(this.#zone, this.#range);
    return CONTIG_EVENT.settled;
  }

  *#emptyRange(): Waiting<number> {
    const cc = this.#cc;
    let pfn = this.#range.start;
    let tries = 0;
    while (pfn < this.#range.end || cc.nrMigratePages > 0) {
      if (cc.nrMigratePages === 0) {
        yield* this.#isolateRange(pfn);
        pfn = cc.migratePfn;
        tries = 0;
      } else if (++tries === MAX_TRIES) {
        return CONTIG_EVENT.busy;
      }
      this.#reclaimClean();
      const { left, noTarget } = yield* this.#migration.migrate(cc);
      cc.nrMigratePages = left;
      if (noTarget) return CONTIG_EVENT.noMemory;
    }
    return CONTIG_EVENT.emptied;
  }

  /** isolate_migratepages_range: pageblock after pageblock until there is a cluster of pages. */
  *#isolateRange(from: number): Waiting {
    const cc = this.#cc;
    for (let pfn = from; pfn < this.#range.end; pfn = cc.migratePfn) {
      cc.migratePfn = pfn;
      while (this.#world.lru.tooManyIsolated()) {
        if (cc.nrMigratePages > 0) return;
        yield THROTTLE_MS;
      }
      this.#scanner.isolateBlock(cc, pfn, pageblockEnd(pfn));
      if (this.#hasCluster()) return;
    }
  }

  /** Enough is isolated; a huge page, which is more than enough, is the last of them. */
  #hasCluster(): boolean {
    const { migratePages, nrMigratePages } = this.#cc;
    if (nrMigratePages === 0 || nrMigratePages >= COMPACT_CLUSTER_MAX) return nrMigratePages > 0;
    return this.#zone.pages.allocOrder(migratePages[nrMigratePages - 1]) > 0;
  }

  #reclaimClean(): void {
    const cc = this.#cc;
    const { reclaimClean } = this.#world;
    if (reclaimClean === undefined || cc.nrMigratePages === 0) return;
    const listed = cc.migratePages.slice(0, cc.nrMigratePages).reverse();
    const left = reclaimClean([...listed]);
    cc.nrMigratePages = left.length;
    cc.migratePages.set([...left].reverse());
  }

  /** Returns the order of the free block at `pfn`, whose frames are pages of their own now. */
  #takeBlock(pfn: number): number {
    const order = this.#zone.pages.blockOrder(pfn);
    const isTaken = isolateFreePage(this.#zone, pfn, order);
    assert(isTaken, 'no watermark keeps a block of an isolated pageblock');
    splitIsolatedPage(this.#zone, pfn, order);
    return order;
  }
}

const STAGES: Flow<ContigAttempt> = {
  table: contigLifecycle.table,
  stages: [
    (attempt) => attempt.isolate(),
    (attempt) => attempt.migrate(),
    (attempt) => attempt.take(),
    (attempt) => attempt.settle(),
    (attempt) => attempt.settle(),
    undefined,
    undefined,
  ],
};
