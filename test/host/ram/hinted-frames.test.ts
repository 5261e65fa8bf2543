import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { HintedFrames } from '../../../host/ram/hinted-frames.ts';

const REGIONS = [
  { start: 3, count: 200 },
  { start: 1000, count: 70 },
];

const isRam = (start: number, count: number): boolean =>
  REGIONS.some((region) => start >= region.start && start + count <= region.start + region.count);

describe('hinted frames', () => {
  it('are what a set of PFNs would hold, however ranges overlap', () => {
    const range = fc.tuple(fc.integer({ min: 0, max: 1100 }), fc.integer({ min: 1, max: 250 }));
    fc.assert(
      fc.property(fc.array(range, { maxLength: 20 }), (ranges) => {
        const frames = new HintedFrames(REGIONS);
        const model = new Set<number>();
        for (const [start, count] of ranges) {
          const before = model.size;
          if (isRam(start, count)) {
            for (let pfn = start; pfn < start + count; pfn++) model.add(pfn);
          }
          const expected = isRam(start, count) ? model.size - before : -1;
          expect(frames.add(start, count)).toBe(expected);
        }
        expect(frames.pageCount).toBe(model.size);
        for (let pfn = 0; pfn < 1110; pfn++) expect(frames.has(pfn)).toBe(model.has(pfn));
      }),
    );
  });

  it('take memory only from the first hint in a region to the end of the hints', () => {
    const frames = new HintedFrames(REGIONS);
    expect(frames.bytes).toBe(0);
    frames.add(1000, 1);
    expect(frames.bytes).toBe(12);
    frames.clear();
    expect([frames.bytes, frames.pageCount, frames.has(1000)]).toEqual([0, 0, false]);
  });

  it('are counted once, whole words too', () => {
    const frames = new HintedFrames([{ start: 0, count: 1 << 20 }]);
    expect(frames.add(0, 1 << 20)).toBe(1 << 20);
    expect(frames.add(0, 1 << 20)).toBe(0);
    expect(frames.add((1 << 20) - 1, 2)).toBe(-1);
  });
});
