import { assert } from '../../../shared/lib/assert.ts';
import { Population } from '../../../shared/lifecycle/population.ts';
import { pageLifecycle } from './page-lifecycle.ts';
import { initList } from './page-list.ts';

/**
 * struct page of every frame, as typed arrays: 21 bytes a frame.
 *
 * `words` has four 32-bit words a frame, side by side so that a frame costs one cache line: next,
 * previous (page-list.ts), details (below) and the reference count. The lifecycle state is a byte
 * in an array of its own, the content tag four bytes in another. Frames are indexed by PFN over
 * the whole span; memory of holes is never touched. List heads live behind the frames.
 *
 * Not emulated: mapcount, mapping and index (address spaces), page flags nobody asks for.
 */
export const PAGEBLOCK_ORDER = 9;
export const PAGEBLOCK_PAGES = 1 << PAGEBLOCK_ORDER;
/** One more than the largest order, as in Linux 6.1. */
export const MAX_ORDER = 11;
const MAX_ORDER_PAGES = 1 << (MAX_ORDER - 1);

/** Lists of one guest: zones, balloons. 1 KiB of heads. */
const MAX_LISTS = 1024;

/** Words of a frame: the index is (pfn << 2) + WORD. Words 0 and 1 are the links. */
export const DETAILS_WORD = 2;
export const REFCOUNT_WORD = 3;

/**
 * Details. Bits 0 to 3: one more than the order of the free-list block that begins here, 0 where
 * none begins; only the buddy allocator writes it.
 */
export const BLOCK_ORDER_MASK = 0xf;
/** Bits 4 to 6: the migratetype a freed or refilled block carries (get_pcppage_migratetype). */
export const MIGRATETYPE_SHIFT = 4;
export const MIGRATETYPE_MASK = 0x70;
/** Bits 7 to 10: order of the allocation that begins here. */
export const ALLOC_ORDER_SHIFT = 7;
export const ALLOC_ORDER_MASK = 0x780;
/** Bits 11 to 17: number of the balloon that holds the frame (page_private). */
export const BOOK_SHIFT = 11;
export const BOOK_MASK = 0x3f800;
export const MAX_BOOKS = BOOK_MASK >>> BOOK_SHIFT;
/** Page flags. */
const PG_LOCKED = 1 << 18;
/**
 * PG_reported: of the first frame of a free block that its host was told of. It means something
 * only there; free frames are never locked, so that it can share a bit, as in Linux with another.
 */
export const PG_REPORTED = PG_LOCKED;

export class PageMap {
  /** Frames, holes included: one more than the highest PFN. */
  readonly pageCount: number;
  readonly words: Int32Array;
  /** Content of a frame as one number; 0 is a zeroed page. Whoever owns the frame writes it. */
  readonly tags: Uint32Array;
  /** Lifecycle states (page-lifecycle.ts). */
  readonly states: Population;
  /** Migratetype of every pageblock: index is pfn >> PAGEBLOCK_ORDER. */
  readonly blockTypes: Uint8Array;
  /** Skip hint of every pageblock (PB_migrate_skip): compaction found nothing there. */
  readonly blockSkips: Uint8Array;
  /** PageLRU or __PageMovable: the lifecycle states, a bit each, of frames that can be moved. */
  movableStates = pageLifecycle.table.tagMask('movable');
  /** Heads of compound pages, a bit each: blocks that were asked for with __GFP_COMP. */
  readonly #compound: Int32Array;
  readonly #firstList: number;
  #listCount = 0;

  constructor(pageCount: number) {
    // A buddy of a frame near the end may lie behind it: it must not fall among the list heads.
    const padded = Math.ceil(pageCount / MAX_ORDER_PAGES) * MAX_ORDER_PAGES;
    this.pageCount = pageCount;
    this.words = new Int32Array((padded + MAX_LISTS) * 4);
    this.tags = new Uint32Array(pageCount);
    this.states = new Population(pageLifecycle.table, pageCount);
    this.blockTypes = new Uint8Array(padded >>> PAGEBLOCK_ORDER);
    this.blockSkips = new Uint8Array(padded >>> PAGEBLOCK_ORDER);
    this.#compound = new Int32Array(padded >>> 5);
    this.#firstList = padded;
  }

  /** Makes `count` empty lists and returns the node number of the first; the others follow it. */
  newLists(count: number): number {
    const first = this.#firstList + this.#listCount;
    this.#listCount += count;
    assert(this.#listCount <= MAX_LISTS, 'a guest has room for all its page lists');
    for (let list = first; list < first + count; list++) initList(this.words, list);
    return first;
  }

  /** Without CONFIG_BALLOON_COMPACTION: pages of balloons have no movable operations. */
  pinBalloonPages(): void {
    this.movableStates &= ~pageLifecycle.table.tagMask('offline');
  }

  isMovable(pfn: number): boolean {
    return ((this.movableStates >>> this.states.stateOf(pfn)) & 1) === 1;
  }

  /** The order of the free-list block that begins at `pfn`, -1 where none begins. */
  blockOrder(pfn: number): number {
    return (this.words[(pfn << 2) + DETAILS_WORD] & BLOCK_ORDER_MASK) - 1;
  }

  allocOrder(pfn: number): number {
    return (this.words[(pfn << 2) + DETAILS_WORD] & ALLOC_ORDER_MASK) >>> ALLOC_ORDER_SHIFT;
  }

  /** compound_order of the compound page that begins at `pfn`, 0 where none begins. */
  compoundOrder(pfn: number): number {
    const isHead = (this.#compound[pfn >>> 5] >>> (pfn & 31)) & 1;
    return isHead === 0 ? 0 : this.allocOrder(pfn);
  }

  setCompound(pfn: number, compound: boolean): void {
    if (compound) this.#compound[pfn >>> 5] |= 1 << (pfn & 31);
    else this.#compound[pfn >>> 5] &= ~(1 << (pfn & 31));
  }

  /** get_pcppage_migratetype: what the block was when it was freed or taken, perhaps outdated. */
  cachedType(pfn: number): number {
    return (this.words[(pfn << 2) + DETAILS_WORD] & MIGRATETYPE_MASK) >>> MIGRATETYPE_SHIFT;
  }

  setCachedType(pfn: number, migratetype: number): void {
    const at = (pfn << 2) + DETAILS_WORD;
    this.words[at] = (this.words[at] & ~MIGRATETYPE_MASK) | (migratetype << MIGRATETYPE_SHIFT);
  }

  blockType(pfn: number): number {
    return this.blockTypes[pfn >>> PAGEBLOCK_ORDER];
  }

  setBlockType(pfn: number, migratetype: number): void {
    this.blockTypes[pfn >>> PAGEBLOCK_ORDER] = migratetype;
  }

  refcount(pfn: number): number {
    return this.words[(pfn << 2) + REFCOUNT_WORD];
  }

  /** init_page_count: the one reference of whoever the frame was made for. */
  getFirst(pfn: number): void {
    this.words[(pfn << 2) + REFCOUNT_WORD] = 1;
  }

  /** get_page_unless_zero. */
  getUnlessZero(pfn: number): boolean {
    const at = (pfn << 2) + REFCOUNT_WORD;
    if (this.words[at] === 0) return false;
    this.words[at]++;
    return true;
  }

  /** trylock_page. */
  tryLock(pfn: number): boolean {
    const at = (pfn << 2) + DETAILS_WORD;
    if ((this.words[at] & PG_LOCKED) !== 0) return false;
    this.words[at] |= PG_LOCKED;
    return true;
  }

  unlock(pfn: number): void {
    const at = (pfn << 2) + DETAILS_WORD;
    assert((this.words[at] & PG_LOCKED) !== 0, 'unlock_page needs a locked page');
    this.words[at] &= ~PG_LOCKED;
  }

  /** page_reported: of a frame that begins a free block. */
  reported(pfn: number): boolean {
    return (this.words[(pfn << 2) + DETAILS_WORD] & PG_REPORTED) !== 0;
  }

  /** __SetPageReported. The flag goes when the block leaves its free list. */
  setReported(pfn: number): void {
    this.words[(pfn << 2) + DETAILS_WORD] |= PG_REPORTED;
  }

  /** Number of the balloon that holds the frame, 0 for none. */
  book(pfn: number): number {
    return (this.words[(pfn << 2) + DETAILS_WORD] & BOOK_MASK) >>> BOOK_SHIFT;
  }

  setBook(pfn: number, book: number): void {
    const at = (pfn << 2) + DETAILS_WORD;
    this.words[at] = (this.words[at] & ~BOOK_MASK) | (book << BOOK_SHIFT);
  }
}
