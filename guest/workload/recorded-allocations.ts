import { adoptAllocation } from '../mm/page/image.ts';
import { PAGE_STATE } from '../mm/page/page-lifecycle.ts';
import { type PageMap, REFCOUNT_WORD } from '../mm/page/page-map.ts';

/**
 * Which emulated block stands for which recorded allocation. A free of a trace names the PFN that
 * its allocation had in the recording; it gives back what that allocation was given here, wherever
 * that is, so that one difference does not make others.
 *
 * What was in use when the trace began may be freed under its own name, once: the frames of such a
 * block, and no frame that the allocator has handed out since.
 */
export class RecordedAllocations {
  readonly #pages: PageMap;
  /** Frames in use from the beginning that nobody has freed or moved, a bit each. */
  readonly #fromBefore: Int32Array;
  /** Emulated PFN + 1 of an allocation that is live, by its recorded PFN. */
  readonly #live: Int32Array;

  /** To be made before anything of the trace is played. */
  constructor(pages: PageMap) {
    this.#pages = pages;
    this.#live = new Int32Array(pages.pageCount);
    this.#fromBefore = new Int32Array(Math.ceil(pages.pageCount / 32));
    for (let pfn = 0; pfn < pages.pageCount; pfn++) {
      if (this.#isInUse(pfn)) this.#fromBefore[pfn >>> 5] |= 1 << (pfn & 31);
    }
  }

  /** The allocation that had `recordedPfn` has `pfn` here. */
  had(recordedPfn: number, pfn: number): void {
    this.#live[recordedPfn] = pfn + 1;
    this.#forget(pfn, this.#pages.allocOrder(pfn));
  }

  /** The page is known by its new frame from now on, in the recording and here. */
  moved(oldPfn: number, newPfn: number): void {
    if (this.#live[oldPfn] === oldPfn + 1) this.#live[oldPfn] = 0;
    this.#live[newPfn] = newPfn + 1;
    this.#forget(oldPfn, 0);
  }

  /**
   * The block to free for a free of `recordedPfn`; it stands for nothing afterwards. What was
   * allocated before the trace is where it was. -1 where there is no such block: after a
   * difference the frame may be anyone's.
   */
  take(recordedPfn: number, order: number): number {
    const known = this.#live[recordedPfn] - 1;
    this.#live[recordedPfn] = 0;
    if (known >= 0) return this.#isStill(known, order) ? known : -1;
    if (!this.#isFromBefore(recordedPfn, order)) return -1;
    this.#forget(recordedPfn, order);
    if (this.#pages.allocOrder(recordedPfn) !== order) {
      adoptAllocation(this.#pages, recordedPfn, order);
    }
    this.#dropTails(recordedPfn, order);
    return recordedPfn;
  }

  /** A block has one reference, at its first frame; a dump's frames in use have one each. */
  #dropTails(pfn: number, order: number): void {
    const { words } = this.#pages;
    for (let at = pfn + 1; at < pfn + (1 << order); at++) words[(at << 2) + REFCOUNT_WORD] = 0;
  }

  /** A page that was taken to have moved here may not have: then the frame is free or another's. */
  #isStill(pfn: number, order: number): boolean {
    return this.#isInUse(pfn) && this.#pages.allocOrder(pfn) === order;
  }

  /** Nobody wrote down of which order a block was: its frames have to be in use alike. */
  #isFromBefore(pfn: number, order: number): boolean {
    const { states, pageCount } = this.#pages;
    const end = pfn + (1 << order);
    if (end > pageCount || pfn % (1 << order) !== 0) return false;
    const compoundOrder = this.#pages.compoundOrder(pfn);
    if (compoundOrder > 0 && compoundOrder !== order) return false;
    for (let at = pfn; at < end; at++) {
      const isKnown = ((this.#fromBefore[at >>> 5] >>> (at & 31)) & 1) === 1;
      if (!isKnown || !this.#isInUse(at) || states.stateOf(at) !== states.stateOf(pfn))
        return false;
      // A page that is being moved has another reference.
      if (order > 0 && this.#pages.refcount(at) !== 1) return false;
    }
    return true;
  }

  #isInUse(pfn: number): boolean {
    const state = this.#pages.states.stateOf(pfn);
    return state === PAGE_STATE.allocated || state === PAGE_STATE.lru;
  }

  #forget(pfn: number, order: number): void {
    for (let at = pfn; at < pfn + (1 << order); at++)
      this.#fromBefore[at >>> 5] &= ~(1 << (at & 31));
  }
}
