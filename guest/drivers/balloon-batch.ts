import { fail } from '../../shared/lib/assert.ts';
import type { Log } from '../../shared/lib/log.ts';
import { ARRAY_PFNS_MAX } from '../../shared/limits.ts';
import type { BalloonDevInfo } from '../mm/balloon/balloon-dev-info.ts';
import type { PageAllocator } from '../mm/page/alloc.ts';
import { type Flow, runFlow } from '../sched/flow.ts';
import { msleepMs, TICK_MS } from '../sched/jiffies.ts';
import { Mutex } from '../sched/mutex.ts';
import { type Scheduler, type Waiting, WaitQueue } from '../sched/scheduler.ts';
import { FILL_EVENT, fillLifecycle, LEAK_EVENT, leakLifecycle } from './balloon-flows.ts';
import { BatchMigration } from './balloon-migration.ts';
import type { Virtqueue } from './virtqueue.ts';

/** Pause after a failed allocation: msleep(200) in fill_balloon, in ticks 204 to 208 ms. */
export const OUT_OF_PUFF_SLEEP_MS = 200;

export interface BalloonBatchOptions {
  readonly allocator: PageAllocator;
  readonly scheduler: Scheduler;
  readonly log: Log;
  /**
   * The part of an allocation that may wait, for one page: its PFN or -1. Left out: a request that
   * would have to wait for memory fails.
   */
  readonly allocSlow?: ((gfp: number) => Waiting<number>) | undefined;
}

/** The queues of one probe and the book the pages go to. */
export interface BalloonQueues {
  readonly inflate: Virtqueue;
  readonly deflate: Virtqueue;
  readonly book: BalloonDevInfo;
}

/**
 * fill_balloon and leak_balloon of Linux 6.1: one batch of at most 256 pages under `balloon_lock`,
 * told to the host and waited for. Allocation happens before the lock is taken; pages given back
 * are freed only after the host has acknowledged, whether MUST_TELL_HOST is negotiated or not.
 *
 * With balloon compaction of 2012 a batch has the order it had then. Not emulated: that driver held
 * the lock while it allocated and paused.
 */
export class BalloonBatch {
  readonly options: BalloonBatchOptions;
  /** vb->num_pages: raised before the host is told of an inflation. */
  numPages = 0;
  /** "Out of puff!" pauses so far. */
  outOfPuffCount = 0;
  /** What a book needs to have its pages migrated by this driver. */
  readonly migration: BatchMigration;
  readonly #lock: Mutex;
  readonly #acked = new WaitQueue('balloon: acknowledgement');
  /** Pages of this batch in the order they were taken; the driver's local list is its reverse. */
  readonly #pages = new Int32Array(ARRAY_PFNS_MAX);
  #pageCount = 0;
  #wanted = 0;
  /** Pages of the last fill that the host was told of, counted while the lock was held. */
  #filledCount = 0;
  /** vb->pfns, the lock holder's: what goes into the buffer, little-endian words. */
  readonly #pfns = new Int32Array(ARRAY_PFNS_MAX);
  readonly #pfnBytes = new Uint8Array(this.#pfns.buffer);
  #pfnCount = 0;
  #queues: BalloonQueues | undefined;

  constructor(options: BalloonBatchOptions) {
    this.options = options;
    this.#lock = new Mutex(options.scheduler, 'balloon_lock');
    this.migration = new BatchMigration(this.#lock, this.#acked);
  }

  /** Binds the batch to the queues and the book of a probe or restore. */
  attach(queues: BalloonQueues): void {
    this.#queues = queues;
    this.migration.attach(queues.inflate, queues.deflate);
    for (const queue of [queues.inflate, queues.deflate]) {
      queue.onUsed = () => this.options.scheduler.wake(this.#acked);
    }
  }

  /** fill_balloon: returns how many pages the host was told of, fewer when out of puff. */
  *fill(pages: number): Waiting<number> {
    this.#wanted = Math.min(pages, ARRAY_PFNS_MAX);
    this.#pageCount = 0;
    this.#filledCount = 0;
    yield* runFlow(FILL, this);
    return this.#filledCount;
  }

  /** leak_balloon: returns how many pages were given back, fewer when pages are isolated. */
  *leak(pages: number): Waiting<number> {
    yield* this.#lock.lock();
    this.#wanted = Math.min(pages, ARRAY_PFNS_MAX, this.numPages);
    this.#pfnCount = 0;
    yield* runFlow(LEAK, this);
    const leaked = this.#pfnCount;
    this.#lock.unlock();
    return leaked;
  }

  /**
   * Takes over a balloon that a recorded guest had inflated: its pages, oldest first, are allocated
   * and out of the managed ones already. The host is to be told with `announce`.
   */
  adopt(pfns: readonly number[]): void {
    const { book } = this.#bound();
    for (const pfn of pfns) book.adopt(pfn);
    this.numPages += pfns.length;
  }

  /**
   * From here to `announce` the host, who knows nothing yet, is told of no other page, and no page
   * is on its way from one place to another.
   */
  *hold(): Waiting {
    yield* this.#lock.lock();
    // Nothing of the balloon migrates under the lock: what is isolated is put back, at the latest
    // when another device's host has answered.
    while (this.#bound().book.isolatedPages > 0) yield TICK_MS;
  }

  /**
   * Puff's extension for a host that knows nothing of this balloon: tells every page on the list
   * again, oldest first, in batches of 256. VIRTIO has no message for it. After `hold`.
   */
  *announce(): Waiting {
    const { book, inflate } = this.#bound();
    this.#pfnCount = 0;
    for (const pfn of [...book.pfns()]) {
      this.#pfns[this.#pfnCount++] = pfn;
      if (this.#pfnCount === ARRAY_PFNS_MAX) yield* this.#tellBatch(inflate);
    }
    if (this.#pfnCount > 0) yield* this.#tellBatch(inflate);
    this.#lock.unlock();
  }

  /**
   * Without any lock: up to 256 pages, one by one. Where there is none it reclaims by itself, once,
   * before it is out of puff: recorded are 12 allocation stalls in 12 attempts.
   */
  *allocate(): Waiting<number> {
    const { allocator, allocSlow } = this.options;
    for (;;) {
      this.#pageCount = allocator.allocBalloonPages(this.#pages, this.#pageCount, this.#wanted);
      if (this.#pageCount === this.#wanted) return FILL_EVENT.full;
      const pfn = allocSlow === undefined ? -1 : yield* allocSlow(allocator.balloonGfp);
      if (pfn < 0) return FILL_EVENT.outOfPuff;
      this.#pages[this.#pageCount++] = pfn;
    }
  }

  *pause(): Waiting<number> {
    this.outOfPuffCount++;
    const missing = this.#wanted - this.#pageCount;
    this.options.log.info({ pages: missing }, `Out of puff! Can't get ${missing} pages`);
    yield msleepMs(this.options.scheduler.clock.now(), OUT_OF_PUFF_SLEEP_MS);
    return FILL_EVENT.woken;
  }

  /** 6.1's local list is popped from its head: the page allocated last is told first (recorded). */
  *enqueue(): Waiting<number> {
    yield* this.#lock.lock();
    this.#pfnCount = 0;
    const { book } = this.#bound();
    const inOrder = book.generation.batchesInOrder;
    for (let count = 0; count < this.#pageCount; count++) {
      const pfn = this.#pages[inOrder ? count : this.#pageCount - 1 - count];
      book.enqueue(pfn);
      this.#pfns[this.#pfnCount++] = pfn;
    }
    this.numPages += this.#pfnCount;
    this.#filledCount = this.#pfnCount;
    if (this.#pfnCount > 0) return FILL_EVENT.some;
    this.#lock.unlock();
    return FILL_EVENT.none;
  }

  *tellInflate(): Waiting<number> {
    yield* this.#tellHost(this.#bound().inflate);
    this.#lock.unlock();
    return FILL_EVENT.acked;
  }

  dequeue(): number {
    const { book } = this.#bound();
    this.#pfnCount = book.dequeueEach(this.#pfns, 0, this.#wanted);
    this.numPages -= this.#pfnCount;
    return this.#pfnCount > 0 ? LEAK_EVENT.some : LEAK_EVENT.none;
  }

  *tellDeflate(): Waiting<number> {
    yield* this.#tellHost(this.#bound().deflate);
    return LEAK_EVENT.acked;
  }

  /** release_pages_balloon: in 6.1 in the reverse of the order told (recorded). */
  release(): number {
    const { book } = this.#bound();
    const pfns = this.#pfns.subarray(0, this.#pfnCount);
    if (!book.generation.batchesInOrder) pfns.reverse();
    book.releaseEach(pfns);
    return LEAK_EVENT.freed;
  }

  /** tell_host: one buffer, then sleep until it comes back; there is no time-out. */
  *#tellHost(queue: Virtqueue): Waiting {
    queue.addOutbuf(this.#pfnBytes.subarray(0, 4 * this.#pfnCount));
    while (!queue.getBuf()) yield this.#acked;
  }

  *#tellBatch(queue: Virtqueue): Waiting {
    yield* this.#tellHost(queue);
    this.#pfnCount = 0;
  }

  #bound(): BalloonQueues {
    return this.#queues ?? fail('a batch runs only between probe and remove');
  }
}

const FILL: Flow<BalloonBatch> = {
  table: fillLifecycle.table,
  stages: [
    (batch) => batch.allocate(),
    (batch) => batch.pause(),
    (batch) => batch.enqueue(),
    (batch) => batch.tellInflate(),
    undefined,
  ],
};

const LEAK: Flow<BalloonBatch> = {
  table: leakLifecycle.table,
  stages: [
    (batch) => batch.dequeue(),
    (batch) => batch.tellDeflate(),
    (batch) => batch.release(),
    undefined,
  ],
};
