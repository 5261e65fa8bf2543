import { describe, expect, it } from 'vitest';
import { checkHinting } from '../../../lab/verify/hinting-check.ts';
import { checkDeflateOnOom } from '../../../lab/verify/oom-check.ts';
import { checkOutOfPuff } from '../../../lab/verify/out-of-puff-check.ts';
import { checkReporting } from '../../../lab/verify/reporting-check.ts';
import type { Traffic } from '../../../lab/verify/traffic.ts';
import type { QueueName } from '../../../shared/virtio/balloon.ts';

const buffer = (timeMs: number, queue: QueueName, ranges = 0, pfnCount = 0): Traffic => {
  return { kind: 'buffer', timeMs, queue, readable: ranges === 0, ranges, pfnCount };
};
const actual = (timeMs: number, pages: number): Traffic => ({ kind: 'actual', timeMs, pages });
const target = (timeMs: number, pages: number): Traffic => ({ kind: 'target', timeMs, pages });

describe('the check of reporting', () => {
  const recorded = [
    buffer(2000, 'reporting', 32),
    buffer(2001, 'reporting', 9),
    buffer(4016, 'reporting', 4),
  ];

  it('compares blocks and passes, not the phase of a tick', () => {
    const later = recorded.map((item) => ({ ...item, timeMs: item.timeMs * 1.005 }));
    expect(checkReporting(recorded, later)).toMatchObject({
      name: 'reporting',
      equal: 3,
      total: 3,
    });
  });

  it.each([
    ['another number of blocks', [recorded[0], buffer(2001, 'reporting', 8), recorded[2]], 2],
    ['a report too few', recorded.slice(0, 2), 2],
    [
      'one that came with the pass before',
      [...recorded.slice(0, 2), buffer(2002, 'reporting', 4)],
      2,
    ],
    ['one that came a second late', [...recorded.slice(0, 2), buffer(5016, 'reporting', 4)], 2],
  ])('finds %s', (_, observed, equal) => {
    expect(checkReporting(recorded, observed)).toMatchObject({ equal, total: 3 });
  });
});

describe('the check of hinting', () => {
  const round = [buffer(1, 'free_page'), buffer(2, 'free_page', 1), buffer(3, 'free_page')];

  it('compares the order of commands and blocks', () => {
    expect(checkHinting(round, round)).toMatchObject({ equal: 3, total: 3 });
    const swapped = [round[1], round[0], round[2]];
    expect(checkHinting(round, swapped)).toMatchObject({ equal: 1, total: 3 });
    expect(checkHinting(round, [...round, round[0]])).toMatchObject({ equal: 3, total: 4 });
  });
});

describe('the check of deflation on OOM', () => {
  const inflated = [target(0, 51_200), buffer(1, 'inflate', 0, 256), actual(2, 51_200)];
  const giveBacks = (count: number): Traffic[] =>
    Array.from({ length: count }, (_, index) => [
      buffer(100 + index, 'deflate', 0, 256),
      actual(100.5 + index, 51_200 - 256 * (index + 1)),
    ]).flat();
  const recorded = [...inflated, ...giveBacks(100)];

  it('is equal with as many give-backs but for 5 %, each followed by `actual`', () => {
    for (const count of [95, 100, 105]) {
      const check = checkDeflateOnOom(recorded, [...inflated, ...giveBacks(count)]);
      expect(check.equal).toBe(check.total);
      expect(check.total).toBe(1 + Math.min(count, 100));
    }
  });

  it.each([
    ['too few give-backs', giveBacks(94)],
    ['none at all', []],
    [
      'one of another size',
      [buffer(99, 'deflate', 0, 128), actual(99.5, 51_072), ...giveBacks(99)],
    ],
    ['one without a write of `actual`', [buffer(99, 'deflate', 0, 256), ...giveBacks(99)]],
    ['growth by itself', [...giveBacks(100), buffer(500, 'inflate', 0, 256)]],
  ])('finds %s', (_, events) => {
    const check = checkDeflateOnOom(recorded, [...inflated, ...events]);
    expect(check.equal).toBeLessThan(check.total);
  });

  it('lets the balloon grow after the next target, and give back where it shall be smaller', () => {
    const after = [target(900, 51_200), buffer(901, 'inflate', 0, 256)];
    const check = checkDeflateOnOom([...recorded, ...after], [...recorded, ...after]);
    expect(check).toMatchObject({ equal: 101, total: 101 });
    const shrunk = [...inflated, target(3, 256), buffer(4, 'deflate', 0, 256), actual(5, 256)];
    expect(checkDeflateOnOom(shrunk, shrunk)).toMatchObject({ total: 0 });
  });
});

describe('the check of a target out of reach', () => {
  /** Stops at `pages` after the batch at 1,000 ms, and tries again every `periodMs`. */
  const stopping = (pages: number, periodMs: number, attempts = 4): Traffic[] => [
    target(0, 20_000),
    actual(990, 9728),
    actual(1000, 9984),
    ...Array.from({ length: attempts }, (_, index) => actual(1000 + (index + 1) * periodMs, pages)),
    target(9000, 0),
    actual(9001, pages - 256),
  ];
  const recorded = stopping(10_000, 208);

  it('compares where it stops within 1 %, and every pause', () => {
    expect(checkOutOfPuff(recorded, stopping(10_090, 208))).toMatchObject({ equal: 7, total: 7 });
  });

  it.each([
    ['a stop too far off', stopping(10_110, 208), 5],
    ['the pause of a coarser clock', stopping(10_000, 220), 2],
    ['a period that is slightly off', stopping(10_000, 204), 6],
    ['an attempt too few', stopping(10_000, 208, 3), 5],
    ['a guest that reaches the target', [target(0, 20_000), actual(5, 20_000)], 0],
  ])('finds %s', (_, observed, equal) => {
    const check = checkOutOfPuff(recorded, observed);
    expect([check.equal, check.total]).toEqual([equal, 7]);
  });

  it('has nothing to say where the recorded guest was never short', () => {
    const reached = [target(0, 300), actual(1, 256), actual(2, 300), target(3, 0), actual(4, 44)];
    expect(checkOutOfPuff(reached, recorded)).toMatchObject({ total: 0 });
  });
});
