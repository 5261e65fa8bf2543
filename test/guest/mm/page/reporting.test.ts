import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { GuestMemory } from '../../../../guest/mm/memory.ts';
import { moveFreepagesBlock } from '../../../../guest/mm/page/fallback.ts';
import { GFP_HIGHUSER_MOVABLE, MIGRATETYPE, WMARK } from '../../../../guest/mm/page/gfp.ts';
import { PAGE_STATE } from '../../../../guest/mm/page/page-lifecycle.ts';
import { listNodes } from '../../../../guest/mm/page/page-list.ts';
import {
  type LentBlock,
  PAGE_REPORTING_CAPACITY,
  PageReporting,
  type ReportingDevice,
  reportingLifecycle,
} from '../../../../guest/mm/page/reporting.ts';
import type { Zone } from '../../../../guest/mm/page/zone.ts';
import { Scheduler, type Waiting, WaitQueue } from '../../../../guest/sched/scheduler.ts';
import { Workqueue } from '../../../../guest/sched/workqueue.ts';
import { VirtualClock } from '../../../../shared/lib/clock.ts';
import { PausableClock } from '../../../../shared/lib/pausable-clock.ts';
import { MIB } from '../../../../shared/lib/units.ts';
import { expectTableEqualsMachine } from '../../../support/lifecycle-equivalence.ts';
import { FIRST, TestZone } from '../test-zone.ts';

const BLOCK = 1024;
/** The n-th block of the largest order in the zone. */
const at = (index: number): number => FIRST + index * BLOCK;
const blocks = (from: number, count: number): number[] =>
  Array.from({ length: count }, (_, index) => at(from + index));

/** A host that sees every report and answers at once, unless it is told to wait or to fail. */
class FakeDevice implements ReportingDevice {
  readonly reports: LentBlock[][] = [];
  readonly acked = new WaitQueue('ack');
  waits = false;
  fails = false;

  *report(lent: readonly LentBlock[]): Waiting<boolean> {
    this.reports.push([...lent]);
    if (this.waits) yield this.acked;
    return !this.fails;
  }

  get sizes(): number[] {
    return this.reports.map((report) => report.length);
  }
}

class Bench {
  readonly base = new VirtualClock();
  readonly scheduler = new Scheduler(new PausableClock(this.base));
  readonly device = new FakeDevice();
  readonly reporting: PageReporting;

  constructor(zones: readonly Zone[]) {
    const workqueue = new Workqueue(this.scheduler);
    this.reporting = new PageReporting({ zones, scheduler: this.scheduler, workqueue });
  }

  /** Lets `seconds` pass: a pass is due after each two of them. */
  wait(seconds: number): void {
    this.base.advanceBy(seconds * 1000);
  }

  acknowledge(): void {
    this.scheduler.wake(this.device.acked);
    this.scheduler.run();
  }

  unregister(): void {
    this.scheduler.spawn('unregister', this.reporting.unregister(this.device));
    this.scheduler.run();
  }
}

/** A zone with `count` free blocks of the largest order, and its reporting. */
function withBlocks(count: number): { test: TestZone; bench: Bench } {
  const test = new TestZone(1024);
  for (const pfn of blocks(0, count)) test.free(pfn, 10);
  return { test, bench: new Bench(test.zones) };
}

const reported = (test: TestZone, order = 10): number[] =>
  test.list(order).filter((pfn) => test.pages.reported(pfn));

describe('free page reporting', () => {
  it('has states whose table equals the state machine', () => {
    expectTableEqualsMachine(reportingLifecycle.machine, reportingLifecycle.table);
  });

  it('begins two seconds after a device registered', () => {
    const { bench } = withBlocks(40);
    expect(bench.reporting.register(bench.device)).toBe(true);
    bench.wait(2);
    expect(bench.device.reports).toEqual([]);
    bench.wait(0.05);
    expect(bench.device.sizes).toEqual([32, 8]);
    expect(bench.reporting.state).toBe('idle');
  });

  it('takes one device at a time (EBUSY)', () => {
    const { bench } = withBlocks(1);
    bench.reporting.register(bench.device);
    expect(bench.reporting.register(new FakeDevice())).toBe(false);
  });

  it('fills a batch from its end backwards and puts it back in the order reported', () => {
    const { test, bench } = withBlocks(40);
    bench.reporting.register(bench.device);
    bench.wait(2.1);
    const [first, second] = bench.device.reports;
    expect(first.map(({ pfn }) => pfn)).toEqual(blocks(0, 32).reverse());
    expect(second.map(({ pfn }) => pfn)).toEqual(blocks(32, 8).reverse());
    expect(test.list(10)).toEqual([...blocks(0, 32).reverse(), ...blocks(32, 8).reverse()]);
    expect(reported(test)).toHaveLength(40);
  });

  it('reports from small to large orders and collects a batch over several lists', () => {
    const { test, bench } = withBlocks(2);
    test.free(at(5), 9, MIGRATETYPE.unmovable);
    test.pages.setBlockType(at(5), MIGRATETYPE.unmovable);
    test.free(at(6), 9);
    test.free(at(7), 8);
    test.free(at(20), 10);
    test.zone.watermark[WMARK.low] = -20_000;
    bench.reporting.register(bench.device);
    bench.wait(2.1);
    const [report] = bench.device.reports;
    expect(bench.device.reports).toHaveLength(1);
    expect(report.map(({ pfn }) => pfn)).toEqual([at(20), at(1), at(0), at(6), at(5)]);
    expect(report.map(({ order }) => order)).toEqual([10, 10, 10, 9, 9]);
    // What was taken from an unmovable pageblock comes back to a movable one.
    expect(test.list(9, MIGRATETYPE.unmovable)).toEqual([]);
    expect(test.list(9)).toEqual([at(6), at(5)]);
  });

  it('tells of a sixteenth of a list in a pass, and goes on two seconds later', () => {
    const { test, bench } = withBlocks(100);
    bench.reporting.register(bench.device);
    bench.wait(2.1);
    // One batch for 512 blocks and less, and one more for what the lists before had left.
    expect(bench.device.sizes).toEqual([32, 32]);
    expect(bench.reporting.state).toBe('requested');
    // What is to come stands first.
    expect(test.pages.reported(test.list(10)[0])).toBe(false);
    expect(test.list(10).slice(0, 36)).toEqual(blocks(64, 36));
    bench.wait(2.1);
    expect(bench.device.sizes).toEqual([32, 32, 32, 4]);
    expect(bench.reporting.state).toBe('idle');
    expect(reported(test)).toHaveLength(100);
  });

  it('leaves a zone alone that has not 32 blocks more than its low watermark', () => {
    const { test, bench } = withBlocks(40);
    test.zone.watermark[WMARK.low] = 40 * BLOCK - (PAGE_REPORTING_CAPACITY << 9);
    bench.reporting.register(bench.device);
    bench.wait(2.1);
    expect(bench.device.reports).toEqual([]);
    test.zone.watermark[WMARK.low]--;
    bench.reporting.notify();
    bench.wait(2.1);
    expect(bench.device.sizes).toEqual([32, 8]);
  });

  it('takes no more than the minimum watermark allows', () => {
    const { test, bench } = withBlocks(40);
    test.zone.watermark[WMARK.min] = 30 * BLOCK;
    bench.reporting.register(bench.device);
    bench.wait(2.1);
    expect(bench.device.sizes).toEqual([9]);
    expect(test.zone.freePages).toBe(40 * BLOCK);
  });

  it('N60: a block that is being reported is nobody’s, and not to be had', () => {
    const { test, bench } = withBlocks(40);
    bench.device.waits = true;
    bench.reporting.register(bench.device);
    bench.wait(2.1);
    expect(test.list(10)).toEqual(blocks(32, 8));
    expect(test.pages.states.countOf(PAGE_STATE.isolatedFree)).toBe(32 * BLOCK);
    expect(test.zone.freePages).toBe(8 * BLOCK);
    while (test.allocator.alloc(10, GFP_HIGHUSER_MOVABLE) >= 0) {
      // Takes what there is.
    }
    expect(test.pages.states.countOf(PAGE_STATE.allocated)).toBe(8 * BLOCK);
    bench.acknowledge();
    expect(test.list(10)).toHaveLength(32);
    expect(test.zone.isolatedFreePages).toBe(0);
  });

  it('reports a block once more as part of the larger one it merged into meanwhile', () => {
    const { test, bench } = withBlocks(40);
    test.free(at(50), 9);
    bench.device.waits = true;
    bench.reporting.register(bench.device);
    bench.wait(2.1);
    test.free(at(50) + 512, 9);
    bench.acknowledge();
    expect(test.list(9)).toEqual([]);
    const [first, second] = bench.device.reports;
    expect(first.at(-1)).toEqual({ pfn: at(50), order: 9 });
    expect(second).toContainEqual({ pfn: at(50), order: 10 });
    bench.acknowledge();
    expect(reported(test)).toHaveLength(41);
  });

  it('on an error of the device puts the batch back unmarked and ends the pass', () => {
    const { test, bench } = withBlocks(70);
    bench.device.fails = true;
    bench.reporting.register(bench.device);
    bench.wait(2.1);
    expect(bench.device.sizes).toEqual([32]);
    expect(reported(test)).toEqual([]);
    expect(test.zone.freePages).toBe(70 * BLOCK);
    expect(bench.reporting.state).toBe('idle');
  });

  it('ends with the device: what is under way is waited for, nothing is lent then', () => {
    const { test, bench } = withBlocks(70);
    bench.device.waits = true;
    bench.reporting.register(bench.device);
    bench.wait(2.1);
    bench.unregister();
    expect(bench.reporting.register(new FakeDevice())).toBe(false);
    bench.device.waits = false;
    bench.acknowledge();
    expect(test.zone.isolatedFreePages).toBe(0);
    expect(test.zone.freeNotifier).toBeUndefined();
    const before = bench.device.reports.length;
    bench.wait(10);
    expect(bench.device.reports).toHaveLength(before);
    expect(bench.reporting.register(bench.device)).toBe(true);
  });
});

describe('a reported block', () => {
  function idle(): { test: TestZone; bench: Bench } {
    const world = withBlocks(40);
    world.bench.reporting.register(world.bench.device);
    world.bench.wait(2.1);
    world.bench.device.reports.length = 0;
    return world;
  }

  it('is not reported again', () => {
    const { bench } = idle();
    bench.reporting.notify();
    bench.wait(2.1);
    expect(bench.device.reports).toEqual([]);
  });

  it('that was taken and given back is reported once more, two seconds later', () => {
    const { test, bench } = idle();
    const pfn = test.allocator.alloc(10, GFP_HIGHUSER_MOVABLE);
    expect(test.pages.reported(pfn)).toBe(false);
    bench.wait(10);
    expect(bench.device.reports).toEqual([]);
    test.allocator.free(pfn, 10);
    expect(bench.reporting.state).toBe('requested');
    bench.wait(2.1);
    expect(bench.device.reports).toEqual([[{ pfn, order: 10 }]]);
  });

  it('that is split loses its mark, and so do the halves', () => {
    const { test } = idle();
    test.zone.pcp.high = 0;
    const pfn = test.allocator.alloc(4, GFP_HIGHUSER_MOVABLE);
    expect(test.list(9).some((half) => test.pages.reported(half))).toBe(false);
    expect(test.pages.reported(pfn)).toBe(false);
    expect(reported(test)).toHaveLength(39);
  });

  it('keeps its mark when it moves to another migratetype', () => {
    const { test, bench } = withBlocks(40);
    test.free(at(60), 9);
    bench.reporting.register(bench.device);
    bench.wait(2.1);
    moveFreepagesBlock(test.zone, at(60), MIGRATETYPE.unmovable);
    expect(test.list(9, MIGRATETYPE.unmovable)).toEqual([at(60)]);
    expect(test.pages.reported(at(60))).toBe(true);
  });

  it('is asked for by no small block that becomes free', () => {
    const { test, bench } = idle();
    const pfn = test.allocator.alloc(4, GFP_HIGHUSER_MOVABLE);
    const other = test.allocator.alloc(4, GFP_HIGHUSER_MOVABLE);
    test.allocator.free(pfn, 4);
    expect(bench.reporting.state).toBe('idle');
    test.allocator.free(other, 4);
    expect(bench.reporting.state).toBe('requested');
  });
});

describe('a guest that allocates and frees while it reports', () => {
  type Deed = { kind: 'take'; order: number } | { kind: 'give'; which: number } | { kind: 'wait' };
  const deeds: fc.Arbitrary<Deed[]> = fc.array(
    fc.oneof(
      fc.record({ kind: fc.constant('take' as const), order: fc.integer({ min: 0, max: 10 }) }),
      fc.record({ kind: fc.constant('give' as const), which: fc.nat() }),
      fc.constant({ kind: 'wait' as const }),
    ),
    { maxLength: 60 },
  );

  it('breaks no invariant, loses no page, and in the end has told of every large block', () => {
    fc.assert(
      fc.property(deeds, (steps) => {
        const memory = GuestMemory.boot({ memoryBytes: 256 * MIB });
        const { allocator } = memory;
        const bench = new Bench(allocator.zones);
        bench.device.waits = true;
        bench.reporting.register(bench.device);
        const held: { pfn: number; order: number }[] = [];
        const free = allocator.nrFree() + allocator.zones[1].pcp.count;
        for (const step of steps) {
          if (step.kind === 'wait') {
            bench.wait(1.1);
            bench.acknowledge();
          } else if (step.kind === 'take') {
            const pfn = allocator.alloc(step.order, GFP_HIGHUSER_MOVABLE);
            if (pfn >= 0) held.push({ pfn, order: step.order });
          } else if (held.length > 0) {
            const [{ pfn, order }] = held.splice(step.which % held.length, 1);
            allocator.free(pfn, order);
          }
        }
        expect(memory.verify()).toEqual([]);
        bench.device.waits = false;
        bench.acknowledge();
        for (const { pfn, order } of held) allocator.free(pfn, order);
        allocator.drainAllPages();
        bench.wait(40);
        expect(bench.reporting.state).toBe('idle');
        expect(memory.verify()).toEqual([]);
        expect(allocator.nrFree()).toBe(free);
        expect(unreported(allocator.zones[1])).toEqual([]);
      }),
      { numRuns: 30 },
    );
  });

  function unreported(zone: Zone): number[] {
    return [9, 10].flatMap((order) =>
      [0, 1, 2].flatMap((type) =>
        [...listNodes(zone.words, zone.freeList(order, type))].filter(
          (pfn) => !zone.pages.reported(pfn),
        ),
      ),
    );
  }
});
