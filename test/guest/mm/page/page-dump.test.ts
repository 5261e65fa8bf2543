import { describe, expect, it } from 'vitest';
import {
  adoptCompoundPages,
  FRAME,
  PageDump,
  UNKNOWN_FRAMES,
} from '../../../../guest/mm/page/page-dump.ts';
import { PAGE_EVENT } from '../../../../guest/mm/page/page-lifecycle.ts';
import { stepBlock } from '../../../../guest/mm/page/pcp.ts';
import { FIRST, TestZone } from '../test-zone.ts';

const LRU = 1 << 4;
const PRIVATE = 1 << 13;
const WRITEBACK = 1 << 15;
const HEAD = 1 << 16;
const SWAPBACKED = 1 << 19;

/** One record for each frame: flags, references, mappings, kind. */
function dump(...frames: readonly (readonly [number, number, number, number])[]): PageDump {
  const words = frames.flatMap(([flags, refs, mapped, kind]) => [flags, refs, mapped - 1, kind]);
  return new PageDump(new Uint8Array(Int32Array.from(words).buffer));
}

describe('a dump of page structures', () => {
  it.each([
    ['anonymous', [LRU | SWAPBACKED, 1, 1, 2], FRAME.lru | FRAME.mapped | FRAME.swapbacked],
    ['of a file', [LRU, 1, 0, 1], FRAME.lru | FRAME.file],
    ['of a file with buffers', [LRU | PRIVATE, 2, 0, 1], FRAME.lru | FRAME.file],
    ['mapped from a file', [LRU, 3, 2, 1], FRAME.lru | FRAME.file | FRAME.mapped],
    ['being written', [LRU | WRITEBACK, 1, 0, 1], FRAME.lru | FRAME.file | FRAME.writeback],
    ['held by somebody', [LRU, 3, 1, 2], FRAME.lru | FRAME.mapped | FRAME.pinned],
    ['not on the LRU', [0, 1, 0, 0], 0],
  ] as const)('describes a page %s', (_what, record, expected) => {
    expect(dump(record).describe(0)).toBe(expected);
  });

  it('shows compound pages by the tails behind a head', () => {
    const tail = [0, 0, 0, 1] as const;
    const frames = dump([HEAD, 1, 0, 0], tail, tail, tail, [HEAD, 1, 0, 0], tail, [0, 1, 0, 0]);
    expect([0, 1, 4, 6].map((pfn) => frames.compoundOrder(pfn))).toEqual([2, 0, 1, 0]);
  });

  it('has whole records', () => {
    expect(() => new PageDump(new Uint8Array(15))).toThrow('whole records');
  });

  it('that is missing knows of nothing', () => {
    expect([UNKNOWN_FRAMES.describe(5), UNKNOWN_FRAMES.compoundOrder(5)]).toEqual([0, 0]);
  });

  it('marks compound pages on frames in use, and on no others', () => {
    const test = new TestZone();
    stepBlock(test.zone, FIRST, 2, PAGE_EVENT.claim);
    const order = (pfn: number): number => (pfn === FIRST || pfn === FIRST + 8 ? 2 : 0);
    adoptCompoundPages(test.pages, { ...UNKNOWN_FRAMES, pageCount: 8192, compoundOrder: order });
    expect([FIRST, FIRST + 8].map((pfn) => test.pages.compoundOrder(pfn))).toEqual([2, 0]);
  });
});
