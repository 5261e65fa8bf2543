import { type Flow, runFlow } from '../../sched/flow.ts';
import type { Waiting } from '../../sched/scheduler.ts';
import { BalloonPages } from '../balloon/balloon-pages.ts';
import type { Balloons } from '../balloon/balloons.ts';
import type { PageAllocator } from '../page/alloc.ts';
import { drainPagesZone } from '../page/pcp.ts';
import type { CaptureControl, Zone } from '../page/zone.ts';
import { blockEnd, blockStart, type CompactControl, pageblockStart } from './compact-control.ts';
import { addMigrated, type CompactEvents } from './compact-events.ts';
import { compactFinished } from './compact-finished.ts';
import { COMPACT_EVENT, compactLifecycle } from './compact-flow.ts';
import type { CompactionTrace } from './compaction-trace.ts';
import { COMPACT, type CompactResult, MIGRATE_MODE } from './constants.ts';
import { restartAfterDeferral } from './deferral.ts';
import { FreeScanner } from './free-scanner.ts';
import type { LruPages } from './lru-pages.ts';
import { PageMigration } from './migrate-pages.ts';
import { MigrateScanner } from './migrate-scanner.ts';
import { MovablePages } from './movable-pages.ts';
import type { Proactiveness } from './proactiveness.ts';
import { compactionSuitable } from './suitability.ts';

/** VMSCAN_THROTTLE_ISOLATED: how long to wait while too many pages are isolated. */
export const THROTTLE_MS = 20;

/** What every compaction of a guest works with. */
export interface CompactionWorld {
  readonly allocator: PageAllocator;
  readonly balloons: Balloons;
  readonly lru: LruPages;
  readonly trace: CompactionTrace;
  readonly events: CompactEvents;
  readonly kswapdIsRunning: () => boolean;
  readonly proactiveness: Proactiveness;
}

/**
 * compact_zone: moves pages from the start of a zone to its end until there is what is wanted, or
 * the scanners meet. One instance serves one compact_control, zone after zone.
 *
 * Not emulated: fatal signals, contended locks, need_resched.
 */
export class ZoneCompactor {
  readonly #cc: CompactControl;
  readonly #world: CompactionWorld;
  readonly #movable: MovablePages;
  readonly #freeScanner: FreeScanner;
  readonly #migrateScanner: MigrateScanner;
  readonly #migration: PageMigration;
  /** Set for a task that wants to allocate: the block goes to it as soon as there is one. */
  readonly #capture: CaptureControl | undefined;
  #result: CompactResult = COMPACT.continue;
  /** Where the round began that migrated last; 0 once the pages it freed were drained. */
  #lastMigratedPfn = 0;
  /** Nothing was isolated yet, and both cached positions were the same when the run began. */
  #keepsCachedTogether = false;

  constructor(cc: CompactControl, world: CompactionWorld, capture?: CaptureControl) {
    const { allocator, balloons, lru, trace } = world;
    this.#cc = cc;
    this.#world = world;
    this.#capture = capture;
    this.#movable = new MovablePages(allocator, lru, new BalloonPages(balloons));
    this.#freeScanner = new FreeScanner(trace);
    this.#migrateScanner = new MigrateScanner(this.#movable, trace);
    this.#migration = new PageMigration({
      movable: this.#movable,
      targets: this.#freeScanner,
      trace,
      reason: 'compaction',
    });
  }

  *run(zone: Zone): Waiting<CompactResult> {
    this.#cc.zone = zone;
    yield* runFlow(STAGES, this);
    this.#collectEvents();
    return this.#result;
  }

  look(): number {
    const { zone } = this.#cc;
    this.#cc.totalMigrateScanned = 0;
    this.#cc.totalFreeScanned = 0;
    this.#result = compactionSuitable(zone, this.#cc, this.#world.trace);
    return this.#result === COMPACT.continue ? COMPACT_EVENT.suitable : COMPACT_EVENT.unsuitable;
  }

  begin(): number {
    const cc = this.#cc;
    restartAfterDeferral(cc.zone, cc.order);
    cc.fastStartPfn = 0;
    placeScanners(cc);
    this.#lastMigratedPfn = 0;
    const { cachedMigratePfn } = cc.zone.compact;
    const isSame = cachedMigratePfn[0] === cachedMigratePfn[1];
    this.#keepsCachedTogether = cc.mode === MIGRATE_MODE.async && isSame;
    this.#world.trace.begin(cc);
    this.#world.lru.drain();
    return COMPACT_EVENT.begun;
  }

  check(): number {
    this.#result = compactFinished(this.#cc, this.#world);
    return this.#result === COMPACT.continue ? COMPACT_EVENT.goOn : COMPACT_EVENT.finished;
  }

  /** A pageblock that was begun and not finished is taken at once (rescan). */
  *isolate(): Waiting<number> {
    const cc = this.#cc;
    const startPfn = cc.migratePfn;
    cc.rescan = pageblockStart(this.#lastMigratedPfn) === pageblockStart(startPfn);
    while (this.#world.lru.tooManyIsolated()) {
      if (cc.mode === MIGRATE_MODE.async) {
        this.#result = COMPACT.contended;
        return COMPACT_EVENT.aborted;
      }
      yield THROTTLE_MS;
    }
    if (this.#migrateScanner.isolate(cc)) {
      this.#keepsCachedTogether = false;
      this.#lastMigratedPfn = startPfn;
      return COMPACT_EVENT.taken;
    }
    const { cachedMigratePfn } = cc.zone.compact;
    if (this.#keepsCachedTogether) cachedMigratePfn[1] = cachedMigratePfn[0];
    return COMPACT_EVENT.none;
  }

  *migrate(): Waiting<number> {
    const cc = this.#cc;
    const isolated = cc.nrMigratePages;
    const { succeeded, left, noTarget } = yield* this.#migration.migrate(cc);
    this.#world.trace.migratepages(succeeded, isolated - succeeded);
    cc.nrMigratePages = left;
    if (left === 0) return COMPACT_EVENT.migrated;
    this.#movable.putbackAll(cc);
    if (noTarget && !cc.scannersMet) {
      this.#result = COMPACT.contended;
      return COMPACT_EVENT.stuck;
    }
    if (cc.skipsOnFailure) {
      cc.migratePfn = blockEnd(cc.migratePfn - 1, cc.order);
      this.#lastMigratedPfn = 0;
    }
    return COMPACT_EVENT.migrated;
  }

  /** Behind a block of the wanted order what was freed is merged, to see whether it is whole. */
  drain(): number {
    const { zone, order, migratePfn } = this.#cc;
    const behind = order > 0 && this.#lastMigratedPfn > 0;
    if (behind && this.#lastMigratedPfn < blockStart(migratePfn, order)) {
      this.#world.lru.drain();
      drainPagesZone(zone);
      this.#lastMigratedPfn = 0;
    }
    if (this.#capture === undefined || this.#capture.pfn < 0) return COMPACT_EVENT.goOn;
    this.#result = COMPACT.success;
    return COMPACT_EVENT.captured;
  }

  end(): number {
    const cc = this.#cc;
    if (cc.nrFreePages > 0) {
      const highest = this.#freeScanner.release(cc, this.#world.allocator);
      const { compact } = cc.zone;
      compact.cachedFreePfn = Math.max(compact.cachedFreePfn, pageblockStart(highest));
    }
    this.#world.trace.end(cc, this.#result);
    return COMPACT_EVENT.ended;
  }

  #collectEvents(): void {
    const { events } = this.#world;
    events.compact_migrate_scanned += this.#cc.totalMigrateScanned;
    events.compact_free_scanned += this.#cc.totalFreeScanned;
    events.compact_isolated += this.#migrateScanner.takeIsolated();
    events.compact_isolated += this.#freeScanner.takeIsolated();
    addMigrated(events, this.#migration.takeCounts());
  }
}

/** Where both scanners begin: at the ends of the zone, or where the last run ended. */
function placeScanners(cc: CompactControl): void {
  const { startPfn, endPfn, compact } = cc.zone;
  const lastBlock = pageblockStart(endPfn - 1);
  const isInside = (pfn: number): boolean => pfn >= startPfn && pfn < endPfn;
  if (cc.wholeZone) {
    cc.migratePfn = startPfn;
    cc.freePfn = lastBlock;
    return;
  }
  if (!isInside(compact.cachedFreePfn)) compact.cachedFreePfn = lastBlock;
  cc.freePfn = compact.cachedFreePfn;
  cc.migratePfn = compact.cachedMigratePfn[cc.mode === MIGRATE_MODE.async ? 0 : 1];
  if (!isInside(cc.migratePfn)) {
    cc.migratePfn = startPfn;
    compact.cachedMigratePfn.fill(startPfn);
  }
  if (cc.migratePfn <= compact.initMigratePfn) cc.wholeZone = true;
}

const STAGES: Flow<ZoneCompactor> = {
  table: compactLifecycle.table,
  stages: [
    (run) => run.look(),
    (run) => run.begin(),
    (run) => run.check(),
    (run) => run.isolate(),
    (run) => run.migrate(),
    (run) => run.drain(),
    (run) => run.end(),
    undefined,
  ],
};
