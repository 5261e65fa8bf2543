import { assert } from '../../../shared/lib/assert.ts';
import type { Waiting } from '../../sched/scheduler.ts';
import type { PageAllocator } from '../page/alloc.ts';
import { adoptCompoundPages, DUMPED, DUMPED_KIND, type PageDump } from '../page/page-dump.ts';
import { PAGE_EVENT, PAGE_STATE } from '../page/page-lifecycle.ts';
import { PageVec } from '../reclaim/page-vec.ts';
import { type LruIsolation, type LruPages, MOVE, type MoveResult } from './lru-pages.ts';

/** What is known of a page; a page that came after the dump is anonymous and mapped. */
const FILE = 1;
const UNMAPPED = 2;
/** Somebody unknown has a reference: it cannot be moved. */
const PINNED = 4;
const WRITEBACK = 8;

/**
 * Pages of the processes and files of a recorded guest. Who maps them is not recorded: mappings
 * and references move along as they are, as a frame's reference count stays 1 from allocation to
 * free. What a dump does tell decides which pages can be isolated and moved.
 *
 * Not emulated: the order of the LRU lists, mlock, locked pages.
 */
export class RecordedPages implements LruPages {
  readonly #allocator: PageAllocator;
  readonly #known: Uint8Array;
  readonly #toAdd = new PageVec();
  #isolated = 0;
  /** Told of every page that has moved. */
  onMoved: ((oldPfn: number, newPfn: number) => void) | undefined;

  /** Puts the pages that `dump` has on the LRU there, and joins its compound pages. */
  constructor(allocator: PageAllocator, dump?: PageDump) {
    this.#allocator = allocator;
    this.#known = new Uint8Array(allocator.pages.pageCount);
    if (dump !== undefined) this.#adopt(dump);
  }

  /** A page was allocated: nothing is left of what a dump said about the frame. */
  forget(pfn: number, count: number): void {
    this.#known.fill(0, pfn, pfn + count);
  }

  drain(): void {
    const { states } = this.#allocator.pages;
    for (let index = 0; index < this.#toAdd.count; index++) {
      const pfn = this.#toAdd.pfns[index];
      if (states.stateOf(pfn) === PAGE_STATE.allocated) this.#allocator.lruAdd(pfn);
    }
    this.#toAdd.count = 0;
  }

  tooManyIsolated(): boolean {
    return this.#isolated > this.#allocator.pages.states.countOf(PAGE_STATE.lru) / 2;
  }

  canIsolate(pfn: number, { async, mayEnterFs }: LruIsolation): boolean {
    const known = this.#known[pfn];
    if ((known & FILE) === 0) return (known & PINNED) === 0;
    if (!mayEnterFs) return false;
    return !async || (known & WRITEBACK) === 0;
  }

  isolate(pfn: number): void {
    const { pages } = this.#allocator;
    pages.states.step(pfn, PAGE_EVENT.lruDel);
    assert(pages.getUnlessZero(pfn), 'a page on the LRU has a reference');
    this.#isolated++;
  }

  putback(pfn: number): void {
    this.#isolated--;
    if (this.#toAdd.push(pfn)) this.drain();
    this.#allocator.putPage(pfn);
  }

  isForgotten(pfn: number): boolean {
    return this.#allocator.pages.refcount(pfn) === 1;
  }

  tryLock(pfn: number): boolean {
    return this.#allocator.pages.tryLock(pfn);
  }

  unlock(pfn: number): void {
    this.#allocator.pages.unlock(pfn);
  }

  /** Recorded pages are neither locked by others nor written: there is nothing to wait for. */
  *untilReady(): Waiting {
    yield 0;
  }

  isUnderWriteback(pfn: number): boolean {
    return (this.#known[pfn] & WRITEBACK) !== 0;
  }

  unmap(pfn: number): boolean {
    return (this.#known[pfn] & UNMAPPED) === 0;
  }

  isMapped(): boolean {
    return false;
  }

  /** The owner's reference goes along; the old page keeps that of the isolator. */
  move(oldPfn: number, newPfn: number): MoveResult {
    if ((this.#known[oldPfn] & PINNED) !== 0) return MOVE.again;
    const { pages } = this.#allocator;
    assert(pages.getUnlessZero(newPfn), 'a page to move to has a reference');
    this.#allocator.putPage(oldPfn);
    this.#known[newPfn] = this.#known[oldPfn];
    this.#known[oldPfn] = 0;
    pages.tags[newPfn] = pages.tags[oldPfn];
    this.onMoved?.(oldPfn, newPfn);
    return MOVE.done;
  }

  addToLru(newPfn: number, wasMapped: boolean): void {
    if (this.#toAdd.push(newPfn) || wasMapped) this.drain();
  }

  remap(): void {}

  release(oldPfn: number): void {
    this.#isolated--;
    this.#allocator.putPage(oldPfn);
  }

  put(newPfn: number): void {
    this.#allocator.putPage(newPfn);
  }

  #adopt(dump: PageDump): void {
    const { states } = this.#allocator.pages;
    adoptCompoundPages(this.#allocator.pages, dump);
    for (let pfn = 0; pfn < dump.pageCount; pfn++) {
      if (!dump.has(pfn, DUMPED.lru) || states.stateOf(pfn) !== PAGE_STATE.allocated) continue;
      this.#allocator.lruAdd(pfn);
      this.#known[pfn] = knowledge(dump, pfn);
    }
  }
}

/** References of a page on the LRU that nobody pins: its mappings, the cache's, private data's. */
function knowledge(dump: PageDump, pfn: number): number {
  const isFile = dump.kind(pfn) === DUMPED_KIND.file;
  const mapcount = dump.mapcount(pfn);
  const ownerReferences = isFile ? 1 + (dump.has(pfn, DUMPED.private) ? 1 : 0) : 0;
  const pinned = dump.refcount(pfn) !== mapcount + ownerReferences;
  return (
    (isFile ? FILE : 0) |
    (mapcount === 0 ? UNMAPPED : 0) |
    (pinned ? PINNED : 0) |
    (dump.has(pfn, DUMPED.writeback) ? WRITEBACK : 0)
  );
}
