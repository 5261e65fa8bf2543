import type { Waiting } from '../../sched/scheduler.ts';
import type { CompactControl } from './compact-control.ts';
import type { CompactionTrace, MigrateCounts, MigrateReason } from './compaction-trace.ts';
import { FIRST_FORCED_PASS, NR_MAX_MIGRATE_PAGES_RETRY } from './constants.ts';
import { MOVE } from './lru-pages.ts';
import { NO_TARGET, Round } from './migrate-round.ts';
import type { MovablePages } from './movable-pages.ts';

/** What became of a round: -ENOMEM ends it before every page was tried. */
export interface MigrateOutcome {
  readonly succeeded: number;
  /** Some pages are left in `cc.migratePages`, to be put back. */
  readonly left: number;
  readonly noTarget: boolean;
}

/** Where pages are moved to: new_page_t and free_page_t of migrate_pages. */
export interface MigrationTargets {
  /** First PFN of 2^order frames, or -1; perhaps something to wait for that returns it. */
  take(cc: CompactControl, order: number): number | Waiting<number>;
  /** A block that was taken and is not needed. */
  giveBack(cc: CompactControl, pfn: number): void;
}

export interface PageMigrationOptions {
  readonly movable: MovablePages;
  readonly targets: MigrationTargets;
  readonly trace: CompactionTrace;
  readonly reason: MigrateReason;
}

/**
 * migrate_pages: moves what was isolated to where its caller says, the page isolated last first. Up
 * to ten passes over those that ask to be tried again; what cannot be moved stays in
 * `cc.migratePages`, in the order in which it is to be put back. A huge page moves as a whole;
 * where there is no block for it, it is split and its frames move.
 *
 * Not emulated: hugetlb pages, huge pages of files, batches of more than 512 pages.
 */
export class PageMigration {
  readonly #options: PageMigrationOptions;
  #totals: MigrateCounts = noCounts();

  constructor(options: PageMigrationOptions) {
    this.#options = options;
  }

  *migrate(cc: CompactControl): Waiting<MigrateOutcome> {
    const { trace, reason } = this.#options;
    const round = new Round(cc);
    do {
      for (let pass = 0; pass < NR_MAX_MIGRATE_PAGES_RETRY && !round.isDone; pass++) {
        yield* this.#pass(cc, round, pass >= FIRST_FORCED_PASS);
      }
    } while (round.turnToSplit());
    const { counts, noTarget } = round;
    addCounts(this.#totals, counts);
    trace.migratePages(counts, cc.mode, reason);
    return { succeeded: counts.succeeded, left: round.left(cc), noTarget };
  }

  /** What happened since the last call, for vmstat's pgmigrate_* and thp_migration_*. */
  takeCounts(): Readonly<MigrateCounts> {
    const counts = this.#totals;
    this.#totals = noCounts();
    return counts;
  }

  *#pass(cc: CompactControl, round: Round, force: boolean): Waiting {
    const { movable, targets } = this.#options;
    const { pages } = cc.zone;
    round.startPass();
    for (let pfn = round.next(); pfn >= 0; pfn = round.next()) {
      const order = pages.allocOrder(pfn);
      if (movable.releaseForgotten(pfn)) {
        round.ended(pfn, MOVE.done, 1 << order);
        continue;
      }
      const taken = targets.take(cc, order);
      const target = typeof taken === 'number' ? taken : yield* taken;
      if (target < 0) {
        const parts = order > 0 ? yield* movable.split(pfn) : [];
        if (parts.length > 0) round.split(parts);
        else round.ended(pfn, NO_TARGET, 1 << order);
        continue;
      }
      const result = yield* movable.migrate(cc, pfn, target, force);
      if (result !== MOVE.done) targets.giveBack(cc, target);
      round.ended(pfn, result, 1 << order);
    }
  }
}

function noCounts(): MigrateCounts {
  return { succeeded: 0, failed: 0, thpSucceeded: 0, thpFailed: 0, thpSplit: 0 };
}

function addCounts(totals: MigrateCounts, counts: MigrateCounts): void {
  totals.succeeded += counts.succeeded;
  totals.failed += counts.failed;
  totals.thpSucceeded += counts.thpSucceeded;
  totals.thpFailed += counts.thpFailed;
  totals.thpSplit += counts.thpSplit;
}
