import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fromRanges, toRanges } from '../../../shared/lib/pfn-ranges.ts';

describe('PFN ranges', () => {
  it('sort, drop repeats and merge neighbours', () => {
    expect(toRanges([7, 3, 4, 5, 3, 9])).toEqual([
      { start: 3, count: 3 },
      { start: 7, count: 1 },
      { start: 9, count: 1 },
    ]);
    expect(toRanges([])).toEqual([]);
  });

  it('sort as numbers and reach to the last PFN of 32 bits', () => {
    expect(toRanges([0xffff_ffff, 10, 9, 0xffff_fffe])).toEqual([
      { start: 9, count: 2 },
      { start: 0xffff_fffe, count: 2 },
    ]);
  });

  it('come back as the sorted set of PFNs', () => {
    // Close together, so that neighbours and repeats are frequent.
    const pfns = fc.array(fc.nat(64), { maxLength: 80, size: 'max' });
    fc.assert(
      fc.property(pfns, (list) => {
        const set = [...new Set(list)].sort((a, b) => a - b);
        expect(fromRanges(toRanges(list))).toEqual(set);
      }),
    );
  });

  it('are as few as possible: no two touch', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(64), { maxLength: 80, size: 'max' }), (list) => {
        const ranges = toRanges(list);
        ranges.slice(1).forEach(({ start }, index) => {
          const before = ranges[index];
          expect(start).toBeGreaterThan((before?.start ?? 0) + (before?.count ?? 0));
        });
      }),
    );
  });
});
