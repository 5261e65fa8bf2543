import { assert } from '../../../shared/lib/assert.ts';
import { adoptAllocation } from './image.ts';
import { PAGE_STATE } from './page-lifecycle.ts';
import { MAX_ORDER, type PageMap } from './page-map.ts';

/** Bits of a frame's flags in a dump, which are the kernel's numbers of the page flags. */
export const DUMPED = {
  locked: 1 << 0,
  dirty: 1 << 3,
  lru: 1 << 4,
  private: 1 << 13,
  writeback: 1 << 15,
  head: 1 << 16,
} as const;

/** What page->mapping of a frame in a dump says. */
export const DUMPED_KIND = { none: 0, file: 1, anon: 2, movable: 3, ksm: 4, noPage: 9 } as const;

const WORDS = 4;
const MAX_ORDER_PAGES = 1 << (MAX_ORDER - 1);

/**
 * Every struct page of a recorded guest: 16 bytes a frame, little-endian, from PFN 0: flags,
 * reference count, mapcount as stored (-1 is none), kind of mapping.
 */
export class PageDump {
  readonly pageCount: number;
  readonly #view: DataView;

  /** `bytes` has whole records. */
  constructor(bytes: Uint8Array) {
    assert(bytes.byteLength % (4 * WORDS) === 0, 'a page dump has whole records');
    this.pageCount = bytes.byteLength / (4 * WORDS);
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  flags(pfn: number): number {
    return this.#view.getUint32(pfn * 16, true);
  }

  has(pfn: number, flag: number): boolean {
    return (this.flags(pfn) & flag) !== 0;
  }

  refcount(pfn: number): number {
    return this.#view.getInt32(pfn * 16 + 4, true);
  }

  /** Mappings by page tables; 0 also where the field holds a page type. */
  mapcount(pfn: number): number {
    return Math.max(0, this.#view.getInt32(pfn * 16 + 8, true) + 1);
  }

  kind(pfn: number): number {
    return this.#view.getUint32(pfn * 16 + 12, true);
  }

  /**
   * Order of the compound page that begins at `pfn`. A dump has no orders: tails have no reference,
   * and their mapping is a poison that looks like a file.
   */
  compoundOrder(pfn: number): number {
    let count = 1;
    while (count < MAX_ORDER_PAGES && this.#isTail(pfn + count)) count++;
    return 31 - Math.clz32(count);
  }

  #isTail(pfn: number): boolean {
    if (pfn >= this.pageCount || this.has(pfn, DUMPED.head)) return false;
    return this.refcount(pfn) === 0 && this.kind(pfn) === DUMPED_KIND.file;
  }
}

/** Marks the compound pages of a dump on frames that an image said to be in use. */
export function adoptCompoundPages(pages: PageMap, dump: PageDump): void {
  for (let pfn = 0; pfn < dump.pageCount; pfn++) {
    if (!dump.has(pfn, DUMPED.head)) continue;
    if (pages.states.stateOf(pfn) !== PAGE_STATE.allocated) continue;
    const order = dump.compoundOrder(pfn);
    adoptAllocation(pages, pfn, order);
    pages.setCompound(pfn, order > 0);
  }
}
