import { describe, expect, it } from 'vitest';
import {
  ALLOC_HIGHATOMIC,
  ALLOC_MIN_RESERVE,
  ALLOC_NON_BLOCK,
  ALLOC_OOM,
  ALLOC_WMARK_LOW,
  ALLOC_WMARK_MIN,
  GFP_ATOMIC,
  GFP_KERNEL,
  MIGRATETYPE,
  ZONE,
} from '../../../../guest/mm/page/gfp.ts';
import { zoneWatermarkFast, zoneWatermarkOk } from '../../../../guest/mm/page/watermark.ts';
import { FIRST, TestZone } from '../test-zone.ts';

/** 1,024 frames free in one block; min 400, low 500, high 600. */
function testZone(): TestZone {
  const test = new TestZone();
  test.free(FIRST, 10);
  test.zone.watermark.set([400, 500, 600, 700]);
  return test;
}

const request = (allocFlags: number, order = 0) => ({
  order,
  allocFlags,
  highestZone: ZONE.normal,
});

/** The fewest free frames with which an order-0 request gets one. */
function least(test: TestZone, allocFlags: number): number {
  let pages = 0;
  while (!zoneWatermarkOk(test.zone, request(allocFlags), 400, pages)) pages++;
  return pages;
}

describe('__zone_watermark_ok', () => {
  it.each([
    ['nothing', 0, 401],
    ['__GFP_HIGH, half of the minimum', ALLOC_MIN_RESERVE, 201],
    ['__GFP_HIGH that cannot wait, three eighths', ALLOC_MIN_RESERVE | ALLOC_NON_BLOCK, 151],
    ['not waiting alone, nothing more', ALLOC_NON_BLOCK, 401],
    ['an OOM victim, half', ALLOC_OOM, 201],
  ])('%s: leaves more than its mark', (_, allocFlags, pages) => {
    expect(least(testZone(), allocFlags)).toBe(pages);
  });

  it('keeps back what the zone reserves from requests that could use higher zones', () => {
    const test = testZone();
    test.zone.lowmemReserve[ZONE.normal] = 30;
    expect(least(test, 0)).toBe(431);
    const lower = { order: 0, allocFlags: 0, highestZone: ZONE.dma32 };
    expect(zoneWatermarkOk(test.zone, lower, 400, 401)).toBe(true);
  });

  it('does not count the highatomic reserve but for those who may use it', () => {
    const test = testZone();
    test.zone.nrReservedHighatomic = 512;
    expect(least(test, 0)).toBe(913);
    expect(least(test, ALLOC_NON_BLOCK)).toBe(401);
  });

  it('for a higher order wants a block of it, in a list the request may use', () => {
    const test = new TestZone();
    test.free(FIRST, 3);
    const ok = (order: number, flags = 0) =>
      zoneWatermarkOk(test.zone, request(flags, order), 400, 1000);
    expect([ok(3), ok(4)]).toEqual([true, false]);
    test.free(FIRST + 64, 5, MIGRATETYPE.highatomic);
    expect([ok(4), ok(4, ALLOC_HIGHATOMIC), ok(4, ALLOC_OOM)]).toEqual([false, true, true]);
  });

  it('for a higher order takes all frames but one of it for unusable', () => {
    const test = testZone();
    const ok = (pages: number) => zoneWatermarkOk(test.zone, request(0, 3), 400, pages);
    expect([ok(407), ok(408)]).toEqual([false, true]);
  });
});

describe('zone_watermark_fast', () => {
  it('compares with the watermark that the flags name', () => {
    const test = testZone();
    test.zone.modFreePages(450 - 1024);
    expect(zoneWatermarkFast(test.zone, request(ALLOC_WMARK_MIN), GFP_KERNEL)).toBe(true);
    expect(zoneWatermarkFast(test.zone, request(ALLOC_WMARK_LOW), GFP_KERNEL)).toBe(false);
  });

  it('ignores the boost for atomic requests at the minimum', () => {
    const test = testZone();
    test.zone.watermarkBoost = 1000;
    const atMin = request(ALLOC_WMARK_MIN);
    expect(zoneWatermarkFast(test.zone, atMin, GFP_KERNEL)).toBe(false);
    expect(zoneWatermarkFast(test.zone, atMin, GFP_ATOMIC)).toBe(true);
    expect(zoneWatermarkFast(test.zone, request(ALLOC_WMARK_LOW), GFP_ATOMIC)).toBe(false);
  });

  it('sees the free frames as the counter shows them: behind by a CPU’s share at most', () => {
    const test = testZone();
    test.zone.statThreshold = 6;
    test.zone.foldStats();
    test.zone.modFreePages(-6);
    expect([test.zone.freePages, test.zone.freePagesStat]).toEqual([1018, 1024]);
    test.zone.modFreePages(-1);
    expect([test.zone.freePages, test.zone.freePagesStat]).toEqual([1017, 1017]);
    test.zone.modFreePages(4);
    test.allocator.foldStats();
    expect(test.zone.freePagesStat).toBe(1021);
  });
});
