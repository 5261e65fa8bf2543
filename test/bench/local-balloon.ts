import { BalloonBatch } from '../../guest/drivers/balloon-batch.ts';
import { Virtqueue } from '../../guest/drivers/virtqueue.ts';
import type { GuestMemory } from '../../guest/mm/memory.ts';
import { GFP_HIGHUSER_MOVABLE } from '../../guest/mm/page/gfp.ts';
import { Scheduler, type Waiting } from '../../guest/sched/scheduler.ts';
import { VirtualClock } from '../../shared/lib/clock.ts';
import { SILENT } from '../../shared/lib/log.ts';
import { PausableClock } from '../../shared/lib/pausable-clock.ts';
import { Prng } from '../../shared/lib/prng.ts';
import { QUEUE_SIZE_BALLOON } from '../../shared/limits.ts';
import { type GuestToHost, Op } from '../../shared/protocol/messages.ts';

const SEED = 1;

/** A guest's balloon without the wire: the host acknowledges while it is being told. */
export class LocalBalloon {
  readonly #batch: BalloonBatch;
  readonly #scheduler: Scheduler;
  readonly #queues: readonly Virtqueue[];

  /** `scheduler` is the one that compaction runs on, where there is any. */
  constructor(
    memory: GuestMemory,
    scheduler = new Scheduler(new PausableClock(new VirtualClock())),
  ) {
    this.#scheduler = scheduler;
    const { allocator } = memory;
    this.#batch = new BalloonBatch({ allocator, scheduler: this.#scheduler, log: SILENT });
    const port = { send: (message: GuestToHost) => this.#answer(message) };
    this.#queues = ['inflate', 'deflate'].map((name, index) => {
      return new Virtqueue({ name, index, size: QUEUE_SIZE_BALLOON, port });
    });
    const [inflate, deflate] = this.#queues;
    const { migration } = this.#batch;
    const book = memory.newBalloon({ adjustManagedPageCount: true, migration });
    this.#batch.attach({ inflate, deflate, book });
  }

  inflate(pageCount: number): void {
    this.#run((left) => this.#batch.fill(left), pageCount);
  }

  /** Takes what is to be had without waiting for more. */
  inflateAll(): void {
    this.#scheduler.spawn('resize', takeAll(this.#batch));
    this.#scheduler.run();
  }

  deflate(pageCount: number): void {
    this.#run((left) => this.#batch.leak(left), pageCount);
  }

  #run(batch: (left: number) => Waiting<number>, pageCount: number): void {
    const before = this.#batch.numPages;
    this.#scheduler.spawn('resize', resizeBy(batch, pageCount));
    this.#scheduler.run();
    const moved = Math.abs(this.#batch.numPages - before);
    if (moved !== pageCount) throw new Error(`${moved} pages of ${pageCount} were moved`);
  }

  #answer(message: GuestToHost): void {
    if (message[0] === Op.avail) this.#queues[message[1]].returned(message[2]);
  }
}

/** Short of pages a batch pauses before it tells what it has: nobody wakes it up here. */
function* takeAll(batch: BalloonBatch): Waiting {
  const { allocator } = batch.options;
  const most = allocator.zones.reduce((sum, zone) => sum + zone.freePages, 0);
  yield* resizeBy((left) => batch.fill(left), most);
}

function* resizeBy(batch: (left: number) => Waiting<number>, pageCount: number): Waiting {
  for (let left = pageCount; left > 0; ) left -= yield* batch(left);
}

/** PFNs 0 to `count` - 1 in a random order. */
export function shuffled(count: number): Int32Array {
  const prng = new Prng(SEED);
  const order = Int32Array.from({ length: count }, (_, index) => index);
  for (let index = count - 1; index > 0; index--) {
    const other = prng.below(index + 1);
    [order[index], order[other]] = [order[other], order[index]];
  }
  return order;
}

/** Takes all pages there are and gives half of them back in a random order; returns the others. */
export function scatter({ allocator, pages }: GuestMemory): Int32Array {
  const taken = new Int32Array(pages.states.size);
  let count = 0;
  for (;;) {
    const pfn = allocator.alloc(0, GFP_HIGHUSER_MOVABLE);
    if (pfn < 0) break;
    taken[count++] = pfn;
  }
  const order = shuffled(count);
  const half = count >> 1;
  for (let index = 0; index < half; index++) allocator.free(taken[order[index]], 0);
  return order.subarray(half).map((index) => taken[index]);
}
