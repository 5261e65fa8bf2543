import { describe, expect, it } from 'vitest';
import { freeOnePage } from '../../../../guest/mm/page/buddy.ts';
import { MIGRATETYPE } from '../../../../guest/mm/page/gfp.ts';
import { isolateFreePage } from '../../../../guest/mm/page/isolate-free.ts';
import { PAGE_EVENT, PAGE_STATE } from '../../../../guest/mm/page/page-lifecycle.ts';
import { stepBlock } from '../../../../guest/mm/page/pcp.ts';
import { splitIsolatedPage } from '../../../../guest/mm/page/split-isolated.ts';
import type { CaptureControl } from '../../../../guest/mm/page/zone.ts';
import { FIRST, TestZone } from '../test-zone.ts';

const { movable, unmovable } = MIGRATETYPE;

/** Frees the first half of a block whose second half is free, while somebody wants it all. */
function freeHalf(order: number, migratetype: number = movable): [TestZone, CaptureControl] {
  const test = new TestZone();
  const half = 1 << (order - 1);
  test.free(FIRST + half, order - 1, migratetype);
  stepBlock(test.zone, FIRST, order - 1, PAGE_EVENT.release);
  const capture: CaptureControl = { order, pfn: -1 };
  test.zone.capture = capture;
  freeOnePage(test.zone, FIRST, order - 1, migratetype);
  return [test, capture];
}

describe('capture of a block that is being freed', () => {
  it('takes it before it is on a list', () => {
    const [test, capture] = freeHalf(9);
    expect(capture.pfn).toBe(FIRST);
    expect([test.zone.freePages, test.zone.nrFree[8], test.zone.nrFree[9]]).toEqual([0, 0, 0]);
    expect(test.pages.states.stateOf(FIRST + 511)).toBe(PAGE_STATE.allocated);
  });

  it('leaves blocks of other orders, and a second one, to the free lists', () => {
    const [test, capture] = freeHalf(9);
    stepBlock(test.zone, FIRST + 512, 9, PAGE_EVENT.release);
    freeOnePage(test.zone, FIRST + 512, 9, movable);
    expect([capture.pfn, test.zone.nrFree[9]]).toEqual([FIRST, 1]);
    const other = new TestZone();
    other.zone.capture = { order: 5, pfn: -1 };
    stepBlock(other.zone, FIRST, 9, PAGE_EVENT.release);
    freeOnePage(other.zone, FIRST, 9, movable);
    expect([other.zone.capture.pfn, other.zone.nrFree[9]]).toEqual([-1, 1]);
  });

  it.each([
    ['not of small blocks of movable pageblocks', 4, movable, -1],
    ['of small blocks of others', 4, unmovable, FIRST],
  ])('%s', (_what, order, migratetype, pfn) => {
    expect(freeHalf(order, migratetype)[1].pfn).toBe(pfn);
  });
});

describe('split_map_pages', () => {
  it('makes pages of one reference each of an isolated block', () => {
    const test = new TestZone();
    test.free(FIRST + 64, 5);
    test.free(FIRST, 3);
    expect(isolateFreePage(test.zone, FIRST, 3)).toBe(true);
    splitIsolatedPage(test.zone, FIRST, 3);
    for (let pfn = FIRST; pfn < FIRST + 8; pfn++) {
      expect([test.pages.refcount(pfn), test.pages.allocOrder(pfn)]).toEqual([1, 0]);
      test.allocator.putPage(pfn);
    }
    test.allocator.drainAllPages();
    expect(test.list(3)).toEqual([FIRST]);
    expect(test.zone.isolatedFreePages).toBe(0);
  });
});
