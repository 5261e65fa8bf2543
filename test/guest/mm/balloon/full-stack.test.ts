import { describe, expect, it } from 'vitest';
import { dumpGuest } from '../../../../guest/control.ts';
import type { BalloonCompaction } from '../../../../guest/mm/balloon/compaction-mode.ts';
import { MIGRATETYPE } from '../../../../guest/mm/page/gfp.ts';
import { PAGE_STATE } from '../../../../guest/mm/page/page-lifecycle.ts';
import { verifySpaces } from '../../../../guest/mm/space/verify.ts';
import type { PfnRun } from '../../../../host/vmm/wire-trace.ts';
import { MIB, PAGE_SIZE } from '../../../../shared/lib/units.ts';
import { HeldGuest } from '../../../support/held-guest.ts';
import { pagesOf } from './pages-of.ts';

/** Compaction of balloons in a guest with a host, in every mode of `--balloon-compaction`. */
const TARGET = 128 * MIB;

/**
 * The balloon takes half the guest, in the holes of a process that is gone then. kcompactd does
 * nothing by itself: what moves is what the test moves.
 */
function inflated(balloonCompaction: BalloonCompaction): HeldGuest {
  const held = new HeldGuest({ balloonCompaction });
  held.guest.kernel.compaction.proactiveness.value = 0;
  held.guest.run({ name: 'frag', mib: 120, keepEvery: 2, seconds: 1 });
  held.run(100);
  held.setTarget(TARGET);
  held.run(2000);
  expect(held.driver.numPages).toBe((256 * MIB - TARGET) / PAGE_SIZE);
  return held;
}

function compact(held: HeldGuest): void {
  held.guest.kernel.compactMemory();
  held.run(1000);
}

function expectAgreed(held: HeldGuest): void {
  const { kernel } = held.guest;
  const list = [...(held.driver.book?.pfns() ?? [])];
  const { ledger } = held.session.vm('vm0');
  const same = { missing: 0, surplus: 0, repeated: 0 };
  expect(ledger.compareBalloon(list)).toMatchObject(same);
  expect(held.driver.numPages).toBe(list.length);
  expect(kernel.memory.verify()).toEqual([]);
  expect(verifySpaces(kernel.spaces)).toEqual([]);
  expect(kernel.processes.canariesWrong).toBe(0);
}

const unfold = (runs: readonly PfnRun[]): number[] =>
  runs.flatMap(([first, count, step]) =>
    Array.from({ length: count }, (_, at) => first + at * step),
  );

describe.each(['movable', 'v2012'] as const)('compact_memory, %s', (mode) => {
  it('moves pages of the balloon; ledger and list agree, `actual` stays', () => {
    const held = inflated(mode);
    const [inflates, configs] = [held.buffers('inflate').length, configSets(held)];
    compact(held);
    const { balloon_migrate } = held.guest.kernel.memory.balloons.events;
    expect(balloon_migrate).toBeGreaterThan(5000);
    expect(held.balloon.actualBytes).toBe(TARGET);
    expect(configSets(held)).toBe(configs);
    expect(held.buffers('inflate').length - inflates).toBe(balloon_migrate);
    expect(held.buffers('deflate')).toHaveLength(balloon_migrate);
    expect(held.driver.book?.isolatedPages).toBe(0);
    expectAgreed(held);
  });

  it('tells the new page, then the old one, each in a buffer of its own', () => {
    const held = inflated(mode);
    const before = held.trace.length;
    compact(held);
    const buffers = held.trace.slice(before).filter((event) => event.ev === 'buf');
    const queues = buffers.map(({ queue }) => queue);
    expect(queues).toEqual(queues.map((_, at) => (at % 2 === 0 ? 'inflate' : 'deflate')));
    expect(new Set(buffers.map(({ n }) => n))).toEqual(new Set([1]));
    // compact_memory goes through zone by zone, in each from below to above.
    const moved = buffers.map(({ runs }) => runs[0][0]);
    const upwards = moved.filter((pfn, at) => at % 2 === 0 && pfn > moved[at + 1]);
    expect(upwards).toHaveLength(moved.length / 2);
  });

  it('gives every page back afterwards', () => {
    const held = inflated(mode);
    compact(held);
    held.setTarget(256 * MIB);
    held.run(1000);
    expect(held.driver.numPages).toBe(0);
    const { states } = held.guest.kernel.memory.pages;
    const inBalloons = [PAGE_STATE.balloon, PAGE_STATE.balloonIsolated, PAGE_STATE.balloonReplaced];
    expect(inBalloons.map((state) => states.countOf(state))).toEqual([0, 0, 0]);
    expectAgreed(held);
  });

  it('may be cut short by remove at any time', () => {
    const held = inflated(mode);
    held.holding = true;
    held.guest.kernel.compactMemory();
    held.run(50);
    expect(held.driver.book?.isolatedPages).toBeGreaterThan(0);
    held.guest.verb('unbind');
    held.holding = false;
    while (held.held.length > 0) held.release();
    held.run(2000);
    expect([held.driver.numPages, held.driver.book]).toEqual([0, undefined]);
    expectAgreed(held);
  });
});

describe('v2012', () => {
  it('counts its events and shows them in the dump, under their names of vmstat', () => {
    const held = inflated('v2012');
    compact(held);
    const { compaction } = dumpGuest(held.guest, false);
    const { balloon_migrate } = compaction;
    expect(compaction.compact_balloon_migrated).toBe(balloon_migrate);
    expect(compaction.compact_balloon_released).toBe(balloon_migrate);
    const { compact_balloon_isolated: isolated, compact_balloon_returned: returned } = compaction;
    expect(isolated).toBe(balloon_migrate + returned);
    expect(held.guest.kernel.memory.balloons.compactBalloon.isolatedPages).toBe(0);
  });

  it('counts isolated pages as NR_ISOLATED_FILE while they are on their way', () => {
    const held = inflated('v2012');
    held.holding = true;
    held.guest.kernel.compactMemory();
    held.run(50);
    const { compactBalloon } = held.guest.kernel.memory.balloons;
    const isolated = held.driver.book?.isolatedPages ?? 0;
    // One of them is replaced already; the host has not answered yet.
    expect(compactBalloon.isolatedPages).toBe(isolated + 1);
    held.holding = false;
    while (held.held.length > 0) held.release();
    held.run(1000);
    expect(compactBalloon.isolatedPages).toBe(0);
    expectAgreed(held);
  });

  it('counts them in too_many_isolated, which is about half of what the LRU has', () => {
    const held = new HeldGuest({ balloonCompaction: 'v2012' });
    const { memory, compaction, vmstat } = held.guest.kernel;
    const pages = { active: vmstat.nr_active_anon + vmstat.nr_active_file, inactive: 0 };
    pages.inactive = vmstat.nr_inactive_anon + vmstat.nr_inactive_file;
    const limit = Math.floor((pages.active + pages.inactive) / 2);
    memory.balloons.compactBalloon.compact_balloon_isolated = limit;
    expect(compaction.world.lru.tooManyIsolated()).toBe(false);
    memory.balloons.compactBalloon.compact_balloon_isolated++;
    expect(compaction.world.lru.tooManyIsolated()).toBe(true);
  });

  it('puts pages back to the list when the driver is busy, and counts them as returned', () => {
    const held = inflated('v2012');
    held.holding = true;
    held.setTarget(TARGET + MIB);
    compact(held);
    const { compaction } = dumpGuest(held.guest, false);
    expect(compaction.compact_balloon_isolated).toBeGreaterThan(0);
    expect(compaction.compact_balloon_returned).toBe(compaction.compact_balloon_isolated);
    expect(compaction.compact_balloon_migrated).toBe(0);
    held.holding = false;
    while (held.held.length > 0) held.release();
    held.run(1000);
    expectAgreed(held);
  });

  it('tells a batch in the order of allocation and list, 6.1 the other way round', () => {
    const orders = (['v2012', 'movable'] as const).map((balloonCompaction) => {
      const held = new HeldGuest({ balloonCompaction });
      held.setTarget(255 * MIB);
      const told = held.buffers('inflate').flatMap(({ runs }) => unfold(runs));
      expect([...(held.driver.book?.pfns() ?? [])]).toEqual(told);
      expect(told).toHaveLength(256);
      return told;
    });
    expect(orders[0]).toEqual(orders[1].toReversed());
  });
});

describe('without CONFIG_BALLOON_COMPACTION', () => {
  it('inflates and deflates as ever, from pageblocks that are not movable', () => {
    const held = new HeldGuest({ balloonCompaction: 'off' });
    held.setTarget(TARGET);
    const { pages } = held.guest.kernel.memory;
    const list = [...(held.driver.book?.pfns() ?? [])];
    expect(list).toHaveLength((256 * MIB - TARGET) / PAGE_SIZE);
    const unmovable = list.filter((pfn) => pages.blockType(pfn) === MIGRATETYPE.unmovable);
    expect(unmovable.length).toBeGreaterThan(list.length / 2);
    expectAgreed(held);
    held.setTarget(256 * MIB);
    expect(held.driver.numPages).toBe(0);
    expectAgreed(held);
  });

  it('no page can be isolated, and the book leads to no driver', () => {
    const held = inflated('off');
    const { memory } = held.guest.kernel;
    const book = held.driver.book;
    const list = [...(book?.pfns() ?? [])];
    expect(list.some((pfn) => memory.pages.isMovable(pfn))).toBe(false);
    expect(list.slice(0, 100).some((pfn) => pagesOf(memory).isolate(pfn))).toBe(false);
    expect(list.slice(0, 100).every((pfn) => memory.pages.refcount(pfn) === 1)).toBe(true);
    expect(book?.migration).toBeUndefined();
    compact(held);
    expect([...(book?.pfns() ?? [])]).toEqual(list);
    expect(held.buffers('deflate')).toEqual([]);
    expectAgreed(held);
  });
});

it('each mode shows the events its kernel has', () => {
  const names = (['off', 'movable', 'v2012'] as const).map((balloonCompaction) => {
    const { compaction } = dumpGuest(new HeldGuest({ balloonCompaction }).guest, false);
    return Object.keys(compaction).filter((name) => name.includes('balloon'));
  });
  expect(names).toEqual([
    ['balloon_inflate', 'balloon_deflate'],
    ['balloon_inflate', 'balloon_deflate', 'balloon_migrate'],
    [
      ...['balloon_inflate', 'balloon_deflate', 'balloon_migrate'],
      ...['compact_balloon_isolated', 'compact_balloon_migrated'],
      ...['compact_balloon_released', 'compact_balloon_returned'],
    ],
  ]);
});

function configSets(held: HeldGuest): number {
  return held.trace.filter((event) => event.ev === 'config-set').length;
}
