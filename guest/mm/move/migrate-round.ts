import { assert } from '../../../shared/lib/assert.ts';
import type { PageMap } from '../page/page-map.ts';
import type { CompactControl } from './compact-control.ts';
import type { MigrateCounts } from './compaction-trace.ts';
import { MOVE } from './lru-pages.ts';

/** How one page fared, beside MOVE: nothing to migrate to (-ENOMEM). */
export const NO_TARGET = 3;

/**
 * The lists of one call of migrate_pages. Pages that are to be tried again keep their order; those
 * of split huge pages come when all others have been tried.
 */
export class Round {
  readonly counts: MigrateCounts = {
    succeeded: 0,
    failed: 0,
    thpSucceeded: 0,
    thpFailed: 0,
    thpSplit: 0,
  };
  noTarget = false;
  readonly #pages: PageMap;
  /** Pages still to be migrated, first come first, and those of them that the pass has kept. */
  #from: Int32Array;
  #count: number;
  #at = 0;
  #kept = 0;
  /** Pages that cannot be migrated, in the order in which that turned out. */
  readonly #lost: number[] = [];
  /** Pages that huge pages were split into. */
  #split: number[] = [];

  constructor(cc: CompactControl) {
    this.#pages = cc.zone.pages;
    this.#count = cc.nrMigratePages;
    this.#from = cc.migratePages.slice(0, this.#count).reverse();
    this.#kept = this.#count;
  }

  /** Is there nothing to try again? */
  get isDone(): boolean {
    return this.noTarget || this.#kept === 0;
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

  /** A page of so many frames was tried. */
  ended(pfn: number, result: number, frames: number): void {
    if (result === MOVE.done) {
      this.counts.succeeded += frames;
      if (frames > 1) this.counts.thpSucceeded++;
    } else if (result === MOVE.failed) {
      this.#lost.push(pfn);
      this.#countFailed(frames);
    } else if (result === MOVE.again) {
      this.#from[this.#kept++] = pfn;
    } else {
      this.#stop(pfn, frames);
    }
  }

  /**
   * There was no block for a huge page, and these are its frames now: as pages of their own they
   * count neither as failed nor a second time.
   */
  split(pfns: readonly number[]): void {
    this.#split.push(...pfns);
    this.counts.thpFailed++;
    this.counts.thpSplit++;
  }

  /** The passes are over. True when pages of split ones are to be migrated now. */
  turnToSplit(): boolean {
    if (this.noTarget) return false;
    this.#giveUpKept();
    if (this.#split.length === 0) return false;
    this.#from = Int32Array.from(this.#split);
    this.#kept = this.#from.length;
    this.#split = [];
    return true;
  }

  /** Puts what is left back to the stack, the first to be put back on top; returns how many. */
  left(cc: CompactControl): number {
    const left = [...this.#lost, ...this.#from.subarray(0, this.#kept)];
    assert(left.length <= cc.migratePages.length, 'what is left was isolated');
    cc.migratePages.set(left.reverse());
    return left.length;
  }

  #countFailed(frames: number): void {
    this.counts.failed += frames;
    if (frames > 1) this.counts.thpFailed++;
  }

  #giveUpKept(): void {
    for (let at = 0; at < this.#kept; at++) {
      const pfn = this.#from[at];
      this.#lost.push(pfn);
      this.#countFailed(1 << this.#pages.allocOrder(pfn));
    }
    this.#kept = 0;
  }

  /** -ENOMEM: this page, those to be tried again and all not yet tried stay. */
  #stop(pfn: number, frames: number): void {
    const untried = this.#from.slice(this.#at, this.#count);
    const again = this.#from.slice(0, this.#kept);
    this.#countFailed(frames);
    for (const kept of again) this.#countFailed(1 << this.#pages.allocOrder(kept));
    this.noTarget = true;
    this.#lost.push(...this.#split);
    this.#split = [];
    this.#from = Int32Array.from([...again, pfn, ...untried]);
    this.#kept = this.#from.length;
  }
}
