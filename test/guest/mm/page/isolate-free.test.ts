import { describe, expect, it } from 'vitest';
import { MIGRATETYPE, WMARK } from '../../../../guest/mm/page/gfp.ts';
import { isolateFreePage, putbackIsolatedPage } from '../../../../guest/mm/page/isolate-free.ts';
import { PAGE_STATE } from '../../../../guest/mm/page/page-lifecycle.ts';
import { FIRST, TestZone } from '../test-zone.ts';

const { movable, reclaimable, highatomic } = MIGRATETYPE;
const BLOCK = 1024;

describe('__isolate_free_page', () => {
  it('takes a block off its list without an owner', () => {
    const test = new TestZone();
    test.free(FIRST, 10);
    test.free(FIRST + BLOCK, 10);
    expect(isolateFreePage(test.zone, FIRST, 10)).toBe(true);
    expect(test.list(10)).toEqual([FIRST + BLOCK]);
    expect(test.zone.freePages).toBe(BLOCK);
    expect(test.zone.isolatedFreePages).toBe(BLOCK);
    const { states } = test.pages;
    expect(states.countOf(PAGE_STATE.isolatedFree)).toBe(BLOCK);
    expect(test.pages.refcount(FIRST)).toBe(0);
    expect(test.trace).toEqual([]);
  });

  it('keeps the minimum watermark, without its boost, and room for one block more', () => {
    const test = new TestZone();
    test.free(FIRST, 10);
    test.free(FIRST + BLOCK, 10);
    test.zone.watermark[WMARK.min] = BLOCK;
    test.zone.watermarkBoost = 10_000;
    expect(isolateFreePage(test.zone, FIRST, 10)).toBe(false);
    expect(test.list(10)).toEqual([FIRST, FIRST + BLOCK]);
    test.zone.watermark[WMARK.min] = BLOCK - 1;
    expect(isolateFreePage(test.zone, FIRST, 10)).toBe(true);
  });

  it.each([
    [10, [movable, movable]],
    [9, [movable, reclaimable]],
    [8, [movable, reclaimable]],
    [7, [reclaimable, reclaimable]],
  ])('of order %i makes pageblocks movable from half a pageblock on', (order, types) => {
    const test = new TestZone();
    const blocks = [FIRST, FIRST + 512];
    for (const pfn of blocks) test.pages.setBlockType(pfn, reclaimable);
    test.free(FIRST, order, reclaimable);
    test.free(FIRST + BLOCK, 10);
    isolateFreePage(test.zone, FIRST, order);
    expect(blocks.map((pfn) => test.pages.blockType(pfn))).toEqual(types);
  });

  it('leaves pageblocks of the highatomic reserve alone', () => {
    const test = new TestZone();
    test.pages.setBlockType(FIRST, highatomic);
    test.free(FIRST, 9, highatomic);
    test.free(FIRST + BLOCK, 10);
    isolateFreePage(test.zone, FIRST, 9);
    expect(test.pages.blockType(FIRST)).toBe(highatomic);
  });
});

describe('__putback_isolated_page', () => {
  it('puts the block at the tail of its list and tells nobody', () => {
    const test = new TestZone();
    const told: number[] = [];
    test.zone.freeNotifier = { order: 9, notify: () => told.push(1) };
    test.free(FIRST, 10);
    test.free(FIRST + BLOCK, 10);
    isolateFreePage(test.zone, FIRST, 10);
    putbackIsolatedPage(test.zone, FIRST, 10, movable);
    expect(test.list(10)).toEqual([FIRST + BLOCK, FIRST]);
    expect(test.zone.freePages).toBe(2 * BLOCK);
    expect(test.zone.isolatedFreePages).toBe(0);
    expect(told).toEqual([]);
  });

  it('merges it with a buddy that became free meanwhile', () => {
    const test = new TestZone();
    test.free(FIRST, 9);
    test.free(FIRST + BLOCK, 10);
    isolateFreePage(test.zone, FIRST, 9);
    test.free(FIRST + 512, 9);
    putbackIsolatedPage(test.zone, FIRST, 9, movable);
    expect(test.list(10)).toEqual([FIRST + BLOCK, FIRST]);
    expect(test.list(9)).toEqual([]);
  });
});
