import { assert, fail } from '../../../shared/lib/assert.ts';
import type { PageAllocator } from '../page/alloc.ts';
import { MAX_BOOKS, type PageMap } from '../page/page-map.ts';
import type { BalloonWorld, Book } from './book.ts';

/** vmstat's events. Inflated less deflated is what the balloons hold (I5). */
export class BalloonEvents {
  balloon_inflate = 0;
  balloon_deflate = 0;
  balloon_migrate = 0;
}

/**
 * All balloons of a guest. A book has a number, which its frames carry, only while it holds pages:
 * a driver may be unbound and bound again as often as it likes.
 */
export class Balloons implements BalloonWorld {
  readonly pages: PageMap;
  readonly allocator: PageAllocator;
  readonly events = new BalloonEvents();
  readonly #byNumber: (Book | undefined)[] = [];
  /** List heads by number; made when a number is first used. */
  readonly #lists: number[] = [];
  #adjustedPages = 0;

  constructor(allocator: PageAllocator) {
    this.allocator = allocator;
    this.pages = allocator.pages;
  }

  /** Gives a book the lowest free number and an empty list: [number, list]. */
  bind(book: Book): [number, number] {
    let number = 1;
    while (this.#byNumber[number] !== undefined) number++;
    assert(number <= MAX_BOOKS, 'a guest has at most 127 balloons with pages');
    this.#byNumber[number] = book;
    const list = this.#lists[number] ?? this.pages.newLists(1);
    this.#lists[number] = list;
    return [number, list];
  }

  /** Frames that balloons keep out of the managed pages (I6). */
  get adjustedPages(): number {
    return this.#adjustedPages;
  }

  /** adjust_managed_page_count on behalf of a balloon. */
  adjustManagedPageCount(pfn: number, delta: number): void {
    this.#adjustedPages -= delta;
    this.allocator.adjustManagedPageCount(pfn, delta);
  }

  unbind(number: number): void {
    this.#byNumber[number] = undefined;
  }

  bookNumbered(number: number): Book {
    return this.#byNumber[number] ?? fail('no balloon has this number', String(number));
  }

  bookOf(pfn: number): Book {
    return this.bookNumbered(this.pages.book(pfn));
  }

  /** Books that hold pages. */
  bound(): Book[] {
    return this.#byNumber.filter((book) => book !== undefined);
  }
}
