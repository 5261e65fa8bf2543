import { fail } from '../../shared/lib/assert.ts';
import { PAGE_SIZE } from '../../shared/lib/units.ts';
import { writePfns, writeWritable } from '../../shared/protocol/bodies.ts';
import {
  CONFIG_FREE_PAGE_HINT_CMD_ID,
  VIRTIO_BALLOON_CMD_ID_DONE,
  VIRTIO_BALLOON_CMD_ID_STOP,
} from '../../shared/virtio/balloon.ts';
import type { PageAllocator } from '../mm/page/alloc.ts';
import { __GFP_NOMEMALLOC, __GFP_NORETRY, __GFP_NOWARN } from '../mm/page/gfp.ts';
import { MAX_ORDER } from '../mm/page/page-map.ts';
import type { Shrinker } from '../mm/reclaim/shrinkers.ts';
import { type Flow, runFlow } from '../sched/flow.ts';
import { TICK_MS } from '../sched/jiffies.ts';
import type { Waiting } from '../sched/scheduler.ts';
import { WorkItem, type Workqueue } from '../sched/workqueue.ts';
import { HINT_EVENT, hintLifecycle } from './balloon-flows.ts';
import type { VirtioDevice } from './virtio-device.ts';
import type { Virtqueue } from './virtqueue.ts';

/** VIRTIO_BALLOON_HINT_BLOCK_ORDER: the largest blocks there are, 4 MiB. */
export const HINT_BLOCK_ORDER = MAX_ORDER - 1;
const HINT_BLOCK_PAGES = 1 << HINT_BLOCK_ORDER;
/** VIRTIO_BALLOON_FREE_PAGE_ALLOC_FLAG: no reclaim, not even a wake of kswapd. */
const HINT_GFP = __GFP_NORETRY | __GFP_NOWARN | __GFP_NOMEMALLOC;
/**
 * With a full ring Linux allocates and frees the same block until the host has read the ring. Here
 * it lets a tick pass between two attempts: on virtual time a loop that never waits never ends.
 */
const RING_FULL_WAIT_MS = TICK_MS;

export interface FreePageHintingOptions {
  readonly device: VirtioDevice;
  readonly allocator: PageAllocator;
  readonly workqueue: Workqueue;
}

/**
 * The driver's side of free page hinting, as in Linux 6.1: on a new command id all free blocks of
 * order 10 are allocated and named to the host, and kept until it says DONE, until memory is short
 * (the shrinker), or until the driver goes. It waits for no buffer to come back (N43).
 *
 * Not emulated: writing to a block that is released before DONE (N45): Linux leaves that to
 * whoever uses the pages next.
 */
export class FreePageHinting implements Shrinker {
  readonly #options: FreePageHintingOptions;
  readonly #work: WorkItem;
  #queue: Virtqueue | undefined;
  /** VIRTIO_BALLOON_CONFIG_READ_CMD_ID: the config space has an id that was not read yet. */
  #unread = false;
  #received = VIRTIO_BALLOON_CMD_ID_STOP;
  #active = VIRTIO_BALLOON_CMD_ID_STOP;
  /** free_page_list; the block hinted last is released first. */
  readonly #blocks: number[] = [];

  constructor(options: FreePageHintingOptions) {
    this.#options = options;
    this.#work = new WorkItem('report_free_page', () => this.#reportFreePage());
  }

  /** Pages allocated for hints: 1,024 for each block. */
  get heldPages(): number {
    return this.#blocks.length * HINT_BLOCK_PAGES;
  }

  /** A probe: no round was seen yet. False when the ring has no room for id and block (ENOSPC). */
  probe(queue: Virtqueue): boolean {
    if (queue.size < 2) return false;
    this.#queue = queue;
    this.#unread = false;
    this.#received = VIRTIO_BALLOON_CMD_ID_STOP;
    this.#active = VIRTIO_BALLOON_CMD_ID_STOP;
    return true;
  }

  /** The queue of a restored device; the rounds seen before the suspend stay known. */
  restore(queue: Virtqueue): void {
    this.#queue = queue;
  }

  /** virtio_balloon_queue_free_page_work: the config space changed. */
  changed(): void {
    if (this.#unread || this.#queue === undefined) return;
    this.#unread = true;
    this.#options.workqueue.queue(this.#work);
  }

  /** cancel_work_sync: ends a round before the driver goes. */
  *cancel(): Waiting {
    yield* this.#options.workqueue.cancelSync(this.#work);
  }

  /** Gives back what is held, and knows no queue any more. */
  detach(): void {
    this.#release(this.#blocks.length);
    this.#queue = undefined;
  }

  /** virtio_balloon_shrinker_count, in pages. */
  count(): number {
    return this.heldPages;
  }

  /** virtio_balloon_shrinker_scan: whole blocks, as many as it takes for `pages`. */
  scan(pages: number): number {
    return this.#release(Math.ceil(pages / HINT_BLOCK_PAGES)) * HINT_BLOCK_PAGES;
  }

  look(): number {
    // Queued for a host that is gone; the one there now has no hinting.
    if (this.#queue === undefined) return HINT_EVENT.nothing;
    const id = this.#readId();
    if (id === VIRTIO_BALLOON_CMD_ID_DONE) return HINT_EVENT.finished;
    const isNew = id !== VIRTIO_BALLOON_CMD_ID_STOP && id !== this.#active;
    return isNew ? HINT_EVENT.newRound : HINT_EVENT.nothing;
  }

  /** send_cmd_id_start (N37, N38). */
  start(): number {
    this.#active = this.#readId();
    return this.#sendId(this.#active);
  }

  /** send_free_pages, one turn: ends when the id changed (N41) or no block is left (N42). */
  *hint(): Waiting<number> {
    const queue = this.#bound();
    if (queue.broken || this.#active !== this.#readId()) return HINT_EVENT.ended;
    const { allocator } = this.#options;
    queue.drain();
    const pfn = allocator.alloc(HINT_BLOCK_ORDER, HINT_GFP);
    if (pfn < 0) return HINT_EVENT.ended;
    // One place is kept for the command that ends the round.
    if (queue.numFree > 1) {
      const lengthBytes = HINT_BLOCK_PAGES * PAGE_SIZE;
      queue.addInbuf(writeWritable([{ address: pfn * PAGE_SIZE, lengthBytes }]));
      this.#blocks.push(pfn);
      yield 0;
    } else {
      allocator.free(pfn, HINT_BLOCK_ORDER);
      yield RING_FULL_WAIT_MS;
    }
    return HINT_EVENT.hinted;
  }

  /** send_cmd_id_stop. */
  stop(): number {
    return this.#sendId(VIRTIO_BALLOON_CMD_ID_STOP);
  }

  /** DONE: everything hinted so far is the guest's again (N46). */
  finish(): number {
    this.#release(this.#blocks.length);
    return HINT_EVENT.freed;
  }

  *#reportFreePage(): Waiting {
    yield* runFlow(HINT, this);
  }

  /** virtio_balloon_cmd_id_received: reads config space once for each change of it. */
  #readId(): number {
    if (this.#unread) {
      this.#unread = false;
      this.#received = this.#options.device.readConfig32(CONFIG_FREE_PAGE_HINT_CMD_ID);
    }
    return this.#received;
  }

  #sendId(id: number): number {
    const queue = this.#bound();
    queue.drain();
    queue.addOutbuf(writePfns([id]));
    return HINT_EVENT.told;
  }

  /** return_free_pages_to_mm. */
  #release(blockCount: number): number {
    const count = Math.min(blockCount, this.#blocks.length);
    for (const pfn of this.#blocks.splice(this.#blocks.length - count).reverse()) {
      this.#options.allocator.free(pfn, HINT_BLOCK_ORDER);
    }
    return count;
  }

  #bound(): Virtqueue {
    return this.#queue ?? fail('a hinting round runs only between probe and remove');
  }
}

const HINT: Flow<FreePageHinting> = {
  table: hintLifecycle.table,
  stages: [
    (hinting) => hinting.look(),
    (hinting) => hinting.start(),
    (hinting) => hinting.hint(),
    (hinting) => hinting.stop(),
    (hinting) => hinting.finish(),
    undefined,
  ],
};
