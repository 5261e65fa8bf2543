import { assert, fail } from '../../../shared/lib/assert.ts';
import { ARRAY_PFNS_MAX } from '../../../shared/limits.ts';
import { PAGE_EVENT, PAGE_STATE } from '../page/page-lifecycle.ts';
import { isListEmpty, listAdd, listDel, listNext, listPrevious } from '../page/page-list.ts';
import { zoneIndexOf } from '../page/zone.ts';
import type { Balloons } from './balloons.ts';
import type { BalloonMigration, Book } from './book.ts';
import type { BalloonGeneration } from './generations.ts';
import {
  balloonPageDequeue,
  balloonPageEnqueue,
  balloonPageFree,
  dequeueBalloonPage,
  enqueueBalloonPage,
  letGoBalloonPage,
} from './procedures.ts';

/** Words of a saved book: number, length, isolated_pages, replaced pages. */
export const BOOK_WORDS = 4;

/** Pages to be freed together; nothing here outlives one call. */
const UNREFERENCED = new Int32Array(ARRAY_PFNS_MAX);
const ONE = new Int32Array(1);

export interface BalloonOptions {
  /** True when DEFLATE_ON_OOM is not negotiated: managed pages shrink with every page taken. */
  readonly adjustManagedPageCount: boolean;
  /** Left out: pages of this balloon stay where they are. */
  readonly migration?: BalloonMigration;
}

/**
 * balloon_dev_info: the book of one balloon device (4.1 and 4.3 of the facts). A page that is taken
 * in goes to the head of the list and pages are given back from the head: last in, first out, but
 * for pages that were put back. A page is on the list or isolated, never both. That is so in Linux
 * 6.1 and in the 2012 postings; how pages are isolated and put back is the generation's.
 *
 * Not emulated: pages_lock itself (one CPU; where it matters the procedures say so), page types,
 * mapping and private data as such: the frame's lifecycle state and book number stand for them.
 * 2012 counts the pages it takes in totalram_pages alone; here as in 6.1 each zone does.
 */
export class BalloonDevInfo implements Book {
  readonly migration: BalloonMigration | undefined;
  readonly #balloons: Balloons;
  readonly #adjust: boolean;
  readonly #enqueueFrame = balloonPageEnqueue.newFrame(0, 0);
  readonly #dequeueFrame = balloonPageDequeue.newFrame(0);
  readonly #freeFrame = balloonPageFree.newFrame(0, 0);
  /** Number on this book's frames and head of its list, while it holds any; 0 while it is empty. */
  #number = 0;
  #list = -1;
  #length = 0;
  #isolatedPages = 0;
  /** Isolated pages that another has replaced already, with their number still on them. */
  #replacedPages = 0;
  #unreleasedPages = 0;

  /** Made by GuestMemory.newBalloon. */
  constructor(balloons: Balloons, options: BalloonOptions) {
    this.#balloons = balloons;
    this.#adjust = options.adjustManagedPageCount;
    // Without CONFIG_BALLOON_COMPACTION balloon_mapping_alloc fails: nothing leads to the driver.
    this.migration = balloons.compaction === 'off' ? undefined : options.migration;
  }

  get generation(): BalloonGeneration {
    return this.#balloons.generation;
  }

  get length(): number {
    return this.#length;
  }

  get isolatedPages(): number {
    return this.#isolatedPages;
  }

  /** The number of this book for a page that is about to enter; an empty book gets one. */
  claimNumber(): number {
    if (this.#number === 0) [this.#number, this.#list] = this.#balloons.bind(this);
    return this.#number;
  }

  /** Copies what the book counts to BOOK_WORDS words of `out` from `at` on: for the explorer. */
  saveTo(out: Int32Array, at: number): void {
    out[at] = this.#number;
    out[at + 1] = this.#length;
    out[at + 2] = this.#isolatedPages;
    out[at + 3] = this.#replacedPages;
  }

  /** Takes back what `saveTo` copied; the page map and the balloons go back by other means. */
  restoreFrom(saved: Int32Array, at: number): void {
    this.#number = saved[at];
    this.#length = saved[at + 1];
    this.#isolatedPages = saved[at + 2];
    this.#replacedPages = saved[at + 3];
  }

  /**
   * balloon_page_enqueue, and fill_balloon's adjust_managed_page_count(-1). The page was had from
   * allocBalloonPage and becomes the first of the list.
   */
  enqueue(pfn: number): void {
    const frame = this.#enqueueFrame;
    frame[1] = pfn;
    frame[2] = this.claimNumber();
    enqueueBalloonPage(frame, this.#balloons);
    this.#balloons.events.balloon_inflate++;
    if (this.#adjust) this.#balloons.adjustManagedPageCount(pfn, -1);
  }

  /** As `enqueue`, for a page that was out of the managed pages before: of a recorded guest. */
  adopt(pfn: number): void {
    if (this.#adjust) this.#balloons.adjustManagedPageCount(pfn, 1);
    this.enqueue(pfn);
  }

  /**
   * balloon_page_dequeue: the PFN of the first page that is neither locked nor isolated, or -1.
   * The caller owns it until `release`. Asking an empty book without isolated pages is a BUG (I7).
   */
  dequeue(): number {
    return this.dequeueEach(ONE, 0, 1) === 0 ? -1 : ONE[0];
  }

  /**
   * `dequeue` into `out` as often as there are places from `from` to before `to`, or until there is
   * no page to be had. Returns the place after the last one.
   */
  dequeueEach(out: Int32Array, from: number, to: number): number {
    const { words } = this.#balloons.pages;
    const frame = this.#dequeueFrame;
    const list = this.#list;
    let at = from;
    let pfn = this.#first();
    let next = pfn === list ? list : listNext(words, pfn);
    while (at < to && pfn !== list) {
      // Read ahead: in a large guest each link is a cache miss, and work on a page hides it.
      const ahead = listNext(words, next);
      frame[1] = pfn;
      if (dequeueBalloonPage(frame, this.#balloons) === 'dequeued') out[at++] = pfn;
      pfn = next;
      next = ahead;
    }
    if (at < to && this.#length === 0 && this.#isolatedPages === 0) fail('balloon pages are lost');
    this.#balloons.events.balloon_deflate += at - from;
    this.#unreleasedPages += at - from;
    return at;
  }

  /**
   * What release_pages_balloon does to pages that were dequeued and told to the host, at most 256
   * and in this order: the managed pages grow again (in 6.1 not before now), then put_page.
   */
  releaseEach(pfns: Int32Array): void {
    assert(pfns.length <= this.#unreleasedPages, 'a page is released once, after it was dequeued');
    assert(pfns.length <= UNREFERENCED.length, 'pages are released in batches');
    this.#unreleasedPages -= pfns.length;
    const frame = this.#freeFrame;
    frame[2] = this.#adjust ? 1 : 0;
    let freed = 0;
    for (let at = 0; at < pfns.length; at++) {
      frame[1] = pfns[at];
      if (letGoBalloonPage(frame, this.#balloons) === 'freed') UNREFERENCED[freed++] = pfns[at];
    }
    this.#balloons.allocator.freeUnreferencedEach(UNREFERENCED, 0, freed);
  }

  *pfns(): Generator<number> {
    if (this.#number === 0) return;
    const { words } = this.#balloons.pages;
    let pfn = listPrevious(words, this.#list);
    for (; pfn !== this.#list; pfn = listPrevious(words, pfn)) yield pfn;
  }

  insertPage(pfn: number): void {
    const { pages } = this.#balloons;
    pages.states.step(pfn, PAGE_EVENT.inflate);
    pages.setBook(pfn, this.#number);
    listAdd(pages.words, pfn, this.#list);
    this.#length++;
  }

  deletePage(pfn: number): void {
    const { pages } = this.#balloons;
    const listed = pages.states.stateOf(pfn) === PAGE_STATE.balloon;
    pages.states.step(pfn, PAGE_EVENT.deflate);
    pages.setBook(pfn, 0);
    if (!listed) {
      this.#replacedPages--;
    } else {
      listDel(pages.words, pfn);
      this.#length--;
    }
    this.#unbindIfEmpty();
  }

  replacePage(oldPfn: number, newPfn: number): void {
    const { pages } = this.#balloons;
    pages.states.step(oldPfn, PAGE_EVENT.replace);
    this.insertPage(newPfn);
    this.#isolatedPages--;
    this.#replacedPages++;
    this.#balloons.events.balloon_migrate++;
    if (!this.#adjust || zoneIndexOf(oldPfn) === zoneIndexOf(newPfn)) return;
    this.#balloons.adjustManagedPageCount(oldPfn, 1);
    this.#balloons.adjustManagedPageCount(newPfn, -1);
  }

  unlinkPage(pfn: number): void {
    const { pages } = this.#balloons;
    pages.states.step(pfn, PAGE_EVENT.isolate);
    listDel(pages.words, pfn);
    this.#length--;
    this.#isolatedPages++;
  }

  relinkPage(pfn: number): void {
    const { pages } = this.#balloons;
    pages.states.step(pfn, PAGE_EVENT.putback);
    listAdd(pages.words, pfn, this.#list);
    this.#length++;
    this.#isolatedPages--;
  }

  /** A book without pages has no number: others may have it. */
  #unbindIfEmpty(): void {
    if (this.#length + this.#isolatedPages + this.#replacedPages > 0) return;
    assert(isListEmpty(this.#balloons.pages.words, this.#list), 'a book of no pages has no list');
    this.#balloons.unbind(this.#number);
    this.#number = 0;
  }

  /** The first page, or the list's own number: an unbound book has none. */
  #first(): number {
    return this.#number === 0 ? this.#list : listNext(this.#balloons.pages.words, this.#list);
  }
}
