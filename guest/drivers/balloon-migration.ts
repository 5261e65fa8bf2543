import { fail } from '../../shared/lib/assert.ts';
import type { BalloonMigration } from '../mm/balloon/book.ts';
import type { Mutex } from '../sched/mutex.ts';
import type { WaitQueue } from '../sched/scheduler.ts';
import type { Virtqueue } from './virtqueue.ts';

/**
 * The driver's half of virtballoon_migratepage (3.9 of the facts): one page on the inflate queue,
 * one on the deflate queue, each in a buffer of its own, under balloon_lock. `num_pages` and
 * `actual` stay what they are: the balloon is as large as before.
 */
export class BatchMigration implements BalloonMigration {
  readonly acked: WaitQueue;
  readonly #lock: Mutex;
  readonly #pfn = new Int32Array(1);
  readonly #pfnBytes = new Uint8Array(this.#pfn.buffer);
  #inflate: Virtqueue | undefined;
  #deflate: Virtqueue | undefined;

  constructor(lock: Mutex, acked: WaitQueue) {
    this.#lock = lock;
    this.acked = acked;
  }

  attach(inflate: Virtqueue, deflate: Virtqueue): void {
    this.#inflate = inflate;
    this.#deflate = deflate;
  }

  tryLock(): boolean {
    return this.#lock.tryLock();
  }

  unlock(): void {
    this.#lock.unlock();
  }

  tellInflate(pfn: number): void {
    this.#tell(this.#inflate, pfn);
  }

  tellDeflate(pfn: number): void {
    this.#tell(this.#deflate, pfn);
  }

  inflateAcked(): boolean {
    return bound(this.#inflate).getBuf();
  }

  deflateAcked(): boolean {
    return bound(this.#deflate).getBuf();
  }

  #tell(queue: Virtqueue | undefined, pfn: number): void {
    this.#pfn[0] = pfn;
    bound(queue).addOutbuf(this.#pfnBytes);
  }
}

function bound(queue: Virtqueue | undefined): Virtqueue {
  return queue ?? fail('pages are migrated only between probe and remove');
}
