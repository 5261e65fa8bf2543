import { assert } from '../../../shared/lib/assert.ts';
import { adoptAllocation } from './image.ts';
import { PAGE_STATE } from './page-lifecycle.ts';
import { MAX_ORDER, type PageMap } from './page-map.ts';

/** What a recording says of one frame, as bits. */
export const FRAME = {
  /** On the LRU. */
  lru: 1,
  /** Of a file or tmpfs; else anonymous. */
  file: 2,
  mapped: 4,
  /** Somebody unknown has a reference: it cannot be moved. */
  pinned: 8,
  writeback: 16,
  /** Of tmpfs or anonymous: only swap could take it. */
  swapbacked: 32,
} as const;

/** Frames of a recorded guest, as far as free lists do not tell of them. */
export interface RecordedFrames {
  readonly pageCount: number;
  /** FRAME bits. */
  describe(pfn: number): number;
  /** Order of the compound page that begins at `pfn`, 0 where none begins. */
  compoundOrder(pfn: number): number;
}

/** Nothing is known: every frame in use is a page of its own that cannot be moved. */
export const UNKNOWN_FRAMES: RecordedFrames = {
  pageCount: 0,
  describe: () => 0,
  compoundOrder: () => 0,
};

/** Marks the recorded compound pages on frames that an image said to be in use. */
export function adoptCompoundPages(pages: PageMap, frames: RecordedFrames): void {
  for (let pfn = 0; pfn < frames.pageCount; pfn++) {
    const order = frames.compoundOrder(pfn);
    if (order === 0 || pages.states.stateOf(pfn) !== PAGE_STATE.allocated) continue;
    adoptAllocation(pages, pfn, order);
    pages.setCompound(pfn, true);
  }
}

/** The kernel's numbers of page flags. */
const PG = { lru: 1 << 4, private: 1 << 13, writeback: 1 << 15, head: 1 << 16, swap: 1 << 19 };
/** What page->mapping of a frame says. */
const KIND = { file: 1, anonymous: 2 };

const RECORD_BYTES = 16;
const MAX_ORDER_PAGES = 1 << (MAX_ORDER - 1);

/**
 * Every struct page of a recorded guest: 16 bytes a frame, little-endian, from PFN 0: flags,
 * reference count, mapcount as stored (-1 is none), kind of mapping.
 */
export class PageDump implements RecordedFrames {
  readonly pageCount: number;
  readonly #view: DataView;

  /** `bytes` has whole records. */
  constructor(bytes: Uint8Array) {
    assert(bytes.byteLength % RECORD_BYTES === 0, 'a page dump has whole records');
    this.pageCount = bytes.byteLength / RECORD_BYTES;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  describe(pfn: number): number {
    if (!this.#has(pfn, PG.lru)) return 0;
    const isFile = this.#kind(pfn) === KIND.file;
    const mapcount = this.#mapcount(pfn);
    // The page cache has a reference, and so have private data.
    const ofOwner = isFile ? 1 + Number(this.#has(pfn, PG.private)) : 0;
    const isPinned = this.#refcount(pfn) !== mapcount + ofOwner;
    return (
      FRAME.lru |
      (isFile ? FRAME.file : 0) |
      (mapcount > 0 ? FRAME.mapped : 0) |
      (isPinned ? FRAME.pinned : 0) |
      (this.#has(pfn, PG.writeback) ? FRAME.writeback : 0) |
      (this.#has(pfn, PG.swap) ? FRAME.swapbacked : 0)
    );
  }

  /** A dump has no orders: tails have no reference, and a mapping that looks like a file's. */
  compoundOrder(pfn: number): number {
    if (!this.#has(pfn, PG.head)) return 0;
    let count = 1;
    while (count < MAX_ORDER_PAGES && this.#isTail(pfn + count)) count++;
    return 31 - Math.clz32(count);
  }

  #isTail(pfn: number): boolean {
    if (pfn >= this.pageCount || this.#has(pfn, PG.head)) return false;
    return this.#refcount(pfn) === 0 && this.#kind(pfn) === KIND.file;
  }

  #has(pfn: number, flag: number): boolean {
    return (this.#view.getUint32(pfn * RECORD_BYTES, true) & flag) !== 0;
  }

  #refcount(pfn: number): number {
    return this.#view.getInt32(pfn * RECORD_BYTES + 4, true);
  }

  /** Mappings by page tables; 0 also where the field holds a page type. */
  #mapcount(pfn: number): number {
    return Math.max(0, this.#view.getInt32(pfn * RECORD_BYTES + 8, true) + 1);
  }

  #kind(pfn: number): number {
    return this.#view.getUint32(pfn * RECORD_BYTES + 12, true);
  }
}
