import { BalloonDevInfo, BOOK_WORDS } from '../../guest/mm/balloon/balloon-dev-info.ts';
import { Balloons } from '../../guest/mm/balloon/balloons.ts';
import type { BalloonAllocator, BalloonMigration, Book } from '../../guest/mm/balloon/book.ts';
import { PAGE_EVENT, PAGE_STATE } from '../../guest/mm/page/page-lifecycle.ts';
import { listNext } from '../../guest/mm/page/page-list.ts';
import { REFCOUNT_WORD } from '../../guest/mm/page/page-map.ts';
import { WaitQueue } from '../../guest/sched/scheduler.ts';
import { FRAME_STATE } from '../../host/ram/frame-lifecycle.ts';
import { assert, fail } from '../../shared/lib/assert.ts';
import { BUFFER_PAGES, ExploredQueue, QUEUE_WORDS } from './host-side.ts';
import { ExploredPages } from './pages.ts';

/** Numbers of the world beside the pages. A lock holds its holder's number and 1, or 0. */
export const CELL = {
  balloonLock: 0,
  pagesLock: 1,
  /** vb->num_pages; what `actual` was last written as; the host's target. */
  numPages: 2,
  actual: 3,
  target: 4,
  /** Pages that balloons keep out of the managed ones. */
  adjusted: 5,
  /** The resize work is queued; the driver stops; works and notifiers that run. */
  pending: 6,
  stopped: 7,
  running: 8,
  /** 1 while the connection to the host is lost. */
  cut: 9,
  /** vb->num_pfns. */
  pfnCount: 10,
} as const;
const CELL_COUNT = 11;

export interface WorldShape {
  /** Pages in the balloon at the start, PFN 0 to pages - 1, the last on top of the list. */
  readonly pages: number;
  /** Of those the first ones that compaction has isolated before. */
  readonly isolated: number;
  /** Free frames behind them. */
  readonly free: number;
  /** Nothing but the resize work changes the size: in the end it is the target, if it can be. */
  readonly followsTarget: boolean;
  /** Words that the actors' frames take. */
  readonly frameWords: number;
}

/** The guest's balloons with one book, which can be set back. */
class ExploredBalloons extends Balloons {
  readonly #list: number;
  #book: Book | undefined;

  constructor(allocator: BalloonAllocator, pages: ExploredPages) {
    super(allocator);
    this.#list = pages.list;
  }

  override bind(book: Book): [number, number] {
    this.#book = book;
    return [1, this.#list];
  }

  override unbind(): void {}

  override bookNumbered(number: number): Book {
    if (number !== 1 || this.#book === undefined) fail('an explored page is in no balloon');
    return this.#book;
  }
}

/**
 * The small world of the explorer: the product's page map, balloons and book over a handful of
 * frames, the driver's lock and numbers, two queues and the host's ledger. All of it is copied to
 * a few bytes and back, so that a state can be kept, compared and gone on from.
 *
 * Not emulated: zones, per-CPU lists and free lists (a free frame is in state pcp, the lowest is
 * handed out first), page content, batches of more than two pages.
 */
export class ExploredWorld {
  readonly shape: WorldShape;
  readonly frameCount: number;
  readonly pages: ExploredPages;
  readonly balloons: Balloons;
  readonly book: BalloonDevInfo;
  readonly cells: Int32Array;
  /** vb->pfns. */
  readonly pfns: Int32Array;
  readonly inflate: ExploredQueue;
  readonly deflate: ExploredQueue;
  /** The host's lifecycle state of every frame. */
  readonly ledger: Uint8Array;
  /** What the actors remember, one after the other. */
  readonly frames: Int32Array;
  /** Number of the actor whose move it is. */
  actor = 0;
  /** Bytes of a saved state, a multiple of four. */
  readonly savedBytes: number;
  readonly #words: Int32Array;
  readonly #bookWords: Int32Array;
  readonly #migrationPfn = new Int32Array(1);

  constructor(shape: WorldShape) {
    this.shape = shape;
    this.frameCount = shape.pages + shape.free;
    this.pages = new ExploredPages(this.frameCount);
    const parts = [CELL_COUNT, BUFFER_PAGES, QUEUE_WORDS, QUEUE_WORDS, BOOK_WORDS];
    this.#words = new Int32Array(parts.reduce((sum, part) => sum + part) + shape.frameWords);
    let at = 0;
    const next = (count: number): Int32Array => {
      at += count;
      return this.#words.subarray(at - count, at);
    };
    this.cells = next(CELL_COUNT);
    this.pfns = next(BUFFER_PAGES);
    this.ledger = new Uint8Array(this.frameCount);
    this.inflate = new ExploredQueue('inflate', next(QUEUE_WORDS), this.ledger);
    this.deflate = new ExploredQueue('deflate', next(QUEUE_WORDS), this.ledger);
    this.#bookWords = next(BOOK_WORDS);
    this.frames = next(shape.frameWords);
    const bytes = this.#words.length + this.pages.savedBytes + this.frameCount;
    this.savedBytes = Math.ceil(bytes / 4) * 4;
    this.balloons = new ExploredBalloons(this.#allocator(), this.pages);
    this.book = new BalloonDevInfo(this.balloons, {
      adjustManagedPageCount: true,
      migration: this.#migration(),
    });
    this.#inflateAtStart();
  }

  /** Copies the state to `savedBytes` bytes of `out`. */
  saveTo(out: Int8Array, start: number): void {
    const words = this.#words;
    this.book.saveTo(this.#bookWords, 0);
    let at = start;
    for (let index = 0; index < words.length; index++) {
      const word = words[index];
      if ((word << 24) >> 24 !== word) fail('a number of the explored world fits no byte');
      out[at++] = word;
    }
    out.set(this.ledger, at);
    this.pages.saveTo(out, at + this.frameCount);
  }

  restoreFrom(saved: Int8Array, start: number): void {
    const words = this.#words;
    let at = start;
    for (let index = 0; index < words.length; index++) words[index] = saved[at++];
    for (let pfn = 0; pfn < this.frameCount; pfn++) this.ledger[pfn] = saved[at++];
    this.pages.restoreFrom(saved, at);
    this.book.restoreFrom(this.#bookWords, 0);
  }

  /** mutex_lock or spin_lock of CELL.balloonLock or CELL.pagesLock: false while another has it. */
  tryTake(lock: number): boolean {
    if (this.cells[lock] !== 0) return false;
    this.cells[lock] = this.actor + 1;
    return true;
  }

  give(lock: number): void {
    assert(this.cells[lock] !== 0, 'an explored lock is given back by its holder');
    this.cells[lock] = 0;
  }

  /** alloc_page: the lowest free frame with one reference, or -1. */
  allocate(): number {
    const pfn = this.pages.firstFree();
    if (pfn < 0) return -1;
    this.pages.states.step(pfn, PAGE_EVENT.handOut);
    this.pages.getFirst(pfn);
    return pfn;
  }

  /** The first page of the balloon's list, or the list's own number. */
  firstListed(): number {
    return listNext(this.pages.words, this.pages.list);
  }

  /** Could a leak take something now? */
  hasTakeable(): boolean {
    return this.pages.stateBytes.some(
      (state, pfn) => state === PAGE_STATE.balloon && !this.pages.isLocked(pfn),
    );
  }

  /** Could the resize work bring num_pages nearer to the target now? */
  canResize(): boolean {
    const missing = this.cells[CELL.target] - this.cells[CELL.numPages];
    if (missing > 0) return this.pages.firstFree() >= 0;
    return missing < 0 && this.hasTakeable();
  }

  /** What the device reset does: no buffers, a ledger without a balloon. */
  resetDevice(): void {
    this.inflate.words.fill(0);
    this.deflate.words.fill(0);
    this.ledger.fill(FRAME_STATE.resident);
  }

  #allocator(): BalloonAllocator {
    const { pages, cells } = this;
    const putPageTestZero = (pfn: number): boolean => {
      const at = (pfn << 2) + REFCOUNT_WORD;
      assert(pages.words[at] > 0, 'an explored page has a reference to drop');
      return --pages.words[at] === 0;
    };
    const freeUnreferenced = (pfn: number): void => {
      if (pages.isLocked(pfn)) fail('bad page: freed while it is locked', `page ${pfn}`);
      pages.states.step(pfn, PAGE_EVENT.cache);
    };
    return {
      pages,
      putPageTestZero,
      freeUnreferenced,
      freeUnreferencedEach: (pfns, from, to) => {
        for (const pfn of pfns.subarray(from, to)) freeUnreferenced(pfn);
      },
      putPage: (pfn) => {
        if (putPageTestZero(pfn)) freeUnreferenced(pfn);
      },
      adjustManagedPageCount: (_pfn, delta) => {
        cells[CELL.adjusted] -= delta;
      },
    };
  }

  /** The driver's half of virtballoon_migratepage, as guest/drivers/balloon-migration.ts. */
  #migration(): BalloonMigration {
    const pfns = this.#migrationPfn;
    const tell = (queue: ExploredQueue, pfn: number): void => {
      pfns[0] = pfn;
      queue.tell(pfns, 1);
    };
    return {
      acked: new WaitQueue('explored acknowledgement'),
      tryLock: () => this.tryTake(CELL.balloonLock),
      unlock: () => this.give(CELL.balloonLock),
      tellInflate: (pfn) => tell(this.inflate, pfn),
      tellDeflate: (pfn) => tell(this.deflate, pfn),
      inflateAcked: () => this.inflate.getBuf(),
      deflateAcked: () => this.deflate.getBuf(),
    };
  }

  #inflateAtStart(): void {
    const { pages, shape } = this;
    for (let pfn = 0; pfn < this.frameCount; pfn++) {
      pages.states.step(pfn, PAGE_EVENT.claim);
      if (pfn >= shape.pages) {
        pages.states.step(pfn, PAGE_EVENT.cache);
        continue;
      }
      pages.getFirst(pfn);
      this.book.enqueue(pfn);
      this.ledger[pfn] = FRAME_STATE.discarded;
    }
    for (let pfn = 0; pfn < shape.isolated; pfn++) {
      pages.getUnlessZero(pfn);
      this.book.unlinkPage(pfn);
    }
    this.cells[CELL.numPages] = shape.pages;
    this.cells[CELL.actual] = shape.pages;
    this.cells[CELL.target] = shape.pages;
  }
}
