import { PAGE_STATE, pageLifecycle } from '../../guest/mm/page/page-lifecycle.ts';
import {
  BOOK_MASK,
  BOOK_SHIFT,
  DETAILS_WORD,
  PageMap,
  PG_REPORTED,
  REFCOUNT_WORD,
} from '../../guest/mm/page/page-map.ts';
import { assert } from '../../shared/lib/assert.ts';
import { Population } from '../../shared/lifecycle/population.ts';

/** Bytes of a saved frame: two links, flags, reference count, lifecycle state. */
const FRAME_BYTES = 5;
/** Stands for the head of the only list in a saved link. */
const LIST_MARK = 127;

/** The page lock, which shares its bit with PG_reported; no free frame is reported here. */
const PG_LOCKED = PG_REPORTED;
/** page_private and the page lock: all that differs in the details of frames of order 0 here. */
const KEPT_DETAILS = BOOK_MASK | PG_LOCKED;
/** The page lock in a saved byte, above the number of the one book. */
const LOCKED_BIT = 1 << 6;

/**
 * The page map of a guest of a few frames that can be set back to an earlier state: the product's
 * own, whose words and state bytes are copied. Only frames of order 0 and one list of them, which
 * is what a balloon needs. Counts per lifecycle state are not kept: nothing here asks for them.
 */
export class ExploredPages extends PageMap {
  override readonly states: Population;
  readonly stateBytes: Uint8Array;
  /** Head of the only list. */
  readonly list: number;

  constructor(frameCount: number) {
    super(frameCount);
    assert(frameCount < LIST_MARK, 'an explored guest has a handful of frames');
    this.stateBytes = new Uint8Array(frameCount);
    this.states = new Population(pageLifecycle.table, this.stateBytes);
    this.list = this.newLists(1);
  }

  get savedBytes(): number {
    return this.pageCount * FRAME_BYTES + 2;
  }

  saveTo(out: Int8Array, start: number): void {
    const { words, stateBytes } = this;
    let at = start;
    for (let pfn = 0; pfn < this.pageCount; pfn++) {
      const word = pfn << 2;
      const details = words[word + DETAILS_WORD];
      assert((details & ~KEPT_DETAILS) === 0, 'an explored frame has details that are not saved');
      out[at++] = this.#packed(words[word]);
      out[at++] = this.#packed(words[word + 1]);
      const lockedBit = (details & PG_LOCKED) === 0 ? 0 : LOCKED_BIT;
      out[at++] = ((details & BOOK_MASK) >>> BOOK_SHIFT) | lockedBit;
      out[at++] = this.refcount(pfn);
      out[at++] = stateBytes[pfn];
    }
    out[at++] = this.#packed(words[this.list << 2]);
    out[at] = this.#packed(words[(this.list << 2) + 1]);
  }

  restoreFrom(saved: Int8Array, start: number): void {
    const { words, stateBytes } = this;
    let at = start;
    for (let pfn = 0; pfn < this.pageCount; pfn++) {
      const word = pfn << 2;
      words[word] = this.#unpacked(saved[at++]);
      words[word + 1] = this.#unpacked(saved[at++]);
      const details = saved[at++];
      const locked = (details & LOCKED_BIT) === 0 ? 0 : PG_LOCKED;
      words[word + DETAILS_WORD] = ((details & ~LOCKED_BIT) << BOOK_SHIFT) | locked;
      words[word + REFCOUNT_WORD] = saved[at++];
      stateBytes[pfn] = saved[at++];
    }
    words[this.list << 2] = this.#unpacked(saved[at++]);
    words[(this.list << 2) + 1] = this.#unpacked(saved[at]);
  }

  isLocked(pfn: number): boolean {
    return (this.words[(pfn << 2) + DETAILS_WORD] & PG_LOCKED) !== 0;
  }

  /** A frame that the allocator may hand out: -1 when there is none. */
  firstFree(): number {
    return this.stateBytes.indexOf(PAGE_STATE.pcp);
  }

  /** Links hold a node and 1; the list's head becomes a mark that fits a byte. */
  #packed(link: number): number {
    return link === this.list + 1 ? LIST_MARK : link;
  }

  #unpacked(byte: number): number {
    return byte === LIST_MARK ? this.list + 1 : byte;
  }
}
