import { assert, fail } from '../../../shared/lib/assert.ts';
import type { Waiting } from '../../sched/scheduler.ts';
import type { PageAllocator } from '../page/alloc.ts';
import { adoptCompoundPages, FRAME, type RecordedFrames } from '../page/page-dump.ts';
import { PAGE_EVENT, PAGE_STATE } from '../page/page-lifecycle.ts';
import type { Zone } from '../page/zone.ts';
import { PageVec } from '../reclaim/page-vec.ts';
import { type LruIsolation, type LruPages, MOVE, type MoveResult } from './lru-pages.ts';

/**
 * Pages of the processes and files of a recorded guest. Who maps them is not recorded: mappings
 * and references move along as they are, as a frame's reference count stays 1 from allocation to
 * free. What was recorded decides which pages can be isolated and moved; a page that came later is
 * taken for anonymous and mapped.
 *
 * Not emulated: the order of the LRU lists, mlock, locked pages, how long a write takes.
 */
export class RecordedPages implements LruPages {
  readonly #allocator: PageAllocator;
  /** FRAME bits of recorded pages, which go along with them; 0 for pages that came later. */
  readonly #known: Uint8Array;
  readonly #toAdd = new PageVec();
  #isolated = 0;
  /** Told of every page that has moved. */
  onMoved: ((oldPfn: number, newPfn: number) => void) | undefined;

  /** Puts the pages that were on the LRU there, and joins compound pages. */
  constructor(allocator: PageAllocator, frames: RecordedFrames) {
    this.#allocator = allocator;
    const { pages } = allocator;
    this.#known = new Uint8Array(pages.pageCount);
    adoptCompoundPages(pages, frames);
    for (let pfn = 0; pfn < frames.pageCount; pfn++) {
      const known = frames.describe(pfn);
      const isOnLru = (known & FRAME.lru) !== 0;
      if (!isOnLru || pages.states.stateOf(pfn) !== PAGE_STATE.allocated) continue;
      allocator.lruAdd(pfn);
      this.#known[pfn] = known;
    }
  }

  /** The frames were allocated: nothing that was recorded of them holds any more. */
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

  disableCache(): void {
    fail('nobody takes a range out of a recorded guest');
  }

  enableCache(): void {
    fail('nobody took a range out of a recorded guest');
  }

  reclaimablePages(zone: Zone): number {
    const { states } = this.#allocator.pages;
    let count = 0;
    for (let pfn = zone.startPfn; pfn < zone.endPfn; pfn++) {
      const isFile = (this.#known[pfn] & (FRAME.file | FRAME.swapbacked)) === FRAME.file;
      if (isFile && states.stateOf(pfn) === PAGE_STATE.lru) count++;
    }
    return count;
  }

  tooManyIsolated(): boolean {
    return this.#isolated > this.#allocator.pages.states.countOf(PAGE_STATE.lru) / 2;
  }

  canIsolate(pfn: number, { async, mayEnterFs }: LruIsolation): boolean {
    const isPinned = this.#is(pfn, FRAME.pinned);
    if (!this.#is(pfn, FRAME.file)) return !isPinned;
    return mayEnterFs && !(async && this.#is(pfn, FRAME.writeback));
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

  /** Nobody else locks recorded pages. One that was being written is when it is waited for. */
  *untilReady(pfn: number): Waiting {
    this.#known[pfn] &= ~FRAME.writeback;
    yield 0;
  }

  isUnderWriteback(pfn: number): boolean {
    return this.#is(pfn, FRAME.writeback);
  }

  unmap(pfn: number): boolean {
    return this.#known[pfn] === 0 || this.#is(pfn, FRAME.mapped);
  }

  isMapped(): boolean {
    return false;
  }

  /** Huge pages of a recorded guest are not isolated, so that nobody asks for it. */
  split(): undefined {
    return fail('huge pages of a recorded guest stay where they are');
  }

  prepareHuge(): void {
    fail('huge pages of a recorded guest are not moved');
  }

  /** The owner's reference goes along; the old page keeps that of the isolator. */
  move(oldPfn: number, newPfn: number): MoveResult {
    if (this.#is(oldPfn, FRAME.pinned)) return MOVE.again;
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

  #is(pfn: number, what: number): boolean {
    return (this.#known[pfn] & what) !== 0;
  }
}
