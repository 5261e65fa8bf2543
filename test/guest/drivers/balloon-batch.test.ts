import { beforeEach, describe, expect, it } from 'vitest';
import { BalloonBatch, OUT_OF_PUFF_SLEEP_MS } from '../../../guest/drivers/balloon-batch.ts';
import { Virtqueue } from '../../../guest/drivers/virtqueue.ts';
import type { BalloonDevInfo } from '../../../guest/mm/balloon/balloon-dev-info.ts';
import { GuestMemory } from '../../../guest/mm/memory.ts';
import { Scheduler, type Waiting } from '../../../guest/sched/scheduler.ts';
import { VirtualClock } from '../../../shared/lib/clock.ts';
import { SILENT } from '../../../shared/lib/log.ts';
import { PausableClock } from '../../../shared/lib/pausable-clock.ts';
import { MIB } from '../../../shared/lib/units.ts';
import { type GuestToHost, Op } from '../../../shared/protocol/messages.ts';

/**
 * fill_balloon and leak_balloon at the same time: the OOM notifier gives pages back while the
 * resize work takes some. What both use belongs to who holds `balloon_lock`.
 */
const OVERSLEPT_MS = 2 * OUT_OF_PUFF_SLEEP_MS;

let clock: VirtualClock;
let memory: GuestMemory;
let scheduler: Scheduler;
let batch: BalloonBatch;
let book: BalloonDevInfo;
let queues: Virtqueue[];
/** Buffers that the host has not returned, the oldest first. */
let held: (() => void)[];
let results: Record<string, number>;

beforeEach(() => {
  clock = new VirtualClock();
  memory = GuestMemory.boot({ memoryBytes: 64 * MIB });
  scheduler = new Scheduler(new PausableClock(clock));
  batch = new BalloonBatch({ allocator: memory.allocator, scheduler, log: SILENT });
  held = [];
  results = {};
  const port = {
    send: (message: GuestToHost) => {
      if (message[0] === Op.avail) held.push(() => queues[message[1]].returned(message[2]));
    },
  };
  queues = ['inflate', 'deflate'].map((name, index) => {
    return new Virtqueue({ name, index, size: 128, port });
  });
  const [inflate, deflate] = queues;
  book = memory.newBalloon({ adjustManagedPageCount: true });
  batch.attach({ inflate, deflate, book });
});

function run(name: string, body: Waiting<number>): void {
  scheduler.spawn(name, keep(name, body));
  scheduler.run();
}

function* keep(name: string, body: Waiting<number>): Waiting {
  results[name] = yield* body;
}

/** The host returns the oldest buffer. */
function acknowledge(): void {
  held.shift()?.();
  scheduler.run();
}

function inflate(pages: number): void {
  run('inflate', batch.fill(pages));
  acknowledge();
  expect(results.inflate).toBe(pages);
}

function expectConsistent(pages: number): void {
  expect([batch.numPages, book.length]).toEqual([pages, pages]);
  expect(held).toEqual([]);
  expect(memory.verify()).toEqual([]);
}

/** Takes every page there is, and returns how many. */
function exhaust(): number {
  let taken = 0;
  while (memory.allocator.allocBalloonPage() >= 0) taken++;
  return taken;
}

describe('a fill that sleeps, out of puff', () => {
  it('counts none of the pages that a leak gave back meanwhile', () => {
    inflate(256);
    exhaust();
    run('fill', batch.fill(100));
    expect(batch.outOfPuffCount).toBe(1);
    run('leak', batch.leak(40));
    acknowledge();
    expect(results.leak).toBe(40);
    clock.advanceBy(OVERSLEPT_MS);
    scheduler.run();
    expect(results.fill).toBe(0);
    expect([batch.numPages, book.length]).toEqual([216, 216]);
    expect(held).toEqual([]);
  });
});

describe('a leak that waits for its acknowledgement', () => {
  it('gives back all it took, whatever a fill begins meanwhile', () => {
    inflate(256);
    run('leak', batch.leak(100));
    run('fill', batch.fill(30));
    acknowledge();
    expect(results.leak).toBe(100);
    acknowledge();
    expect(results.fill).toBe(30);
    expectConsistent(186);
  });

  it('so does one behind a fill that waits for its own', () => {
    inflate(256);
    run('fill', batch.fill(30));
    run('leak', batch.leak(100));
    acknowledge();
    expect(results.fill).toBe(30);
    acknowledge();
    expect(results.leak).toBe(100);
    expectConsistent(186);
  });
});
