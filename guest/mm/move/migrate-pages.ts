import { assert } from '../../../shared/lib/assert.ts';
import type { Waiting } from '../../sched/scheduler.ts';
import type { CompactControl } from './compact-control.ts';
import type { CompactionTrace } from './compaction-trace.ts';
import { FIRST_FORCED_PASS, NR_MAX_MIGRATE_PAGES_RETRY } from './constants.ts';
import type { FreeScanner } from './free-scanner.ts';
import { MOVE } from './lru-pages.ts';
import type { MovablePages } from './movable-pages.ts';

/** How one page fared, beside MOVE: nothing to migrate to (-ENOMEM). */
const NO_TARGET = 3;

/** What became of a round: -ENOMEM ends it before every page was tried. */
export interface MigrateOutcome {
  readonly succeeded: number;
  /** Some pages are left in `cc.migratePages`, to be put back. */
  readonly left: number;
  readonly noTarget: boolean;
}

/**
 * migrate_pages: moves what was isolated to pages of the free scanner, the page isolated last
 * first. Up to ten passes over those that ask to be tried again; what cannot be moved stays in
 * `cc.migratePages`, in the order in which it is to be put back.
 *
 * Not emulated: huge pages (compaction does not isolate them), batches of more than 512 pages.
 */
export class PageMigration {
  readonly #movable: MovablePages;
  readonly #freeScanner: FreeScanner;
  readonly #trace: CompactionTrace;
  #succeeded = 0;
  #failed = 0;

  constructor(movable: MovablePages, freeScanner: FreeScanner, trace: CompactionTrace) {
    this.#movable = movable;
    this.#freeScanner = freeScanner;
    this.#trace = trace;
  }

  *migrate(cc: CompactControl): Waiting<MigrateOutcome> {
    const round = new Round(cc);
    for (let pass = 0; pass < NR_MAX_MIGRATE_PAGES_RETRY && !round.isDone; pass++) {
      round.startPass();
      const force = pass >= FIRST_FORCED_PASS;
      for (let pfn = round.next(); pfn >= 0; pfn = round.next()) {
        round.ended(pfn, yield* this.#migrateOne(cc, pfn, force));
      }
    }
    const { succeeded, failed, noTarget } = round.close();
    this.#succeeded += succeeded;
    this.#failed += failed;
    this.#trace.migratePages(succeeded, failed, cc.mode);
    return { succeeded, left: round.left(cc), noTarget };
  }

  /** Pages since the last call, for vmstat's pgmigrate_success and pgmigrate_fail. */
  takeCounts(): { readonly succeeded: number; readonly failed: number } {
    const counts = { succeeded: this.#succeeded, failed: this.#failed };
    this.#succeeded = 0;
    this.#failed = 0;
    return counts;
  }

  *#migrateOne(cc: CompactControl, pfn: number, force: boolean): Waiting<number> {
    if (this.#movable.releaseForgotten(pfn)) return MOVE.done;
    const target = this.#freeScanner.take(cc);
    if (target < 0) return NO_TARGET;
    const result = yield* this.#movable.migrate(cc, pfn, target, force);
    if (result !== MOVE.done) this.#freeScanner.giveBack(cc, target);
    return result;
  }
}

/** The lists of one call of migrate_pages. */
class Round {
  succeeded = 0;
  failed = 0;
  noTarget = false;
  /** Pages still to be migrated, first come first, and those of them that the pass has kept. */
  #from: Int32Array;
  #count: number;
  #at = 0;
  #kept = 0;
  /** Pages that cannot be migrated, in the order in which that turned out. */
  readonly #lost: number[] = [];
  #isLast = false;

  constructor(cc: CompactControl) {
    this.#count = cc.nrMigratePages;
    this.#from = cc.migratePages.slice(0, this.#count).reverse();
    this.#kept = this.#count;
  }

  /** Is there nothing to try again? */
  get isDone(): boolean {
    return this.#isLast || this.#kept === 0;
  }

  startPass(): void {
    this.#count = this.#kept;
    this.#kept = 0;
    this.#at = 0;
  }

  /** The next page of this pass, or -1. */
  next(): number {
    if (this.noTarget || this.#at === this.#count) return -1;
    return this.#from[this.#at++];
  }

  ended(pfn: number, result: number): void {
    if (result === MOVE.done) {
      this.succeeded++;
    } else if (result === MOVE.failed) {
      this.#lost.push(pfn);
      this.failed++;
    } else if (result === MOVE.again) {
      this.#from[this.#kept++] = pfn;
    } else {
      this.#stop(pfn);
    }
  }

  close(): { succeeded: number; failed: number; noTarget: boolean } {
    if (!this.noTarget) this.failed += this.#kept;
    return { succeeded: this.succeeded, failed: this.failed, noTarget: this.noTarget };
  }

  /** Puts what is left back to the stack, the first to be put back on top; returns how many. */
  left(cc: CompactControl): number {
    const left = [...this.#lost, ...this.#from.subarray(0, this.#kept)];
    assert(left.length <= cc.nrMigratePages, 'what is left was isolated');
    cc.migratePages.set(left.reverse());
    return left.length;
  }

  /** -ENOMEM: this page, those to be tried again and all not yet tried stay. */
  #stop(pfn: number): void {
    this.failed += 1 + this.#kept;
    this.noTarget = true;
    this.#from[this.#kept++] = pfn;
    while (this.#at < this.#count) this.#from[this.#kept++] = this.#from[this.#at++];
    this.#isLast = true;
  }
}
