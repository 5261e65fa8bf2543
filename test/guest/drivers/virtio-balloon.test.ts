import { describe, expect, it } from 'vitest';
import { OUT_OF_PUFF_SLEEP_MS } from '../../../guest/drivers/balloon-batch.ts';
import {
  fillLifecycle,
  hintLifecycle,
  leakLifecycle,
  resizeLifecycle,
} from '../../../guest/drivers/balloon-flows.ts';
import { PAGE_STATE } from '../../../guest/mm/page/page-lifecycle.ts';
import { msleepMs } from '../../../guest/sched/jiffies.ts';
import { MIB, PAGE_SIZE, PAGES_PER_MIB } from '../../../shared/lib/units.ts';
import { HeldGuest } from '../../support/held-guest.ts';
import { expectTableEqualsMachine } from '../../support/lifecycle-equivalence.ts';

const RAM = 256 * MIB;

/** PFNs of a buffer as its trace lists them. */
function pfnsOf(buffer: { readonly runs: readonly (readonly [number, number, number])[] }) {
  return buffer.runs.flatMap(([first, count, step]) => {
    return Array.from({ length: count }, (_, index) => first + index * step);
  });
}

describe('the flows of the driver', () => {
  it.each([fillLifecycle, leakLifecycle, resizeLifecycle, hintLifecycle])(
    'have tables equal to their state machines',
    ({ machine, table }) => {
      expectTableEqualsMachine(machine, table);
    },
  );
});

describe('initialisation', () => {
  it('G29: reset, ACKNOWLEDGE, DRIVER, features, FEATURES_OK, queues, DRIVER_OK', () => {
    const { trace } = new HeldGuest();
    const steps = trace.map((event) => (event.ev === 'status' ? event.val : event.ev));
    expect(steps).toEqual([0, 1, 3, 'features', 11, 'buf', 15]);
  });

  it('G34, not kept, as recorded: the statistics buffer is kicked before DRIVER_OK', () => {
    const host = new HeldGuest();
    const [buffer] = host.buffers('stats');
    expect(host.trace.indexOf(buffer)).toBeLessThan(
      host.trace.findIndex((event) => event.ev === 'status' && event.val === 15),
    );
    expect(host.session.vm('vm0').counters.get('buffer-before-driver-ok')).toBe(1);
  });

  it('G08: accepts nothing that was not offered, and of the offer what it can do', () => {
    const { guest } = new HeldGuest({ properties: { 'deflate-on-oom': true } });
    expect(guest.kernel.device.negotiated).toBe((1n << 1n) | (1n << 2n) | (1n << 32n));
  });

  it('starts to inflate at once when a target stands already', () => {
    const held = new HeldGuest();
    held.guest.verb('unbind');
    held.run();
    held.setTarget(RAM - MIB);
    expect(held.driver.numPages).toBe(0);
    held.guest.verb('bind');
    held.run();
    expect(held.driver.numPages).toBe(256);
  });
});

describe('resizing', () => {
  it('N16: a page told on the inflate queue stays out of use until the buffer is back', () => {
    const held = new HeldGuest({ hold: true });
    held.setTarget(RAM - 2 * MIB);
    const [batch] = held.buffers('inflate');
    const { states } = held.guest.kernel.memory.pages;
    expect(held.held).toHaveLength(1);
    expect(pfnsOf(batch).every((pfn) => states.stateOf(pfn) === PAGE_STATE.balloon)).toBe(true);
    expect(held.buffers('inflate')).toHaveLength(1);
    held.release();
    expect(held.buffers('inflate')).toHaveLength(2);
  });

  it('N13, N14: pages given back are told first and free only when the buffer is back', () => {
    const held = new HeldGuest();
    held.setTarget(RAM - MIB);
    held.holding = true;
    held.setTarget(RAM);
    const [batch] = held.buffers('deflate');
    const { states } = held.guest.kernel.memory.pages;
    expect(batch.n).toBe(256);
    expect(pfnsOf(batch).some((pfn) => states.stateOf(pfn) === PAGE_STATE.pcp)).toBe(false);
    const freeBefore = held.guest.kernel.memory.allocator.pgfree;
    held.release();
    expect(held.guest.kernel.memory.allocator.pgfree - freeBefore).toBe(256);
  });

  it('N17: no deflation of a page before its inflation was acknowledged', () => {
    const held = new HeldGuest({ hold: true });
    held.setTarget(RAM - MIB);
    held.setTarget(RAM);
    held.run(1000);
    expect(held.buffers('deflate')).toHaveLength(0);
    held.release();
    expect(held.buffers('deflate')).toHaveLength(1);
  });

  it('N18: `actual` is written after every batch', () => {
    const held = new HeldGuest();
    held.setTarget(RAM - 3 * MIB);
    const events = held.trace.filter((event) => event.ev === 'used' || event.ev === 'config-set');
    expect(events.map((event) => (event.ev === 'config-set' ? event.actual : 'used'))).toEqual([
      'used',
      256,
      'used',
      512,
      'used',
      768,
    ]);
  });

  it('takes at most 256 pages a batch and the remainder last', () => {
    const held = new HeldGuest();
    held.setTarget(RAM - 300 * PAGE_SIZE);
    expect(held.buffers('inflate').map((buffer) => buffer.n)).toEqual([256, 44]);
  });

  it('reads the target anew for each batch: a new one redirects at the next boundary', () => {
    const held = new HeldGuest({ hold: true });
    held.setTarget(RAM - 16 * MIB);
    held.setTarget(RAM - 100 * PAGE_SIZE);
    held.holding = false;
    held.release();
    expect(held.buffers('inflate').map((buffer) => buffer.n)).toEqual([256]);
    expect(held.buffers('deflate').map((buffer) => buffer.n)).toEqual([156]);
    expect(held.driver.numPages).toBe(100);
  });

  it('tells pages in the reverse of their allocation and takes back last in, first out', () => {
    const held = new HeldGuest();
    held.setTarget(RAM - 2 * MIB);
    held.setTarget(RAM);
    const inflated = held.buffers('inflate').map(pfnsOf);
    const deflated = held.buffers('deflate').map(pfnsOf);
    expect(deflated).toEqual([...inflated].reverse().map((batch) => [...batch].reverse()));
  });

  it('pauses 200 ms, in ticks, when out of puff and tells the partial batch afterwards', () => {
    const held = new HeldGuest({ memoryBytes: 64 * MIB });
    held.setTarget(MIB);
    const told = held.buffers('inflate').length;
    const pagesBefore = held.driver.numPages;
    held.run(msleepMs(1, OUT_OF_PUFF_SLEEP_MS) - 1);
    expect(held.buffers('inflate')).toHaveLength(told);
    held.run(1);
    const partial = held.buffers('inflate').slice(told);
    const pages = partial.reduce((sum, buffer) => sum + buffer.n, 0);
    expect(pages).toBeGreaterThan(0);
    expect(pages).toBeLessThan(256);
    expect(held.driver.numPages).toBe(pagesBefore + pages);
    expect(held.driver.numPages).toBeLessThan(63 * PAGES_PER_MIB);
  });

  it('I6: MemTotal shrinks with the balloon unless DEFLATE_ON_OOM is negotiated', () => {
    const memTotal = (held: HeldGuest) => held.guest.kernel.memory.allocator.memInfo().memTotal;
    for (const [offered, lost] of [
      [false, 512],
      [true, 0],
    ] as const) {
      const held = new HeldGuest({ properties: { 'deflate-on-oom': offered } });
      const before = memTotal(held);
      held.setTarget(RAM - 2 * MIB);
      expect(before - memTotal(held)).toBe(lost);
    }
  });
});

describe('statistics', () => {
  it('N25, N27: one buffer, given anew each time the device returns it', () => {
    const held = new HeldGuest();
    held.balloon.pollingIntervalSeconds = 1;
    held.run(3500);
    expect(held.buffers('stats')).toHaveLength(5);
    const used = held.trace.filter((event) => event.ev === 'used');
    expect(used).toHaveLength(4);
  });

  it('N28, N32: ten statistics of Linux 6.1, the same subset in every buffer', () => {
    const held = new HeldGuest();
    held.balloon.pollingIntervalSeconds = 1;
    held.run(2500);
    expect(Object.keys(held.balloon.stats.values)).toHaveLength(10);
    expect(held.session.vm('vm0').counters.get('stats-other-subset')).toBe(0);
  });

  it('report what the guest has: free memory falls by what the balloon took', () => {
    const held = new HeldGuest();
    held.balloon.pollingIntervalSeconds = 1;
    held.run(100);
    const before = held.balloon.stats.values['free-memory'] ?? 0n;
    held.setTarget(RAM - 64 * MIB);
    held.run(1000);
    const taken = before - (held.balloon.stats.values['free-memory'] ?? 0n);
    // Pages on per-CPU lists are not counted as free: the rest of a refill may be among them.
    expect(Number(taken)).toBeGreaterThan(62 * MIB);
    expect(Number(taken)).toBeLessThan(66 * MIB);
  });
});

describe('the OOM notifier', () => {
  it('gives back 256 pages a call, writes `actual`, and does not inflate again by itself', () => {
    const held = new HeldGuest({ properties: { 'deflate-on-oom': true } });
    held.setTarget(RAM - 160 * MIB);
    expect(held.driver.numPages).toBe(160 * PAGES_PER_MIB);
    held.guest.run({ name: 'hog', mib: 100, seconds: 1 });
    held.run(500);
    const deflated = held.buffers('deflate');
    expect(deflated.length).toBeGreaterThan(10);
    expect(deflated.every((buffer) => buffer.n === 256)).toBe(true);
    const after = held.driver.numPages;
    expect(held.balloon.actualBytes).toBe(RAM - after * PAGE_SIZE);
    held.run(5000);
    expect(held.driver.numPages).toBe(after);
    held.setTarget(RAM - 159 * MIB);
    expect(held.driver.numPages).toBeGreaterThan(after);
  });

  it('is not registered without DEFLATE_ON_OOM', () => {
    const held = new HeldGuest();
    held.setTarget(RAM - 160 * MIB);
    held.guest.run({ name: 'hog', mib: 100, seconds: 1 });
    held.run(500);
    expect(held.buffers('deflate')).toHaveLength(0);
    expect(held.guest.kernel.vmstat.get('oom_kill')).toBe(1);
  });
});
