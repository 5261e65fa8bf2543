import { type Scheduler, type Waiting, WaitQueue } from '../../sched/scheduler.ts';
import type { PageMap } from '../page/page-map.ts';
import { type Frames, PG_WRITEBACK } from './frames.ts';

/**
 * Where tasks wait for a page: for its lock, which also covers reading it in and moving it, and
 * for its write-back. A queue exists only while somebody waits.
 *
 * Not emulated: the hashed wait table, and hand-over of the lock to the first waiter.
 */
export class PageWaits {
  readonly #pages: PageMap;
  readonly #frames: Frames;
  readonly #scheduler: Scheduler;
  readonly #lockQueues = new Map<number, WaitQueue>();
  readonly #writebackQueues = new Map<number, WaitQueue>();

  constructor(frames: Frames, scheduler: Scheduler) {
    this.#pages = frames.pages;
    this.#frames = frames;
    this.#scheduler = scheduler;
  }

  /** trylock_page. */
  tryLock(pfn: number): boolean {
    return this.#pages.tryLock(this.#frames.head(pfn));
  }

  /** lock_page. The caller has a reference. */
  *lock(pfn: number): Waiting {
    const head = this.#frames.head(pfn);
    while (!this.#pages.tryLock(head)) yield this.#queue(this.#lockQueues, head, 'page lock');
  }

  /** unlock_page: wakes who waits for the lock, or for what its holder did. */
  unlock(pfn: number): void {
    const head = this.#frames.head(pfn);
    this.#pages.unlock(head);
    this.#wake(this.#lockQueues, head);
  }

  /** wait_on_page_locked, and migration_entry_wait: until the page is unlocked once. */
  *untilUnlocked(pfn: number): Waiting {
    const head = this.#frames.head(pfn);
    if (this.#frames.isLocked(head)) yield this.#queue(this.#lockQueues, head, 'page lock');
  }

  /** end_page_writeback. */
  endWriteback(pfn: number): void {
    this.#frames.clear(pfn, PG_WRITEBACK);
    this.#wake(this.#writebackQueues, pfn);
  }

  /** wait_on_page_writeback. */
  *untilWritten(pfn: number): Waiting {
    while (this.#frames.has(pfn, PG_WRITEBACK)) {
      yield this.#queue(this.#writebackQueues, pfn, 'write-back');
    }
  }

  #queue(queues: Map<number, WaitQueue>, pfn: number, name: string): WaitQueue {
    let queue = queues.get(pfn);
    if (queue === undefined) {
      queue = new WaitQueue(name);
      queues.set(pfn, queue);
    }
    return queue;
  }

  #wake(queues: Map<number, WaitQueue>, pfn: number): void {
    const queue = queues.get(pfn);
    if (queue === undefined) return;
    queues.delete(pfn);
    this.#scheduler.wake(queue);
  }
}
