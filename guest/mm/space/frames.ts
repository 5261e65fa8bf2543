import { assert } from '../../../shared/lib/assert.ts';
import {
  ALLOC_ORDER_MASK,
  ALLOC_ORDER_SHIFT,
  BLOCK_ORDER_MASK,
  BOOK_MASK,
  DETAILS_WORD,
  MIGRATETYPE_MASK,
  type PageMap,
  REFCOUNT_WORD,
} from '../page/page-map.ts';

/**
 * What struct page holds for address spaces: whose page a frame is (mapping), where in it (index),
 * how often it is mapped (mapcount) and its page flags. Ten bytes a frame beside the PageMap: 31
 * in all. The flags are the upper bits of the PageMap's details word and mean something only while
 * a frame is in use; whoever drops the last reference clears them.
 *
 * A huge page is a compound page of order 9: its first frame, the head, has the references and the
 * mapping of all; the others carry PG_TAIL. How often the whole is mapped by a PMD is kept in the
 * index of the first tail, as Linux 6.1 keeps compound_mapcount there.
 *
 * Not emulated: compound pages of other orders, memory control groups, KSM, pinning (FOLL_PIN).
 */

export const PG_ACTIVE = 1 << 19;
export const PG_REFERENCED = 1 << 20;
/** Differs from what is on disk or in swap; of tmpfs pages always set once written. */
export const PG_DIRTY = 1 << 21;
export const PG_UPTODATE = 1 << 22;
/** Backed by swap, if by anything: anonymous and tmpfs pages. */
export const PG_SWAPBACKED = 1 << 23;
export const PG_UNEVICTABLE = 1 << 24;
export const PG_MLOCKED = 1 << 25;
export const PG_WRITEBACK = 1 << 26;
export const PG_SWAPCACHE = 1 << 27;
export const PG_TAIL = 1 << 28;
/** Mapped by one process only and not shared with a child: may be written without a copy. */
export const PG_ANON_EXCLUSIVE = 1 << 29;
/** Taken off the LRU by somebody who holds a reference (NR_ISOLATED_*). */
export const PG_ISOLATED = 1 << 30;
/** To be reclaimed as soon as its write-back ends. */
export const PG_RECLAIM = 1 << 31;
const PAGE_FLAGS = ~0 << 19;

assert(
  (PAGE_FLAGS & (BLOCK_ORDER_MASK | MIGRATETYPE_MASK | ALLOC_ORDER_MASK | BOOK_MASK)) === 0,
  'page flags lie above the other details of a frame',
);

/** What a frame belongs to. Of a table the index is its number in PageTables. */
export const MAPPING = { none: 0, anon: 1, file: 2, table: 3 } as const;
const MAPPING_KIND_BITS = 2;
/** Ids of anonymous and file mappings; they are not used twice. */
export const MAX_MAPPING_ID = 2 ** 30 - 1;

/** Order of a huge page (HPAGE_PMD_ORDER) and its frames. */
export const HPAGE_PMD_ORDER = 9;
export const HPAGE_PMD_NR = 1 << HPAGE_PMD_ORDER;

/** Mappings of one page at a time; limits on processes and on mappings of a file keep below it. */
export const MAX_MAPCOUNT = 0xffff;

export class Frames {
  readonly pages: PageMap;
  /** pages.words, one dereference nearer. */
  readonly words: Int32Array;
  /** id << 2 | MAPPING kind; 0 for frames that belong to nobody's mapping. */
  readonly mapping: Uint32Array;
  /** page->index: linear page number in the mapping. */
  readonly index: Int32Array;
  /** PTEs that map exactly this frame. */
  readonly mapcount: Uint16Array;

  constructor(pages: PageMap) {
    this.pages = pages;
    this.words = pages.words;
    this.mapping = new Uint32Array(pages.pageCount);
    this.index = new Int32Array(pages.pageCount);
    this.mapcount = new Uint16Array(pages.pageCount);
  }

  /** Bytes of these arrays for one frame, those of the PageMap not counted. */
  static readonly BYTES_PER_FRAME = 10;

  has(pfn: number, flag: number): boolean {
    return (this.words[(pfn << 2) + DETAILS_WORD] & flag) !== 0;
  }

  set(pfn: number, flags: number): void {
    this.words[(pfn << 2) + DETAILS_WORD] |= flags;
  }

  clear(pfn: number, flags: number): void {
    this.words[(pfn << 2) + DETAILS_WORD] &= ~flags;
  }

  /** Sets a flag and tells whether it was set before. */
  testAndSet(pfn: number, flag: number): boolean {
    const was = this.has(pfn, flag);
    this.set(pfn, flag);
    return was;
  }

  testAndClear(pfn: number, flag: number): boolean {
    const was = this.has(pfn, flag);
    this.clear(pfn, flag);
    return was;
  }

  /** PageLocked: somebody reads, writes, moves or splits the page. */
  isLocked(pfn: number): boolean {
    const head = this.head(pfn);
    if (!this.pages.tryLock(head)) return true;
    this.pages.unlock(head);
    return false;
  }

  flags(pfn: number): number {
    return this.words[(pfn << 2) + DETAILS_WORD] & PAGE_FLAGS;
  }

  /** compound_head. */
  head(pfn: number): number {
    return this.has(pfn, PG_TAIL) ? pfn & ~(HPAGE_PMD_NR - 1) : pfn;
  }

  /** Is this the head or a tail of a huge page? */
  isHuge(pfn: number): boolean {
    return this.has(pfn, PG_TAIL) || this.order(pfn) === HPAGE_PMD_ORDER;
  }

  /** Order of the page that begins at `head`. */
  order(head: number): number {
    return (this.words[(head << 2) + DETAILS_WORD] & ALLOC_ORDER_MASK) >>> ALLOC_ORDER_SHIFT;
  }

  /** Frames of the page that begins at `head`: thp_nr_pages. */
  pageCount(head: number): number {
    return 1 << this.order(head);
  }

  refcount(head: number): number {
    return this.words[(head << 2) + REFCOUNT_WORD];
  }

  /** get_page on a page that has a reference; of a huge page on its head. */
  get(pfn: number, count = 1): void {
    const at = (this.head(pfn) << 2) + REFCOUNT_WORD;
    assert(this.words[at] > 0, 'get_page needs a page in use');
    this.words[at] += count;
  }

  mappingKind(head: number): number {
    return this.mapping[head] & (2 ** MAPPING_KIND_BITS - 1);
  }

  mappingId(head: number): number {
    return this.mapping[head] >>> MAPPING_KIND_BITS;
  }

  setMapping(head: number, kind: number, id: number, index: number): void {
    this.mapping[head] = ((id << MAPPING_KIND_BITS) | kind) >>> 0;
    this.index[head] = index;
  }

  isAnon(pfn: number): boolean {
    return this.mappingKind(this.head(pfn)) === MAPPING.anon;
  }

  /** Index of a frame in its mapping; frames of a huge page follow their head. */
  indexOf(pfn: number): number {
    const head = this.head(pfn);
    return this.index[head] + (pfn - head);
  }

  /** compound_mapcount: PMDs that map the huge page as a whole. */
  compoundMapcount(head: number): number {
    return this.order(head) === HPAGE_PMD_ORDER ? this.index[head + 1] : 0;
  }

  addCompoundMapcount(head: number, delta: number): void {
    this.index[head + 1] += delta;
    assert(this.index[head + 1] >= 0, 'a huge page is unmapped as often as it was mapped');
  }

  /** page_mapcount: mappings of this frame, the huge ones included. */
  pageMapcount(pfn: number): number {
    return this.mapcount[pfn] + this.compoundMapcount(this.head(pfn));
  }

  /** total_mapcount: PTEs and PMDs that map any part of the page. */
  totalMapcount(head: number): number {
    let total = this.compoundMapcount(head);
    const end = head + this.pageCount(head);
    for (let pfn = head; pfn < end; pfn++) total += this.mapcount[pfn];
    return total;
  }

  /** page_mapped: is any part of the page mapped? */
  isMapped(head: number): boolean {
    return this.totalMapcount(head) > 0;
  }

  /** prep_compound_page for a new block of order 9. */
  prepareHuge(head: number): void {
    for (let pfn = head + 1; pfn < head + HPAGE_PMD_NR; pfn++) {
      this.set(pfn, PG_TAIL);
      this.mapping[pfn] = 0;
      this.index[pfn] = 0;
    }
  }

  /** Makes the frame of a huge page one of its own with `references`: split_huge_page. */
  makeSingle(pfn: number, flags: number, references: number): void {
    const at = pfn << 2;
    const kept = this.words[at + DETAILS_WORD] & ~(PAGE_FLAGS | ALLOC_ORDER_MASK);
    this.words[at + DETAILS_WORD] = kept | flags;
    this.words[at + REFCOUNT_WORD] = references;
  }

  /** Leaves nothing behind on a page that is about to be freed (PAGE_FLAGS_CHECK_AT_PREP). */
  forget(head: number): void {
    const end = head + this.pageCount(head);
    for (let pfn = head; pfn < end; pfn++) {
      assert(this.mapcount[pfn] === 0, 'a page is freed when nobody maps it');
      this.clear(pfn, PAGE_FLAGS);
      this.mapping[pfn] = 0;
      this.index[pfn] = 0;
    }
  }
}
