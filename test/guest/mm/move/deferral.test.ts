import { beforeEach, describe, expect, it } from 'vitest';
import {
  compactionDeferReset,
  compactionDeferred,
  deferCompaction,
  restartAfterDeferral,
} from '../../../../guest/mm/move/deferral.ts';
import { MoveWorld } from './move-world.ts';

let world: MoveWorld;

beforeEach(() => {
  world = new MoveWorld();
  world.test.zone.compact.orderFailed = 0;
});

/** How many requests of an order go without compaction before one has it. */
function leftOut(order: number): number {
  let count = 0;
  while (compactionDeferred(world.test.zone, order, world.trace)) count++;
  return count;
}

describe('compaction that fails', () => {
  it('is left out for 1, 3, 7, ... requests, for 63 at most', () => {
    const { zone } = world.test;
    const counts: number[] = [];
    for (let failure = 0; failure < 8; failure++) {
      deferCompaction(zone, 9, world.trace);
      counts.push(leftOut(9));
    }
    expect(counts).toEqual([1, 3, 7, 15, 31, 63, 63, 63]);
  });

  it('is left out for its order and above only', () => {
    const { zone } = world.test;
    zone.compact.orderFailed = 10;
    deferCompaction(zone, 5, world.trace);
    expect([leftOut(4), leftOut(5)]).toEqual([0, 1]);
  });

  it('is tried again at once after an allocation of this order', () => {
    const { zone } = world.test;
    for (let failure = 0; failure < 3; failure++) deferCompaction(zone, 9, world.trace);
    compactionDeferReset(zone, 9, true, world.trace);
    expect(leftOut(9)).toBe(0);
    expect([zone.compact.orderFailed, zone.compact.deferShift]).toEqual([10, 0]);
  });

  it('is not forgotten where the block is only expected to be there', () => {
    const { zone } = world.test;
    deferCompaction(zone, 9, world.trace);
    compactionDeferReset(zone, 9, false, world.trace);
    expect([zone.compact.orderFailed, zone.compact.deferShift]).toEqual([10, 1]);
  });

  it('begins anew after the longest pause, with all pageblocks', () => {
    const { zone, pages } = world.test;
    world.lru.place(zone.startPfn + 8);
    pages.blockSkips.fill(1);
    zone.compact.blockSkipFlush = true;
    for (let failure = 0; failure < 6; failure++) deferCompaction(zone, 9, world.trace);
    restartAfterDeferral(zone, 9);
    expect(pages.blockSkips.includes(0)).toBe(false);
    leftOut(9);
    restartAfterDeferral(zone, 9);
    expect(pages.blockSkips.includes(0)).toBe(true);
  });

  it('tells with the names and fields of the kernel', () => {
    const { zone } = world.test;
    deferCompaction(zone, 9, world.trace);
    compactionDeferred(zone, 9, world.trace);
    compactionDeferReset(zone, 9, true, world.trace);
    const place = 'node=0 zone=DMA32    order=9';
    expect(world.traced).toEqual([
      `mm_compaction_defer_compaction: ${place} order_failed=0 consider=0 limit=2`,
      `mm_compaction_deferred: ${place} order_failed=0 consider=1 limit=2`,
      `mm_compaction_defer_reset: ${place} order_failed=10 consider=0 limit=1`,
    ]);
  });
});
