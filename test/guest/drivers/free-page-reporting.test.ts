import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PAGE_STATE } from '../../../guest/mm/page/page-lifecycle.ts';
import { MIB } from '../../../shared/lib/units.ts';
import {
  VIRTIO_BALLOON_F_REPORTING,
  VIRTIO_BALLOON_F_STATS_VQ,
} from '../../../shared/virtio/balloon.ts';
import { FAILED } from '../../../shared/virtio/device-status.ts';
import { featureBits } from '../../../shared/virtio/features.ts';
import { HeldGuest, type HeldGuestOptions } from '../../support/held-guest.ts';
import { FakeHost } from './fake-host.ts';

const reportingGuest = (options: HeldGuestOptions = {}): HeldGuest => {
  const properties = { 'free-page-reporting': true, ...options.properties };
  return new HeldGuest({ ...options, properties });
};

/** Ranges of each report so far. */
const reports = (held: HeldGuest): number[] => held.buffers('reporting').map(({ inn }) => inn);

/** What the first pass of a fresh guest tells: one full batch, and the large blocks beyond it. */
const allLarge = (held: HeldGuest): number[] => {
  const { nrFree } = held.guest.kernel.memory.allocator.zones[1];
  return [32, nrFree[9] + nrFree[10] - 32];
};

const lentPages = (held: HeldGuest): number =>
  held.guest.kernel.memory.pages.states.countOf(PAGE_STATE.isolatedFree);

const verify = (held: HeldGuest): string[] => held.guest.kernel.memory.verify();

describe('free page reporting', () => {
  it('is accepted where it is offered, page poison is not (N02; recorded)', () => {
    const { guest } = reportingGuest();
    expect(featureBits(guest.kernel.device.negotiated)).toEqual([1, 5, 32]);
  });

  it('N61: begins after DRIVER_OK, two seconds after the driver registered', () => {
    const held = reportingGuest();
    held.run(1999);
    expect(reports(held)).toEqual([]);
    held.run(40);
    expect(reports(held)).toEqual(allLarge(held));
    expect(verify(held)).toEqual([]);
  });

  it('N62: names large blocks only, each a range of its own', () => {
    const held = reportingGuest();
    held.run(2100);
    const { ledger } = held.session.vm('vm0');
    const free = held.guest.kernel.memory.allocator.zones[1].nrFree;
    expect(ledger.count('reported')).toBe(free[9] * 512 + free[10] * 1024);
    expect(held.session.vm('vm0').counters.get('report-unaligned')).toBe(0);
  });

  it('N60: a reported block is out of use until the report is back', () => {
    const held = reportingGuest({ hold: true });
    held.run(2100);
    expect(reports(held)).toEqual([32]);
    expect(lentPages(held)).toBeGreaterThan(30 * 1024);
    held.guest.run({ name: 'hog', mib: 30, seconds: 10 });
    held.run(100);
    expect(lentPages(held)).toBeGreaterThan(30 * 1024);
    expect(verify(held)).toEqual([]);
    held.holding = false;
    held.release();
    held.run(100);
    expect(lentPages(held)).toBe(0);
    expect(verify(held)).toEqual([]);
  });

  it('N58, N64: what comes back is zeroed, and free as before', () => {
    const held = reportingGuest();
    const { pages, allocator } = held.guest.kernel.memory;
    const freeBefore = allocator.nrFree();
    pages.tags.fill(77);
    held.run(2100);
    const reported = Array.from({ length: pages.pageCount }, (_, pfn) => pfn).filter((pfn) => {
      return held.session.vm('vm0').ledger.stateOf(pfn) === 'reported';
    });
    expect(reported.length).toBeGreaterThan(40_000);
    expect(reported.every((pfn) => pages.tags[pfn] === 0)).toBe(true);
    expect(pages.tags.filter((tag) => tag === 0).length).toBe(reported.length);
    expect(allocator.nrFree()).toBe(freeBefore);
  });

  it('N63, D7: tells of a block once, and changes neither balloon nor `actual`', () => {
    const held = reportingGuest();
    held.run(60_000);
    expect(reports(held)).toEqual(allLarge(held));
    expect(held.trace.some((event) => event.ev === 'config-set')).toBe(false);
    expect(held.session.vm('vm0').ledger.balloonPages).toBe(0);
  });

  it('tells of what a program gave back, two seconds after it ended', () => {
    const held = reportingGuest();
    held.run(2100);
    held.guest.run({ name: 'hog', mib: 100, seconds: 10 });
    held.run(10_000);
    expect(reports(held)).toHaveLength(2);
    held.run(2100);
    const [, , ...later] = reports(held);
    expect(later).toHaveLength(1);
    expect(later[0]).toBeGreaterThan(20);
    expect(held.guest.kernel.processes.canariesWrong).toBe(0);
  });

  it('ends when the driver goes: nothing is lent, nothing is reported any more', () => {
    const held = reportingGuest({ hold: true });
    held.run(2100);
    held.guest.verb('unbind');
    held.run();
    expect(held.guest.kernel.core.state).toBe('unbinding');
    held.holding = false;
    while (held.held.length > 0) held.release();
    held.run(10);
    expect(held.guest.kernel.core.state).toBe('unbound');
    const count = reports(held).length;
    held.run(20_000);
    expect(reports(held)).toHaveLength(count);
    expect(lentPages(held)).toBe(0);
    expect(verify(held)).toEqual([]);
  });

  it('begins again when the driver is bound again', () => {
    const held = reportingGuest();
    held.run(2100);
    held.guest.verb('unbind');
    held.run(10);
    held.guest.verb('bind');
    held.run(2100);
    expect(held.guest.kernel.pageReporting.state).toBe('idle');
    // All of it was reported before, and is marked still.
    expect(reports(held)).toHaveLength(2);
    held.guest.run({ name: 'hog', mib: 100, seconds: 0 });
    held.run(2100);
    expect(reports(held).length).toBeGreaterThan(2);
  });

  it('goes on after a suspend, on the new queue', () => {
    const held = reportingGuest();
    held.run(2100);
    held.guest.verb('suspend');
    held.run(10);
    held.guest.verb('resume');
    held.run(10);
    held.guest.run({ name: 'hog', mib: 100, seconds: 0 });
    held.run(2100);
    expect(reports(held).length).toBeGreaterThan(2);
    expect(held.session.vm('vm0').ledger.count('reported')).toBeGreaterThan(0);
  });

  it('survives the death of its host in the middle of a report', () => {
    const held = reportingGuest({ hold: true });
    held.run(2100);
    expect(lentPages(held)).toBeGreaterThan(0);
    held.session.replaceHost();
    held.holding = false;
    held.run(5000);
    expect(lentPages(held)).toBe(0);
    expect(verify(held)).toEqual([]);
    held.guest.run({ name: 'hog', mib: 100, seconds: 0 });
    held.run(2100);
    expect(held.session.vm('vm0').ledger.count('reported')).toBeGreaterThan(20 * 1024);
  });

  it('is over before a suspend is: the report that the host has is waited for', () => {
    const held = reportingGuest({ hold: true });
    held.run(2100);
    expect(lentPages(held)).toBeGreaterThan(0);
    held.guest.verb('suspend');
    held.run(100);
    expect(held.guest.kernel.core.state).toBe('freezing');
    held.holding = false;
    held.release();
    expect(held.guest.kernel.core.state).toBe('suspended');
    expect(lentPages(held)).toBe(0);
    const told = reports(held).length;
    held.guest.verb('resume');
    held.run(60_000);
    expect(reports(held).length).toBeGreaterThan(told);
  });

  it('needs a ring for 32 blocks: with a smaller one the probe fails (ENOSPC)', () => {
    const bits = [VIRTIO_BALLOON_F_STATS_VQ, VIRTIO_BALLOON_F_REPORTING];
    const small = new FakeHost(bits, [128, 128, 128, 16]);
    expect(small.kernel.core.state).toBe('unbound');
    expect(small.status).toEqual([0, 1, 3, 11, 11 | FAILED]);
    const large = new FakeHost(bits, [128, 128, 128, 32]);
    expect(large.status).toEqual([0, 1, 3, 11, 15]);
  });

  it('takes no content from anybody, whatever programs do meanwhile', () => {
    const program = fc.oneof(
      fc.record({ name: fc.constant('hog' as const), mib: fc.integer({ min: 1, max: 120 }) }),
      fc.record({
        name: fc.constant('frag' as const),
        mib: fc.integer({ min: 1, max: 60 }),
        keepEvery: fc.integer({ min: 2, max: 5 }),
      }),
    );
    const runs = fc.array(fc.record({ program, waitMs: fc.integer({ min: 0, max: 3000 }) }), {
      maxLength: 5,
    });
    fc.assert(
      fc.property(runs, fc.integer({ min: 0, max: 150 }), (steps, balloonMib) => {
        const held = reportingGuest();
        held.setTarget((256 - balloonMib) * MIB);
        for (const { program: one, waitMs } of steps) {
          held.guest.run({ ...one, seconds: 3 });
          held.run(waitMs);
        }
        held.run(30_000);
        expect(held.guest.kernel.processes.canariesWrong).toBe(0);
        expect(verify(held)).toEqual([]);
        const { pages } = held.guest.kernel.memory;
        const { ledger } = held.session.vm('vm0');
        expect(ledger.balloonPages).toBe(pages.states.countOf(PAGE_STATE.balloon));
      }),
      { numRuns: 8 },
    );
  });
});
