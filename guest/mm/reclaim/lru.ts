import { assert } from '../../../shared/lib/assert.ts';
import type { PageAllocator } from '../page/alloc.ts';
import { PAGE_EVENT, PAGE_STATE } from '../page/page-lifecycle.ts';
import { listAdd, listDel, listPrevious } from '../page/page-list.ts';
import { zoneIndexOf } from '../page/zone.ts';
import {
  type Frames,
  PG_ACTIVE,
  PG_DIRTY,
  PG_ISOLATED,
  PG_MLOCKED,
  PG_REFERENCED,
  PG_SWAPBACKED,
  PG_UNEVICTABLE,
} from '../space/frames.ts';
import type { Vmstat } from '../vmstat.ts';
import { LruLists, type LruListsOptions } from './lru-lists.ts';
import { PageVec } from './page-vec.ts';

/** Pages freed at a time: no more than the batches of PageRefs hold. */
const RELEASE_BATCH = 256;

export interface LruOptions extends LruListsOptions {
  /** release_pages: drops one reference of each page. */
  readonly release: (pfns: Int32Array, count: number) => void;
}

/**
 * The LRU lists of the one node as Linux 6.1 keeps them: new pages wait in a batch of 15 that holds
 * a reference of each, then become the first of their inactive list.
 *
 * Not emulated: multi-generation LRU, memory control groups, the batches for deactivation, lazy
 * free, rotation and mlock (what they do happens at once), working-set detection.
 */
export class Lru {
  readonly lists: LruLists;
  readonly #frames: Frames;
  readonly #allocator: PageAllocator;
  readonly #vmstat: Vmstat;
  readonly #release: (pfns: Int32Array, count: number) => void;
  readonly #toAdd = new PageVec();
  readonly #toActivate = new PageVec();
  readonly #one = new Int32Array(1);
  /** Who wants no page to wait in a batch (lru_disable_count). */
  #cacheDisabled = 0;

  constructor(options: LruOptions) {
    this.#frames = options.frames;
    this.#allocator = options.allocator;
    this.#vmstat = options.vmstat;
    this.#release = options.release;
    this.lists = new LruLists(options);
  }

  /** PageLRU. */
  has(pfn: number): boolean {
    return this.#frames.pages.states.stateOf(pfn) === PAGE_STATE.lru;
  }

  /** folio_add_lru: on its list with the rest of the batch; a huge page at once. */
  add(pfn: number): void {
    this.#frames.get(pfn);
    const full = this.#toAdd.push(pfn);
    if (full || this.#cacheDisabled > 0 || this.#frames.order(pfn) > 0) this.#drainAdd();
  }

  /** lru_add_drain. */
  drain(): void {
    this.#drainAdd();
    this.#drainActivate();
  }

  /** lru_cache_disable: the batches are empty, and stay so until as many calls of enableCache. */
  disableCache(): void {
    this.#cacheDisabled++;
    this.drain();
  }

  enableCache(): void {
    this.#cacheDisabled--;
    assert(this.#cacheDisabled >= 0, 'batches of the LRU are used again by who forbade it');
  }

  /** References that the batches hold of a page, for checks. */
  batchReferences(pfn: number): number {
    return this.#toAdd.countOf(pfn) + this.#toActivate.countOf(pfn);
  }

  /** Does a batch hold pages? */
  get pending(): boolean {
    return this.#toAdd.count + this.#toActivate.count > 0;
  }

  /** mark_page_accessed: the second access makes a page active. */
  markAccessed(pfn: number): void {
    const frames = this.#frames;
    if (!frames.has(pfn, PG_REFERENCED)) {
      frames.set(pfn, PG_REFERENCED);
      return;
    }
    if (frames.has(pfn, PG_UNEVICTABLE | PG_ACTIVE)) return;
    if (this.has(pfn)) this.activate(pfn);
    else if (this.#toAdd.has(pfn)) frames.set(pfn, PG_ACTIVE);
    frames.clear(pfn, PG_REFERENCED);
  }

  /** folio_activate: with the next full batch. */
  activate(pfn: number): void {
    const frames = this.#frames;
    if (!this.has(pfn) || frames.has(pfn, PG_ACTIVE | PG_UNEVICTABLE)) return;
    frames.get(pfn);
    const full = this.#toActivate.push(pfn);
    if (full || this.#cacheDisabled > 0 || frames.order(pfn) > 0) this.#drainActivate();
  }

  /**
   * folio_isolate_lru with NR_ISOLATED: the caller gets a reference and the page to itself. False
   * when somebody else has it, or it is in a batch.
   */
  isolate(pfn: number): boolean {
    if (!this.has(pfn)) return false;
    const frames = this.#frames;
    this.lists.del(pfn);
    this.#stepLruDel(pfn);
    frames.get(pfn);
    frames.set(pfn, PG_ISOLATED);
    this.#countIsolated(pfn, frames.pageCount(pfn));
    return true;
  }

  /**
   * isolate_lru_folios: takes pages from the end of a list until `count` were looked at, and puts
   * them into `taken` in that order. Pages of zones above `highestZone` go to the list's beginning
   * and are not counted. Returns the pages it went over.
   */
  isolateFromEnd(lru: number, count: number, highestZone: number, taken: number[]): number {
    const { words } = this.#frames;
    const list = this.lists.head(lru);
    const skipped: number[] = [];
    let scanned = 0;
    let passed = 0;
    for (let pfn = listPrevious(words, list); scanned < count && pfn !== list; ) {
      const pages = this.#frames.pageCount(pfn);
      passed += pages;
      if (zoneIndexOf(pfn) > highestZone) {
        listDel(words, pfn);
        skipped.push(pfn);
      } else {
        scanned += pages;
        this.isolate(pfn);
        taken.push(pfn);
      }
      pfn = listPrevious(words, list);
    }
    for (const pfn of skipped) listAdd(words, pfn, list);
    return passed;
  }

  /**
   * move_folios_to_lru: isolated pages become the first of the lists their flags name, one after
   * the other, and lose the isolator's reference; those nobody else refers to are freed.
   */
  putbackAll(pfns: readonly number[]): void {
    const frames = this.#frames;
    const last: number[] = [];
    for (const pfn of pfns) {
      if (frames.has(pfn, PG_MLOCKED)) {
        this.putback(pfn);
        continue;
      }
      this.endIsolation(pfn);
      if (frames.refcount(pfn) === 1) {
        last.push(pfn);
        continue;
      }
      this.#allocator.lruAdd(pfn, frames.order(pfn));
      this.lists.add(pfn);
      this.#one[0] = pfn;
      this.#release(this.#one, 1);
    }
    this.releaseAll(last);
  }

  /** Drops a reference of each page, the last pages' first where they are freed. */
  releaseAll(pfns: readonly number[]): void {
    for (let end = pfns.length; end > 0; end -= RELEASE_BATCH) {
      const part = Int32Array.from(pfns.slice(Math.max(0, end - RELEASE_BATCH), end));
      this.#release(part, part.length);
    }
  }

  /** folio_rotate_reclaimable: written at last, it is the next page that reclaim looks at. */
  rotate(pfn: number): void {
    const frames = this.#frames;
    const isBusy = frames.has(pfn, PG_DIRTY | PG_UNEVICTABLE) || frames.isLocked(pfn);
    if (!this.has(pfn) || isBusy) return;
    this.lists.del(pfn);
    frames.clear(pfn, PG_ACTIVE);
    this.lists.addTail(pfn);
    this.#vmstat.pgrotated += frames.pageCount(pfn);
  }

  /** folio_putback_lru: back to its list through the batch, the isolator's reference is dropped. */
  putback(pfn: number): void {
    this.endIsolation(pfn);
    this.add(pfn);
    this.#one[0] = pfn;
    this.#release(this.#one, 1);
  }

  /** The part of migrate_folio_done: the page has moved away and nobody puts it back. */
  endIsolation(pfn: number): void {
    const frames = this.#frames;
    assert(frames.has(pfn, PG_ISOLATED), 'only an isolated page is put back or moves away');
    frames.clear(pfn, PG_ISOLATED);
    this.#countIsolated(pfn, -frames.pageCount(pfn));
  }

  /** mlock_page for one more locked VMA that maps the page. */
  mlock(pfn: number): void {
    const frames = this.#frames;
    // A page still in the batch has to be counted on its list before one more VMA counts.
    if (this.#toAdd.has(pfn)) this.drain();
    if (!frames.testAndSet(pfn, PG_MLOCKED)) {
      this.#vmstat.nr_mlock += frames.pageCount(pfn);
      this.#vmstat.unevictable_pgs_mlocked += frames.pageCount(pfn);
    }
    if (!this.has(pfn)) return;
    if (frames.has(pfn, PG_UNEVICTABLE)) {
      frames.words[(pfn << 2) + 1]++;
      return;
    }
    this.lists.del(pfn);
    this.#linkNew(pfn);
  }

  /** mlock_new_page: a page that is about to be added to the LRU. */
  mlockNew(pfn: number): void {
    this.mlock(pfn);
    this.add(pfn);
  }

  /** munlock_page: one locked VMA less; without any the page may be reclaimed again. */
  munlock(pfn: number): void {
    const frames = this.#frames;
    if (this.#toAdd.has(pfn)) this.drain();
    const listed = this.has(pfn) && frames.has(pfn, PG_UNEVICTABLE);
    if (listed && --frames.words[(pfn << 2) + 1] > 0) return;
    if (!frames.testAndClear(pfn, PG_MLOCKED)) return;
    this.#vmstat.nr_mlock -= frames.pageCount(pfn);
    this.#vmstat.unevictable_pgs_munlocked += frames.pageCount(pfn);
    if (!listed) return;
    this.lists.del(pfn);
    frames.clear(pfn, PG_UNEVICTABLE);
    this.#vmstat.unevictable_pgs_rescued += frames.pageCount(pfn);
    this.lists.add(pfn);
  }

  /** clear_page_mlock for a page that is freed while it is locked. */
  forgetMlock(pfn: number): void {
    if (!this.#frames.testAndClear(pfn, PG_MLOCKED)) return;
    this.#vmstat.nr_mlock -= this.#frames.pageCount(pfn);
    this.#vmstat.unevictable_pgs_munlocked += this.#frames.pageCount(pfn);
  }

  /** lru_add_fn for everything in the batch; then its references go. */
  #drainAdd(): void {
    const batch = this.#toAdd;
    if (batch.count === 0) return;
    for (let index = 0; index < batch.count; index++) {
      const pfn = batch.pfns[index];
      this.#allocator.lruAdd(pfn, this.#frames.order(pfn));
      this.#linkNew(pfn);
    }
    this.#releaseBatch(batch);
  }

  /** folio_activate_fn for everything in the batch. */
  #drainActivate(): void {
    const batch = this.#toActivate;
    if (batch.count === 0) return;
    const frames = this.#frames;
    for (let index = 0; index < batch.count; index++) {
      const pfn = batch.pfns[index];
      if (!this.has(pfn) || frames.has(pfn, PG_ACTIVE | PG_UNEVICTABLE)) continue;
      this.lists.del(pfn);
      frames.set(pfn, PG_ACTIVE);
      this.lists.add(pfn);
      this.#vmstat.pgactivate += frames.pageCount(pfn);
    }
    this.#releaseBatch(batch);
  }

  #releaseBatch(batch: PageVec): void {
    const count = batch.count;
    batch.count = 0;
    this.#release(batch.pfns, count);
  }

  /** Links a page that was on no list; one that is locked in memory goes to the unevictable. */
  #linkNew(pfn: number): void {
    const frames = this.#frames;
    const wasUnevictable = frames.testAndClear(pfn, PG_UNEVICTABLE);
    if (frames.has(pfn, PG_MLOCKED)) {
      frames.clear(pfn, PG_ACTIVE);
      frames.set(pfn, PG_UNEVICTABLE);
      if (!wasUnevictable) this.#vmstat.unevictable_pgs_culled += frames.pageCount(pfn);
    } else if (wasUnevictable) {
      this.#vmstat.unevictable_pgs_rescued += frames.pageCount(pfn);
    }
    this.lists.add(pfn);
  }

  #countIsolated(pfn: number, delta: number): void {
    const anon = this.#frames.has(pfn, PG_SWAPBACKED);
    this.#vmstat[anon ? 'nr_isolated_anon' : 'nr_isolated_file'] += delta;
  }

  #stepLruDel(pfn: number): void {
    const { states } = this.#frames.pages;
    const count = this.#frames.pageCount(pfn);
    if (count === 1) states.step(pfn, PAGE_EVENT.lruDel);
    else states.stepRange(pfn, count, PAGE_EVENT.lruDel);
  }
}
