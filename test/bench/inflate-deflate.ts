import { BalloonBatch } from '../../guest/drivers/balloon-batch.ts';
import { Virtqueue } from '../../guest/drivers/virtqueue.ts';
import type { BalloonDevInfo } from '../../guest/mm/balloon/balloon-dev-info.ts';
import { GuestMemory } from '../../guest/mm/memory.ts';
import { GFP_HIGHUSER_MOVABLE } from '../../guest/mm/page/gfp.ts';
import { Scheduler, type Waiting } from '../../guest/sched/scheduler.ts';
import { VirtualClock } from '../../shared/lib/clock.ts';
import { SILENT } from '../../shared/lib/log.ts';
import { PausableClock } from '../../shared/lib/pausable-clock.ts';
import { Prng } from '../../shared/lib/prng.ts';
import { GIB, PAGE_SIZE } from '../../shared/lib/units.ts';
import { QUEUE_SIZE_BALLOON } from '../../shared/limits.ts';
import { type GuestToHost, Op } from '../../shared/protocol/messages.ts';
import { type Contender, inTurns, millions, nowNs } from './measure.ts';
import { AosBalloon } from './raw/aos-balloon.ts';
import { atLeast, type Report, type Row } from './report.ts';

const GUEST_BYTES = 16 * GIB;
const LARGEST_BYTES = 64 * GIB;
const PAGES = GUEST_BYTES / PAGE_SIZE;
/** A quarter of memory: half of the free half. */
const MOVED_PAGES = PAGES / 4;
const ROUNDS = 5;
const SEED = 1;

/** A guest's balloon without the wire: the host acknowledges while it is being told. */
class LocalBalloon {
  readonly #batch: BalloonBatch;
  readonly #scheduler: Scheduler;
  readonly #queues: readonly Virtqueue[];

  constructor(memory: GuestMemory) {
    this.#scheduler = new Scheduler(new PausableClock(new VirtualClock()));
    const { allocator } = memory;
    this.#batch = new BalloonBatch({ allocator, scheduler: this.#scheduler, log: SILENT });
    const port = { send: (message: GuestToHost) => this.#answer(message) };
    this.#queues = ['inflate', 'deflate'].map((name, index) => {
      return new Virtqueue({ name, index, size: QUEUE_SIZE_BALLOON, port });
    });
    const [inflate, deflate] = this.#queues;
    const book: BalloonDevInfo = memory.newBalloon({ adjustManagedPageCount: true });
    this.#batch.attach({ inflate, deflate, book });
  }

  inflate(pageCount: number): void {
    this.#run((left) => this.#batch.fill(left), pageCount);
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

function* resizeBy(batch: (left: number) => Waiting<number>, pageCount: number): Waiting {
  for (let left = pageCount; left > 0; ) left -= yield* batch(left);
}

/** PFNs 0 to `count` - 1 in a random order. */
function shuffled(count: number): Int32Array {
  const prng = new Prng(SEED);
  const order = Int32Array.from({ length: count }, (_, index) => index);
  for (let index = count - 1; index > 0; index--) {
    const other = prng.below(index + 1);
    [order[index], order[other]] = [order[other], order[index]];
  }
  return order;
}

/** Takes everything there is and gives half of it back in a random order. */
function scatter(memory: GuestMemory): void {
  const { allocator } = memory;
  const taken = new Int32Array(PAGES);
  let count = 0;
  for (;;) {
    const pfn = allocator.alloc(0, GFP_HIGHUSER_MOVABLE);
    if (pfn < 0) break;
    taken[count++] = pfn;
  }
  const order = shuffled(count);
  for (let index = 0; index < count >> 1; index++) allocator.free(taken[order[index]], 0);
}

function scatterRaw(zone: AosBalloon): void {
  for (let count = 0; count < PAGES; count++) zone.alloc(0);
  const order = shuffled(PAGES);
  for (let index = 0; index < PAGES >> 1; index++) zone.release(order[index], 0);
}

/** Inflation and deflation of a guest whose memory is half in use, page by page at random. */
export async function inflateDeflate(): Promise<Report> {
  const zone = new AosBalloon(PAGES);
  scatterRaw(zone);
  const memory = GuestMemory.boot({ memoryBytes: GUEST_BYTES });
  scatter(memory);
  const balloon = new LocalBalloon(memory);
  const contender = (run: (pageCount: number) => void): Contender => ({
    operations: MOVED_PAGES,
    run: () => {
      const start = nowNs();
      run(MOVED_PAGES);
      return nowNs() - start;
    },
  });
  const ns = await inTurns(ROUNDS, {
    rawInflate: contender((pageCount) => zone.inflate(pageCount)),
    inflate: contender((pageCount) => balloon.inflate(pageCount)),
    rawDeflate: contender((pageCount) => zone.deflate(pageCount)),
    deflate: contender((pageCount) => balloon.deflate(pageCount)),
  });
  const row = (what: string, puff: number, raw: number, beside: string): Row => ({
    what,
    figure: millions(puff),
    unit: 'M pages/s',
    raw: millions(raw),
    goal: atLeast('ratio', 0.4),
    beside: `${puff.toFixed(0)} ns; real guests: ${beside}`,
  });
  const largest = shrinkLargest();
  return {
    name: 'inflate-deflate',
    title: '16 GiB half used at random, a quarter of it in batches of 256, without the wire',
    baseline: 'linked buddy lists, a page in one place, one migratetype (limits L9, L10: 9)',
    rows: [
      row('inflate', ns.inflate, ns.rawInflate, 'UML 0.73, TCG 0.13-0.17, KVM 0.25'),
      row('deflate', ns.deflate, ns.rawDeflate, 'UML 7.9, TCG 0.93, KVM 0.61'),
      { what: 'fresh 64 GiB to a quarter', figure: largest.inflateSeconds, unit: 's' },
      { what: 'and back', figure: largest.deflateSeconds, unit: 's' },
    ],
  };
}

/** The largest guest, just booted, down to a quarter of its memory and back, once. */
function shrinkLargest(): { inflateSeconds: number; deflateSeconds: number } {
  const memory = GuestMemory.boot({ memoryBytes: LARGEST_BYTES });
  const balloon = new LocalBalloon(memory);
  const pageCount = ((LARGEST_BYTES / PAGE_SIZE) * 3) / 4;
  const start = nowNs();
  balloon.inflate(pageCount);
  const inflated = nowNs();
  balloon.deflate(pageCount);
  return { inflateSeconds: (inflated - start) / 1e9, deflateSeconds: (nowNs() - inflated) / 1e9 };
}
