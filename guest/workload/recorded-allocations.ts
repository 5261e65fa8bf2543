import { adoptAllocation } from '../mm/page/image.ts';
import type { PageMap } from '../mm/page/page-map.ts';

/**
 * Which emulated block stands for which recorded allocation. A free of a trace names the PFN that
 * its allocation had in the recording; it gives back what that allocation was given here, wherever
 * that is, so that one difference does not make others.
 */
export class RecordedAllocations {
  readonly #pages: PageMap;
  /** May a frame that no allocation of the trace had be freed under its own name? */
  readonly #isKnown: (pfn: number) => boolean;
  /** Emulated PFN + 1 of an allocation that is live, by its recorded PFN. */
  readonly #live: Int32Array;

  constructor(pages: PageMap, isKnown: (pfn: number) => boolean) {
    this.#pages = pages;
    this.#isKnown = isKnown;
    this.#live = new Int32Array(pages.pageCount);
  }

  /** The allocation that had `recordedPfn` has `pfn` here. */
  had(recordedPfn: number, pfn: number): void {
    this.#live[recordedPfn] = pfn + 1;
  }

  /** The page is known by its new frame from now on, in the recording and here. */
  moved(oldPfn: number, newPfn: number): void {
    if (this.#live[oldPfn] === oldPfn + 1) this.#live[oldPfn] = 0;
    this.#live[newPfn] = newPfn + 1;
  }

  /**
   * The block to free for a free of `recordedPfn`; it stands for nothing afterwards. What was
   * allocated before the trace is where it was. -1 where there is no such block: after a
   * difference the frame may be anyone's.
   */
  take(recordedPfn: number, order: number): number {
    const known = this.#live[recordedPfn] - 1;
    this.#live[recordedPfn] = 0;
    if (known >= 0 && this.#pages.allocOrder(known) === order) return known;
    if (known >= 0 || !this.#isKnown(recordedPfn)) return -1;
    adoptAllocation(this.#pages, recordedPfn, order);
    return recordedPfn;
  }
}
