import { assert } from '../../shared/lib/assert.ts';

/** Ranges kept room for after a large buffer; an ordinary one has at most 256. */
const KEPT_PAIRS = 1024;

/**
 * Runs of page frames in the order they were found. A PFN next to either end of the newest run
 * lengthens it, so that the ascending and descending runs of which balloon buffers consist become
 * one range each, without sorting. One list is reused for buffer after buffer.
 */
export class RangeList {
  /** Pairs of first PFN and count. */
  #words = new Uint32Array(256);
  #length = 0;
  #pageCount = 0;

  /** Ranges held. */
  get length(): number {
    return this.#length;
  }

  /** Frames held, over all ranges. */
  get pageCount(): number {
    return this.#pageCount;
  }

  startAt(index: number): number {
    return this.#words[2 * index];
  }

  countAt(index: number): number {
    return this.#words[2 * index + 1];
  }

  clear(): void {
    this.#length = 0;
    this.#pageCount = 0;
    if (this.#words.length > 2 * KEPT_PAIRS) this.#words = new Uint32Array(2 * KEPT_PAIRS);
  }

  /** Adds `pfns` from place `from` to before place `to`, one by one. */
  addPages(pfns: Uint32Array, from: number, to: number): void {
    if (from === to) return;
    this.#pageCount += to - from;
    let at = from;
    if (this.#length === 0) this.#append(pfns[at++], 1);
    // The newest run is kept at hand while it grows: 1.3 ns a page instead of 4.
    let start = this.startAt(this.#length - 1);
    let end = start + this.countAt(this.#length - 1);
    for (; at < to; at++) {
      const pfn = pfns[at];
      if (pfn === end) {
        end++;
      } else if (pfn === start - 1) {
        start--;
      } else {
        this.#setNewest(start, end);
        this.#append(pfn, 1);
        start = pfn;
        end = pfn + 1;
      }
    }
    this.#setNewest(start, end);
  }

  /** Unlike single pages a range only lengthens the newest run at its upper end. */
  addRange(start: number, count: number): void {
    assert(count > 0, 'a range holds at least one frame');
    this.#pageCount += count;
    const last = 2 * this.#length - 2;
    if (this.#length > 0 && start === this.#words[last] + this.#words[last + 1]) {
      this.#words[last + 1] += count;
      return;
    }
    this.#append(start, count);
  }

  /** `count` ranges from `from` on, as pairs of first PFN and count: a view of the list. */
  pairs(from: number, count: number): Uint32Array {
    return this.#words.subarray(2 * from, 2 * (from + count));
  }

  #setNewest(start: number, end: number): void {
    const at = 2 * this.#length - 2;
    this.#words[at] = start;
    this.#words[at + 1] = end - start;
  }

  #append(start: number, count: number): void {
    const at = 2 * this.#length;
    if (at === this.#words.length) {
      const grown = new Uint32Array(2 * at);
      grown.set(this.#words);
      this.#words = grown;
    }
    this.#words[at] = start;
    this.#words[at + 1] = count;
    this.#length++;
  }
}
