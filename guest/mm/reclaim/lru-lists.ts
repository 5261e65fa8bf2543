import type { PageAllocator } from '../page/alloc.ts';
import { ZONES } from '../page/gfp.ts';
import { listAdd, listAddTail, listDel } from '../page/page-list.ts';
import { zoneIndexOf } from '../page/zone.ts';
import { type Frames, PG_ACTIVE, PG_SWAPBACKED, PG_UNEVICTABLE } from '../space/frames.ts';
import type { Vmstat, VmstatName } from '../vmstat.ts';

/** The lists of a node, by number. */
export const LRU = {
  inactiveAnon: 0,
  activeAnon: 1,
  inactiveFile: 2,
  activeFile: 3,
  unevictable: 4,
} as const;
const LIST_NAMES = [
  'nr_inactive_anon',
  'nr_active_anon',
  'nr_inactive_file',
  'nr_active_file',
  'nr_unevictable',
] as const satisfies readonly VmstatName[];

export interface LruListsOptions {
  readonly frames: Frames;
  readonly allocator: PageAllocator;
  readonly vmstat: Vmstat;
}

/**
 * struct lruvec of the one node: which list a page is on by its flags, and how many pages each list
 * has. A huge page is one node of a list and counts as 512. Unevictable pages are counted but on no
 * list: the words of their links hold how many locked VMAs map them (mlock_count).
 */
export class LruLists {
  /** Pages on each list. */
  readonly sizes = new Int32Array(LIST_NAMES.length);
  /** The same by zone: lists of a zone side by side (NR_ZONE_LRU_BASE). */
  readonly #zoneSizes = new Int32Array(LIST_NAMES.length * ZONES);
  readonly #frames: Frames;
  readonly #allocator: PageAllocator;
  readonly #vmstat: Vmstat;
  readonly #heads: number;

  constructor(options: LruListsOptions) {
    this.#frames = options.frames;
    this.#allocator = options.allocator;
    this.#vmstat = options.vmstat;
    this.#heads = options.allocator.pages.newLists(LIST_NAMES.length);
  }

  /** Node number of a list, for those who walk it; the unevictable list is always empty. */
  head(lru: number): number {
    return this.#heads + lru;
  }

  /** Pages on a list that are of this zone. */
  sizeOf(lru: number, zone: number): number {
    return this.#zoneSizes[zone * LIST_NAMES.length + lru];
  }

  /** lruvec_lru_size: pages on a list that are of this zone or a lower one. */
  sizeUpTo(lru: number, highestZone: number): number {
    let size = 0;
    for (let zone = 0; zone <= highestZone; zone++) size += this.sizeOf(lru, zone);
    return size;
  }

  /** lruvec_add_folio: the page becomes the first of its list. */
  add(pfn: number): void {
    const lru = this.#lruOf(pfn);
    const { words } = this.#frames;
    if (lru === LRU.unevictable) words[(pfn << 2) + 1] = 1;
    else listAdd(words, pfn, this.#heads + lru);
    this.#count(lru, pfn, this.#frames.pageCount(pfn));
  }

  /** lruvec_add_folio_tail for a page that can be reclaimed: the last of its list. */
  addTail(pfn: number): void {
    const lru = this.#lruOf(pfn);
    listAddTail(this.#frames.words, pfn, this.#heads + lru);
    this.#count(lru, pfn, this.#frames.pageCount(pfn));
  }

  /** lruvec_del_folio: its flags are still those of the list it is on. */
  del(pfn: number): void {
    const lru = this.#lruOf(pfn);
    const { words } = this.#frames;
    if (lru === LRU.unevictable) {
      words[pfn << 2] = 0;
      words[(pfn << 2) + 1] = 0;
    } else listDel(words, pfn);
    this.#count(lru, pfn, -this.#frames.pageCount(pfn));
  }

  /** lru_add_page_tail: a frame of a huge page that is split, next to its head on the list. */
  addSplitFrame(pfn: number, head: number): void {
    const { words } = this.#frames;
    if (this.#lruOf(pfn) === LRU.unevictable) words[(pfn << 2) + 1] = words[(head << 2) + 1];
    else listAddTail(words, pfn, head);
  }

  /** folio_lru_list. */
  #lruOf(pfn: number): number {
    const flags = this.#frames.flags(pfn);
    if ((flags & PG_UNEVICTABLE) !== 0) return LRU.unevictable;
    const base = (flags & PG_SWAPBACKED) !== 0 ? LRU.inactiveAnon : LRU.inactiveFile;
    return (flags & PG_ACTIVE) !== 0 ? base + 1 : base;
  }

  /** update_lru_size. */
  #count(lru: number, pfn: number, delta: number): void {
    this.sizes[lru] += delta;
    this.#zoneSizes[zoneIndexOf(pfn) * LIST_NAMES.length + lru] += delta;
    this.#vmstat[LIST_NAMES[lru]] += delta;
    const isFile = lru === LRU.inactiveFile || lru === LRU.activeFile;
    if (isFile) this.#allocator.levels.fileLru += delta;
  }
}
