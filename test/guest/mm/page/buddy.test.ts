import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  freeOnePage,
  freeOnePageToTail,
  rmqueueSmallest,
} from '../../../../guest/mm/page/buddy.ts';
import { MIGRATETYPE } from '../../../../guest/mm/page/gfp.ts';
import { PAGE_EVENT } from '../../../../guest/mm/page/page-lifecycle.ts';
import { stepBlock } from '../../../../guest/mm/page/pcp.ts';
import { FIRST, TestZone } from '../test-zone.ts';

const { movable, unmovable, highatomic } = MIGRATETYPE;

/** Takes a block from the free lists as rmqueue_buddy does. */
function take(test: TestZone, order: number, migratetype: number = movable): number {
  const pfn = rmqueueSmallest(test.zone, order, migratetype);
  if (pfn >= 0) {
    stepBlock(test.zone, pfn, order, PAGE_EVENT.take);
    test.zone.modFreePages(-(1 << order));
  }
  return pfn;
}

function give(test: TestZone, pfn: number, order: number, migratetype: number = movable): void {
  stepBlock(test.zone, pfn, order, PAGE_EVENT.merge);
  freeOnePage(test.zone, pfn, order, migratetype);
}

describe('taking a block (__rmqueue_smallest, expand)', () => {
  it('takes the first block of the smallest order that has one', () => {
    const test = new TestZone();
    test.free(FIRST + 64, 3);
    test.free(FIRST + 32, 2);
    test.free(FIRST + 40, 2);
    expect(take(test, 2)).toBe(FIRST + 32);
    expect(take(test, 2)).toBe(FIRST + 40);
    expect(take(test, 2)).toBe(FIRST + 64);
  });

  it('hands out the lower half and puts upper halves at the heads of their lists', () => {
    const test = new TestZone();
    test.free(FIRST + 128, 0);
    take(test, 0);
    test.free(FIRST + 256, 2);
    test.free(FIRST, 4);
    take(test, 2);
    expect(take(test, 0)).toBe(FIRST);
    expect([test.list(0), test.list(1), test.list(2), test.list(3)]).toEqual([
      [FIRST + 1],
      [FIRST + 2],
      [FIRST + 4],
      [FIRST + 8],
    ]);
    expect(test.zone.freePages).toBe(15);
  });

  it('looks at one migratetype only', () => {
    const test = new TestZone();
    test.free(FIRST, 4, unmovable);
    expect(take(test, 0, movable)).toBe(-1);
    expect(take(test, 0, unmovable)).toBe(FIRST);
  });

  it('says in its trace event whether the block is one that per-CPU lists hold', () => {
    const test = new TestZone();
    test.free(FIRST, 10);
    test.free(FIRST + 1024, 10, highatomic);
    take(test, 0);
    take(test, 4);
    take(test, 9);
    take(test, 0, highatomic);
    expect(test.traced('Z')).toEqual([
      `${FIRST} 0 1 1`,
      `${FIRST + 16} 4 1 0`,
      `${FIRST + 512} 9 1 1`,
      `${FIRST + 1024} 0 3 0`,
    ]);
  });
});

describe('giving a block back (__free_one_page)', () => {
  it('merges with free buddies up to the largest order', () => {
    const test = new TestZone();
    test.free(FIRST, 10);
    const pfn = take(test, 0);
    give(test, pfn, 0);
    expect(test.list(10)).toEqual([FIRST]);
    expect(test.zone.nrFree[10]).toBe(1);
    expect(test.zone.freePages).toBe(1024);
  });

  it('does not merge with a block of another order or with one in use', () => {
    const test = new TestZone();
    test.free(FIRST, 2);
    const [a, b, c] = [take(test, 0), take(test, 0), take(test, 0)];
    expect([a, b, c]).toEqual([FIRST, FIRST + 1, FIRST + 2]);
    give(test, a, 0);
    give(test, c, 0);
    expect(test.list(0)).toEqual([FIRST]);
    expect(test.list(1)).toEqual([FIRST + 2]);
  });

  it('goes to the head of its list', () => {
    const test = new TestZone();
    test.free(FIRST, 2);
    test.free(FIRST + 8, 2);
    const pfns = Array.from({ length: 8 }, () => take(test, 0));
    give(test, pfns[0], 0);
    give(test, pfns[4], 0);
    expect(test.list(0)).toEqual([FIRST + 8, FIRST]);
  });

  it('goes to the tail where only its buddy is missing for a block two orders up', () => {
    const test = new TestZone();
    test.free(FIRST, 2);
    test.free(FIRST + 8, 2);
    const pfns = Array.from({ length: 8 }, () => take(test, 0));
    give(test, pfns[4], 0);
    give(test, pfns[2], 0);
    give(test, pfns[3], 0);
    give(test, pfns[0], 0);
    expect(test.list(1)).toEqual([FIRST + 2]);
    expect(test.list(0)).toEqual([FIRST + 8, FIRST]);
  });

  it('never looks two orders up from order 9', () => {
    const test = new TestZone();
    test.free(FIRST + 3072, 10);
    test.free(FIRST + 2048, 9);
    test.free(FIRST + 512, 9);
    expect(take(test, 9)).toBe(FIRST + 2048);
    give(test, FIRST + 2048, 9);
    expect(test.list(9)).toEqual([FIRST + 2048, FIRST + 512]);
  });

  it('goes to the tail with FPI_TO_TAIL', () => {
    const test = new TestZone();
    test.free(FIRST, 3);
    test.free(FIRST + 64, 3);
    const pfn = take(test, 3);
    stepBlock(test.zone, pfn, 3, PAGE_EVENT.merge);
    freeOnePageToTail(test.zone, pfn, 3, movable);
    expect(test.list(3)).toEqual([FIRST + 64, FIRST]);
  });

  it('keeps pageblocks of a reserve apart from others, at order 9', () => {
    const test = new TestZone();
    test.pages.setBlockType(FIRST + 512, highatomic);
    test.free(FIRST, 9);
    test.free(FIRST + 512, 9, highatomic);
    expect(take(test, 9)).toBe(FIRST);
    give(test, FIRST, 9);
    expect([test.list(9), test.list(10)]).toEqual([[FIRST], []]);
  });

  it('merges movable and unmovable pageblocks, into the list of the one freed last', () => {
    const test = new TestZone();
    test.pages.setBlockType(FIRST + 512, unmovable);
    test.free(FIRST, 9);
    test.free(FIRST + 512, 9, unmovable);
    take(test, 9);
    give(test, FIRST, 9);
    expect(test.list(10)).toEqual([FIRST]);
  });
});

describe('any sequence of taking and giving back', () => {
  it('keeps blocks aligned, buddies merged and counts right, and loses no frame', () => {
    const step = fc.record({ order: fc.nat(10), back: fc.boolean(), pick: fc.nat(1000) });
    const property = fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
      const test = new TestZone();
      test.free(FIRST, 10);
      test.free(FIRST + 1024, 10);
      const held: [number, number][] = [];
      for (const { order, back, pick } of steps) {
        if (back && held.length > 0) {
          const [[pfn, heldOrder]] = held.splice(pick % held.length, 1);
          give(test, pfn, heldOrder);
        } else {
          const pfn = take(test, order);
          if (pfn >= 0) held.push([pfn, order]);
        }
      }
      for (const [pfn, order] of held) give(test, pfn, order);
      expect(test.list(10).sort()).toEqual([FIRST, FIRST + 1024]);
      expect([...test.zone.nrFree]).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
      expect(test.zone.freePages).toBe(2048);
    });
    fc.assert(property);
  });
});
