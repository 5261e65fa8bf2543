import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RangeList } from '../../../host/ram/range-list.ts';
import { fromRanges, type PfnRange } from '../../../shared/lib/pfn-ranges.ts';

function contents(list: RangeList): PfnRange[] {
  return Array.from({ length: list.length }, (_, index) => ({
    start: list.startAt(index),
    count: list.countAt(index),
  }));
}

function add(list: RangeList, pfns: readonly number[]): void {
  list.addPages(Uint32Array.from(pfns), 0, pfns.length);
}

describe('a list of page frame ranges', () => {
  it('joins ascending and descending neighbours, in the order they were found', () => {
    const list = new RangeList();
    add(list, [10, 11, 12, 40, 39, 38, 41, 7]);
    expect(contents(list)).toEqual([
      { start: 10, count: 3 },
      { start: 38, count: 4 },
      { start: 7, count: 1 },
    ]);
    expect(list.pageCount).toBe(8);
  });

  it('joins a range that continues the newest one', () => {
    const list = new RangeList();
    list.addRange(512, 512);
    list.addRange(1024, 512);
    list.addRange(0, 512);
    expect(contents(list)).toEqual([
      { start: 512, count: 1024 },
      { start: 0, count: 512 },
    ]);
    expect([...list.pairs(1, 1)]).toEqual([0, 512]);
  });

  it('is empty and small again after a large buffer', () => {
    const list = new RangeList();
    add(
      list,
      Array.from({ length: 15_000 }, (_, index) => 2 * index),
    );
    expect(list.length).toBe(15_000);
    list.clear();
    expect(list.length).toBe(0);
    expect(list.pageCount).toBe(0);
    add(list, [5]);
    expect(contents(list)).toEqual([{ start: 5, count: 1 }]);
  });

  it('holds exactly the frames that were added', () => {
    const nearby = fc.array(fc.integer({ min: 0, max: 40 }), { maxLength: 200 });
    fc.assert(
      fc.property(nearby, (pfns) => {
        const list = new RangeList();
        const half = pfns.length >> 1;
        list.addPages(Uint32Array.from(pfns), 0, half);
        list.addPages(Uint32Array.from(pfns), half, pfns.length);
        const held = fromRanges(contents(list)).sort((a, b) => a - b);
        expect(held).toEqual([...pfns].sort((a, b) => a - b));
        expect(list.pageCount).toBe(pfns.length);
      }),
    );
  });

  it('takes frames at both ends of the 32-bit range', () => {
    const list = new RangeList();
    add(list, [0xffff_ffff, 0xffff_fffe, 0]);
    expect(contents(list)).toEqual([
      { start: 0xffff_fffe, count: 2 },
      { start: 0, count: 1 },
    ]);
  });
});
