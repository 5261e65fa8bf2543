import { assert } from '../../../shared/lib/assert.ts';
import type { PageAllocator } from '../page/alloc.ts';
import { PAGE_STATE } from '../page/page-lifecycle.ts';
import { REFCOUNT_WORD } from '../page/page-map.ts';
import { Lru } from '../reclaim/lru.ts';
import type { Vmstat } from '../vmstat.ts';
import type { Frames } from './frames.ts';

/** Pages freed at a time, at most one batch of an mmu_gather. */
const MAX_BATCH = 512;

/**
 * Drops references of pages that may be mapped, cached or on the LRU. Whoever drops the last takes
 * the page off the LRU, clears what address spaces kept about it and frees it; many at a time go
 * to the allocator in the reverse of their order, as release_pages leaves them.
 */
export class PageRefs {
  readonly lru: Lru;
  readonly #frames: Frames;
  readonly #allocator: PageAllocator;
  readonly #last = new Int32Array(MAX_BATCH);
  /** Called when a huge page is about to be freed. */
  readonly #onFreeHuge: (head: number) => void;

  constructor(
    frames: Frames,
    allocator: PageAllocator,
    vmstat: Vmstat,
    onFreeHuge: (head: number) => void,
  ) {
    this.#frames = frames;
    this.#allocator = allocator;
    this.#onFreeHuge = onFreeHuge;
    const release = (pfns: Int32Array, count: number): void => this.release(pfns, count);
    this.lru = new Lru({ frames, allocator, vmstat, release });
  }

  /** put_page; of a frame of a huge page it drops a reference of its head. */
  put(pfn: number): void {
    const head = this.#frames.head(pfn);
    if (this.#dropUnlessLast(head)) return;
    this.#finish(head);
    this.#allocator.putPage(head);
  }

  /** release_pages: `count` pages, each with a reference to drop; at most 512. */
  release(pfns: Int32Array, count: number): void {
    assert(count <= MAX_BATCH, 'pages are released in batches of at most 512');
    let at = MAX_BATCH;
    for (let index = 0; index < count; index++) {
      const head = this.#frames.head(pfns[index]);
      if (this.#dropUnlessLast(head)) continue;
      const huge = this.#frames.order(head) > 0;
      this.#finish(head);
      if (huge) this.#allocator.putPage(head);
      else this.#last[--at] = head;
    }
    if (at < MAX_BATCH) this.#allocator.freeList(this.#last.subarray(at), MAX_BATCH - at);
  }

  #dropUnlessLast(head: number): boolean {
    const { words } = this.#frames;
    const at = (head << 2) + REFCOUNT_WORD;
    assert(words[at] > 0, 'a reference is dropped by somebody who has one');
    if (words[at] === 1) return false;
    words[at]--;
    return true;
  }

  /** __page_cache_release and what free_pages_prepare checks and clears. */
  #finish(head: number): void {
    const frames = this.#frames;
    if (frames.pages.states.stateOf(head) === PAGE_STATE.lru) this.lru.lists.del(head);
    this.lru.forgetMlock(head);
    if (frames.order(head) > 0) this.#onFreeHuge(head);
    frames.forget(head);
  }
}
