import { MIGRATETYPES } from '../../guest/mm/page/gfp.ts';
import { MAX_ORDER, PAGEBLOCK_ORDER } from '../../guest/mm/page/page-map.ts';

const TOP_ORDER = MAX_ORDER - 1;

/** Frames [start, end) whose pageblocks are all of one migratetype. */
export interface FrameRun {
  readonly start: number;
  readonly end: number;
  readonly migratetype: number;
}

/**
 * Finds places for free blocks of which only orders and migratetypes are known, such that they
 * could be a real zone's: aligned, in a pageblock of their own migratetype, and none next to a
 * free buddy with which the kernel would have merged it. What no block takes is in use. Blocks
 * are to be placed from the largest to the smallest.
 *
 * A cell is an aligned run of frames with nothing free in it yet. One whose buddy is free as a
 * whole may be cut up but not become free as a whole.
 */
export class BlockPlaces {
  /** Cells by migratetype and order: first PFN, and whether it may be free as a whole. */
  readonly #cells = Array.from({ length: MIGRATETYPES }, () =>
    Array.from({ length: MAX_ORDER }, () => new Map<number, boolean>()),
  );

  /** The runs do not overlap and none begins at PFN 0. */
  constructor(runs: readonly FrameRun[]) {
    for (const run of runs) this.#offer(run);
  }

  /** A place for a free block, -1 where there is none left. */
  take(order: number, migratetype: number): number {
    const cells = this.#cells[migratetype];
    for (const [pfn, mayBeWhole] of cells[order]) {
      if (mayBeWhole) return this.#use(pfn, order, migratetype);
    }
    for (let from = order + 1; from <= TOP_ORDER; from++) {
      const [first] = cells[from];
      if (first === undefined) continue;
      const [pfn] = first;
      cells[from].delete(pfn);
      for (let half = from - 1; half >= order; half--) cells[half].set(pfn + (1 << half), true);
      cells[order].set(pfn, true);
      return this.#use(pfn, order, migratetype);
    }
    return -1;
  }

  /** Cuts a run into the largest aligned cells. */
  #offer({ start, end, migratetype }: FrameRun): void {
    for (let pfn = start; pfn < end; ) {
      let order = Math.min(TOP_ORDER, 31 - Math.clz32(pfn & -pfn));
      while (pfn + (1 << order) > end) order--;
      this.#cells[migratetype][order].set(pfn, true);
      pfn += 1 << order;
    }
  }

  #use(pfn: number, order: number, migratetype: number): number {
    this.#cells[migratetype][order].delete(pfn);
    // Blocks of the largest order merge with nothing.
    if (order === TOP_ORDER) return pfn;
    const buddy = pfn ^ (1 << order);
    // Free pageblocks merge whatever their migratetypes are.
    const near = order < PAGEBLOCK_ORDER ? [this.#cells[migratetype]] : this.#cells;
    for (const cells of near) if (cells[order].has(buddy)) cells[order].set(buddy, false);
    return pfn;
  }
}
