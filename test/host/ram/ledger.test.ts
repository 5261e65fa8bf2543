import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RamLedger } from '../../../host/ram/ledger.ts';
import { RangeList } from '../../../host/ram/range-list.ts';
import { CHUNK_FRAMES } from '../../../host/ram/region-frames.ts';
import { fromRanges } from '../../../shared/lib/pfn-ranges.ts';

/** A small q35: RAM below a hole and above it. */
const REGIONS = [
  { start: 0x100, count: 64 },
  { start: 0x1_0000, count: 64 },
];

const pfns = (...list: number[]): Uint32Array => Uint32Array.from(list);

function rangesOf(list: RangeList): number[] {
  const ranges = Array.from({ length: list.length }, (_, index) => ({
    start: list.startAt(index),
    count: list.countAt(index),
  }));
  return fromRanges(ranges);
}

function balloonOf(ledger: RamLedger): number[] {
  const found: number[] = [];
  ledger.forEachBalloonPage((pfn) => found.push(pfn));
  return found;
}

describe('the ledger of one guest', () => {
  it('begins with every frame resident and takes no memory for it', () => {
    const ledger = new RamLedger(REGIONS);
    expect(ledger.pageCount).toBe(128);
    expect(ledger.count('resident')).toBe(128);
    expect(ledger.balloonPages).toBe(0);
    expect(ledger.bytes).toBe(0);
  });

  it('follows a frame into the balloon, through the discard and back', () => {
    const ledger = new RamLedger(REGIONS);
    const ranges = new RangeList();
    expect(ledger.inflate(pfns(0x101, 0x100))).toEqual({
      changed: 2,
      unexpected: 0,
      outOfRange: 0,
    });
    expect(ledger.stateOf(0x100)).toBe('ballooned');
    ledger.discard(pfns(0x101, 0x100), ranges);
    expect(ledger.stateOf(0x100)).toBe('discarded');
    expect(rangesOf(ranges)).toEqual([0x100, 0x101]);
    expect(ledger.balloonPages).toBe(2);
    expect(ledger.deflate(pfns(0x100)).changed).toBe(1);
    expect(ledger.stateOf(0x100)).toBe('resident');
    expect(balloonOf(ledger)).toEqual([0x101]);
  });

  it('H1: sees a frame inflated twice, within one buffer and over time', () => {
    const ledger = new RamLedger(REGIONS);
    expect(ledger.inflate(pfns(0x100, 0x100)).unexpected).toBe(1);
    ledger.discard(pfns(0x100), new RangeList());
    expect(ledger.inflate(pfns(0x100)).unexpected).toBe(1);
    expect(ledger.balloonPages).toBe(1);
  });

  it('H1: sees a frame deflated that was not inflated, and one deflated twice', () => {
    const ledger = new RamLedger(REGIONS);
    expect(ledger.deflate(pfns(0x100)).unexpected).toBe(1);
    expect(ledger.bytes).toBe(0);
    ledger.inflate(pfns(0x100));
    expect(ledger.deflate(pfns(0x100, 0x100))).toEqual({
      changed: 1,
      unexpected: 1,
      outOfRange: 0,
    });
  });

  it('sees frames in the hole, below RAM and above it', () => {
    const ledger = new RamLedger(REGIONS);
    const strange = pfns(0, 0xff, 0x140, 0xffff, 0x1_0040, 0xffff_ffff);
    expect(ledger.inflate(strange)).toEqual({ changed: 0, unexpected: 0, outOfRange: 6 });
    const ranges = new RangeList();
    ledger.discard(strange, ranges);
    expect(ranges.length).toBe(0);
    expect(ledger.stateOf(0x140)).toBeUndefined();
  });

  it('throws a frame away again that is inflated again, as QEMU does', () => {
    const ledger = new RamLedger(REGIONS);
    const ranges = new RangeList();
    ledger.inflate(pfns(0x100));
    ledger.discard(pfns(0x100), ranges);
    ranges.clear();
    ledger.inflate(pfns(0x100));
    ledger.discard(pfns(0x100), ranges);
    expect(rangesOf(ranges)).toEqual([0x100]);
  });

  it('takes a report for frames of one region and leaves any other range alone', () => {
    const ledger = new RamLedger(REGIONS);
    const ranges = new RangeList();
    ledger.inflate(pfns(0x102));
    expect(ledger.report(0x100, 4, ranges)).toEqual({ changed: 3, unexpected: 1, outOfRange: 0 });
    expect(rangesOf(ranges)).toEqual([0x100, 0x101, 0x102, 0x103]);
    expect(ledger.count('reported')).toBe(3);
    ranges.clear();
    expect(ledger.report(0x13f, 2, ranges).outOfRange).toBe(2);
    expect(ledger.report(0x200, 1, ranges).outOfRange).toBe(1);
    expect(ranges.length).toBe(0);
  });

  it('inflates a reported frame like any other', () => {
    const ledger = new RamLedger(REGIONS);
    ledger.report(0x100, 1, new RangeList());
    expect(ledger.inflate(pfns(0x100)).changed).toBe(1);
    expect(ledger.balloonPages).toBe(1);
  });

  it('is all resident after a reset and says what the balloon held', () => {
    const ledger = new RamLedger(REGIONS);
    ledger.inflate(pfns(0x100, 0x1_0001));
    ledger.report(0x110, 8, new RangeList());
    expect(ledger.reset()).toBe(2);
    expect(ledger.count('resident')).toBe(128);
    expect(ledger.bytes).toBe(0);
    expect(ledger.inflate(pfns(0x100)).unexpected).toBe(0);
  });

  it('names what differs from the list a guest keeps', () => {
    const ledger = new RamLedger(REGIONS);
    ledger.inflate(pfns(0x100, 0x101, 0x1_0000));
    expect(ledger.compareBalloon([0x1_0000, 0x101, 0x100])).toEqual({
      missing: 0,
      surplus: 0,
      repeated: 0,
      firstMissing: undefined,
      firstSurplus: undefined,
    });
    expect(ledger.compareBalloon([0x105, 0x100, 0x100, 0x9999])).toEqual({
      missing: 2,
      surplus: 2,
      repeated: 1,
      firstMissing: 0x101,
      firstSurplus: 0x105,
    });
  });
});

describe('memory of the ledger', () => {
  const big = { start: 0, count: 4 * CHUNK_FRAMES };

  it('is a byte a frame, in chunks that exist while one of their frames is taken', () => {
    const ledger = new RamLedger([big]);
    ledger.inflate(pfns(0));
    expect(ledger.bytes).toBe(CHUNK_FRAMES);
    ledger.inflate(pfns(CHUNK_FRAMES, 3 * CHUNK_FRAMES));
    expect(ledger.bytes).toBe(3 * CHUNK_FRAMES);
  });

  it('is given back but for one chunk when everything is deflated', () => {
    const ledger = new RamLedger([big]);
    const all = Uint32Array.from({ length: big.count }, (_, pfn) => pfn);
    ledger.inflate(all);
    expect(ledger.bytes).toBe(big.count);
    ledger.deflate(all);
    expect(ledger.bytes).toBe(CHUNK_FRAMES);
  });

  it('does not grow with operations that change nothing', () => {
    const ledger = new RamLedger([big]);
    for (let round = 0; round < 100; round++) {
      ledger.deflate(pfns(round * 1000));
      ledger.inflate(pfns(5));
      ledger.deflate(pfns(5));
    }
    expect(ledger.bytes).toBe(CHUNK_FRAMES);
  });
});

describe('random operations', () => {
  type Model = Map<number, 'ballooned' | 'discarded' | 'reported'>;
  const isRam = (pfn: number): boolean =>
    REGIONS.some(({ start, count }) => pfn >= start && pfn < start + count);
  const pfn = fc.oneof(
    fc.integer({ min: 0xfe, max: 0x142 }),
    fc.integer({ min: 0xfffe, max: 0x1_0042 }),
  );
  const buffer = fc.array(pfn, { maxLength: 12 });
  const operation = fc.oneof(
    fc.record({ kind: fc.constant('inflate' as const), list: buffer }),
    fc.record({ kind: fc.constant('deflate' as const), list: buffer }),
    fc.record({ kind: fc.constant('discard' as const), list: buffer }),
    fc.record({ kind: fc.constant('report' as const), list: fc.tuple(pfn) }),
    fc.record({ kind: fc.constant('reset' as const), list: fc.constant([]) }),
  );

  /** The same rules again, on a Map, a frame at a time. */
  function applyToModel(model: Model, kind: string, list: readonly number[]): number {
    let changed = 0;
    for (const frame of list.filter(isRam)) {
      const state = model.get(frame);
      const given = state === 'ballooned' || state === 'discarded';
      if (kind === 'inflate' && !given) model.set(frame, 'ballooned');
      else if (kind === 'deflate' && given) model.delete(frame);
      else if (kind === 'discard' && state === 'ballooned') model.set(frame, 'discarded');
      else if (kind === 'report' && !given) model.set(frame, 'reported');
      else continue;
      changed++;
    }
    return changed;
  }

  it('leave every frame in the state a plain model says', () => {
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 60 }), (operations) => {
        const ledger = new RamLedger(REGIONS);
        const model: Model = new Map();
        for (const { kind, list } of operations) {
          if (kind === 'reset') {
            ledger.reset();
            model.clear();
            continue;
          }
          const expected = applyToModel(model, kind, list);
          if (kind === 'discard') ledger.discard(pfns(...list), new RangeList());
          else if (kind === 'report') {
            expect(ledger.report(list[0] ?? 0, 1, new RangeList()).changed).toBe(expected);
          } else expect(ledger[kind](pfns(...list)).changed).toBe(expected);
        }
        for (const frame of fromRanges(REGIONS)) {
          expect(ledger.stateOf(frame)).toBe(model.get(frame) ?? 'resident');
        }
        const given = [...model].filter(([, state]) => state !== 'reported');
        expect(ledger.balloonPages).toBe(given.length);
        expect(balloonOf(ledger)).toEqual(given.map(([frame]) => frame).sort((a, b) => a - b));
        expect(ledger.compareBalloon(given.map(([frame]) => frame))).toMatchObject({
          missing: 0,
          surplus: 0,
          repeated: 0,
        });
      }),
    );
  });
});
