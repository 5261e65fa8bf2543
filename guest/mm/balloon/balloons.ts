import { assert, fail } from '../../../shared/lib/assert.ts';
import { MAX_BOOKS, type PageMap } from '../page/page-map.ts';
import type { BalloonAllocator, Book } from './book.ts';
import { CompactBalloonEvents } from './compact-balloon-events.ts';
import type { BalloonCompaction } from './compaction-mode.ts';
import { BALLOON_GENERATIONS, type BalloonGeneration } from './generations.ts';
import type { BalloonWorld2012 } from './procedures-2012.ts';

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
export class Balloons implements BalloonWorld2012 {
  readonly pages: PageMap;
  readonly allocator: BalloonAllocator;
  readonly events = new BalloonEvents();
  /** Events of the 2012 generation; they stand still in others. */
  readonly compactBalloon = new CompactBalloonEvents();
  readonly compaction: BalloonCompaction;
  readonly generation: BalloonGeneration;
  readonly #byNumber: (Book | undefined)[] = [];
  /** List heads by number; made when a number is first used. */
  readonly #lists: number[] = [];
  #adjustedPages = 0;

  constructor(allocator: BalloonAllocator, compaction: BalloonCompaction = 'movable') {
    this.allocator = allocator;
    this.compaction = compaction;
    this.generation = BALLOON_GENERATIONS[compaction];
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

  /**
   * Events under vmstat's names, as far as the kernel has them: balloon_migrate comes with
   * CONFIG_BALLOON_COMPACTION, compact_balloon_... with the 2012 postings. That those have no
   * balloon_... events is not emulated: whoever watches a guest needs them in any.
   */
  vmstat(): Record<string, number> {
    const { balloon_migrate, ...events } = this.events;
    if (this.compaction === 'off') return events;
    if (this.compaction === 'movable') return { ...events, balloon_migrate };
    return { ...events, balloon_migrate, ...this.compactBalloon };
  }

  /** Books that hold pages. */
  bound(): Book[] {
    return this.#byNumber.filter((book) => book !== undefined);
  }
}
