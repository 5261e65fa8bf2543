import { beforeEach, describe, expect, it } from 'vitest';
import { delFromFreeList } from '../../../../guest/mm/page/free-area.ts';
import { GFP_HIGHUSER_MOVABLE, GFP_KERNEL, MIGRATETYPE } from '../../../../guest/mm/page/gfp.ts';
import {
  startIsolatePageRange,
  testPagesIsolated,
  undoIsolatePageRange,
} from '../../../../guest/mm/page/page-isolation.ts';
import { PAGE_EVENT } from '../../../../guest/mm/page/page-lifecycle.ts';
import { drainPagesZone, stepBlock } from '../../../../guest/mm/page/pcp.ts';
import { FIRST, TestZone } from '../test-zone.ts';

/** Two blocks of the largest order: four pageblocks. */
const RANGE = { start: FIRST + 1024, end: FIRST + 3072 };

let test: TestZone;

beforeEach(() => {
  test = new TestZone();
  for (const pfn of [FIRST, RANGE.start, RANGE.start + 1024, RANGE.end]) test.free(pfn, 10);
});

function types(): number[] {
  return [0, 512, 1024, 1536].map((at) => test.pages.blockType(RANGE.start + at));
}

const { isolate, movable } = MIGRATETYPE;

describe('an isolated range of pageblocks (mm/page_isolation.c)', () => {
  it('hands nothing out, and its free frames are not counted as free', () => {
    expect(startIsolatePageRange(test.zone, RANGE)).toBe(true);
    expect(types()).toEqual([isolate, isolate, isolate, isolate]);
    expect(test.zone.nrIsolatePageblock).toBe(4);
    expect(test.zone.freePages).toBe(2048);
    expect(test.list(10, isolate)).toEqual([RANGE.start, RANGE.start + 1024]);
    const had = [0, 1, 2].map(() => test.allocator.alloc(10, GFP_HIGHUSER_MOVABLE));
    expect(had).toEqual([FIRST, RANGE.end, -1]);
  });

  it('is free for all again when that is undone', () => {
    startIsolatePageRange(test.zone, RANGE);
    undoIsolatePageRange(test.zone, RANGE);
    expect(types()).toEqual([movable, movable, movable, movable]);
    expect([test.zone.nrIsolatePageblock, test.zone.freePages]).toEqual([0, 4096]);
    expect(test.list(10)).toEqual([FIRST, RANGE.end, RANGE.start, RANGE.start + 1024]);
  });

  it('keeps what is freed in it, from per-CPU lists as well', () => {
    test.allocator.alloc(10, GFP_HIGHUSER_MOVABLE);
    const inUse = test.allocator.alloc(0, GFP_HIGHUSER_MOVABLE);
    const onPcp = test.allocator.alloc(0, GFP_HIGHUSER_MOVABLE);
    for (const pfn of [inUse, onPcp]) {
      expect(pfn).toBeGreaterThanOrEqual(RANGE.start);
      test.allocator.lruAdd(pfn);
    }
    test.allocator.free(onPcp, 0);
    expect(startIsolatePageRange(test.zone, RANGE)).toBe(true);
    drainPagesZone(test.zone);
    test.allocator.free(inUse, 0);
    expect(test.list(10, isolate)).toHaveLength(2);
    expect(testPagesIsolated(test.zone, RANGE)).toBe(RANGE.end);
  });

  it('names the first frame that is still in use', () => {
    test.allocator.alloc(10, GFP_HIGHUSER_MOVABLE);
    const inUse = test.allocator.alloc(0, GFP_HIGHUSER_MOVABLE);
    test.allocator.lruAdd(inUse);
    startIsolatePageRange(test.zone, RANGE);
    expect(testPagesIsolated(test.zone, RANGE)).toBe(inUse);
  });

  it('is not to be had with a page in it that cannot be moved: nothing is isolated then', () => {
    test.allocator.alloc(10, GFP_HIGHUSER_MOVABLE);
    test.allocator.alloc(10, GFP_HIGHUSER_MOVABLE);
    test.allocator.alloc(0, GFP_KERNEL);
    expect(startIsolatePageRange(test.zone, RANGE)).toBe(false);
    expect(types()).not.toContain(isolate);
    expect([test.zone.nrIsolatePageblock, test.list(10, isolate)]).toEqual([0, []]);
  });

  it('is not to be had with such a page in its middle either: both ends are as they were', () => {
    const middle = RANGE.start + 1024;
    stepBlock(test.zone, middle, 10, PAGE_EVENT.take);
    delFromFreeList(test.zone, middle, 10);
    test.pages.getFirst(middle);
    expect(startIsolatePageRange(test.zone, RANGE)).toBe(false);
    expect(types()).not.toContain(isolate);
    expect([test.zone.nrIsolatePageblock, test.list(10, isolate)]).toEqual([0, []]);
  });

  it('is not to be had with frames that the allocator never had', () => {
    const withHole = { start: RANGE.start, end: RANGE.end + 2048 };
    expect(startIsolatePageRange(test.zone, withHole)).toBe(false);
    expect(test.zone.nrIsolatePageblock).toBe(0);
  });

  it('is not to be had twice', () => {
    startIsolatePageRange(test.zone, RANGE);
    const overlapping = { start: FIRST, end: RANGE.start + 1024 };
    expect(startIsolatePageRange(test.zone, overlapping)).toBe(false);
    expect(test.zone.nrIsolatePageblock).toBe(4);
    expect(test.pages.blockType(FIRST)).toBe(movable);
  });

  it('takes no pageblock of the highatomic reserve', () => {
    test.pages.setBlockType(RANGE.start + 1024, MIGRATETYPE.highatomic);
    expect(startIsolatePageRange(test.zone, RANGE)).toBe(false);
    expect(test.pages.blockType(RANGE.start + 1024)).toBe(MIGRATETYPE.highatomic);
  });

  it('merges at its end what could not merge across it: a block and its buddy outside', () => {
    test = new TestZone();
    const half = FIRST + 1024 + 512;
    stepBlock(test.zone, FIRST + 1024, 9, PAGE_EVENT.release);
    test.free(half, 9);
    const pageblock = { start: half, end: half + 512 };
    startIsolatePageRange(test.zone, pageblock);
    stepBlock(test.zone, FIRST + 1024, 9, PAGE_EVENT.take);
    test.pages.getFirst(FIRST + 1024);
    test.pages.words[((FIRST + 1024) << 2) + 2] |= 9 << 7;
    test.allocator.free(FIRST + 1024, 9);
    drainPagesZone(test.zone);
    expect([test.list(9), test.list(9, isolate), test.list(10)]).toEqual([
      [FIRST + 1024],
      [half],
      [],
    ]);
    undoIsolatePageRange(test.zone, pageblock);
    expect(test.list(10)).toEqual([FIRST + 1024]);
    expect(test.zone.freePages).toBe(1024);
  });
});
