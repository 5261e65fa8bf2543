import type { WaitQueue } from '../../sched/scheduler.ts';
import type { PageAllocator } from '../page/alloc.ts';
import type { PageMap } from '../page/page-map.ts';

/**
 * What a driver hands to its book so that pages can be migrated (balloon_dev_info.migratepage). A
 * page is told in a buffer of its own, one at a time, by whoever holds the lock.
 */
export interface BalloonMigration {
  /** mutex_trylock(balloon_lock): false while a batch of the driver is under way. */
  tryLock(): boolean;
  unlock(): void;
  tellInflate(pfn: number): void;
  tellDeflate(pfn: number): void;
  /** Takes the buffer told last back; false while the host has it. */
  inflateAcked(): boolean;
  deflateAcked(): boolean;
  /** Woken when a buffer comes back. */
  readonly acked: WaitQueue;
}

/** What a balloon's book shows to the procedures and to checks. */
export interface Book {
  /** Pages on the list; isolated ones are not counted. */
  readonly length: number;
  /** isolated_pages: in the hands of migration. */
  readonly isolatedPages: number;
  /** PFNs on the list, oldest first. */
  pfns(): Generator<number>;
  /** balloon_page_insert, under pages_lock and page lock. */
  insertPage(pfn: number): void;
  /** balloon_page_delete of a page that is on the list or replaced, under both locks. */
  deletePage(pfn: number): void;
  /**
   * The first half of virtballoon_migratepage, under pages_lock: the new page becomes the first of
   * the list in place of an isolated one.
   */
  replacePage(oldPfn: number, newPfn: number): void;
  /** Undefined where the driver cannot migrate pages. */
  readonly migration: BalloonMigration | undefined;
  /** balloon_page_isolate, under both locks. */
  unlinkPage(pfn: number): void;
  /** balloon_page_putback, under both locks. */
  relinkPage(pfn: number): void;
}

/** What balloons need of the page allocator. */
export type BalloonAllocator = Pick<
  PageAllocator,
  | 'pages'
  | 'putPage'
  | 'putPageTestZero'
  | 'freeUnreferenced'
  | 'freeUnreferencedEach'
  | 'adjustManagedPageCount'
>;

/** What the stepped procedures of balloon pages act on. */
export interface BalloonWorld {
  readonly pages: PageMap;
  readonly allocator: BalloonAllocator;
  /** The book a frame is in now: page_private. */
  bookOf(pfn: number): Book;
  bookNumbered(number: number): Book;
  /** adjust_managed_page_count on behalf of a balloon. */
  adjustManagedPageCount(pfn: number, delta: number): void;
}
