import { describe, expect, it } from 'vitest';
import { GFP_KERNEL, MIGRATETYPE } from '../../../guest/mm/page/gfp.ts';
import type { KmemEvent } from '../../../guest/workload/kmem-trace.ts';
import { runAllocator } from '../../../lab/verify/allocator-run.ts';
import { MIB } from '../../../shared/lib/units.ts';
import { smallDump } from './small-dump.ts';

const BLOCK = 8192;

/** 192 frames of one pageblock are free, and all others in use. */
const before = smallDump({ movable: { 6: [BLOCK + 320], 7: [BLOCK + 384] }, batch: 1 });

const KERNEL_REQUEST: KmemEvent = {
  kind: 'A',
  pfn: BLOCK + 320,
  order: 0,
  migratetype: MIGRATETYPE.unmovable,
  extra: GFP_KERNEL,
  line: 1,
};

describe('a watermark boost', () => {
  it('is over once kswapd was woken: later requests get their frames', () => {
    const [zone] = before.zones;
    const boosted = { ...before, zones: [{ ...zone, watermark_boost: 512 }] };
    const second = { ...KERNEL_REQUEST, pfn: BLOCK + 321 };
    const inputs = { memoryBytes: 64 * MIB, events: [KERNEL_REQUEST, second], targetPages: [] };
    const { report } = runAllocator({ ...inputs, before: boosted }, before);
    expect(report.allocations).toMatchObject({ expected: 2, equal: 2 });
  });
});

describe('an unmovable request that falls back to a movable pageblock', () => {
  it.each([
    ['takes it over where nobody says what is in use there', undefined, MIGRATETYPE.unmovable],
    ['does not where pages of processes were recorded', () => true, MIGRATETYPE.movable],
  ])('%s', (_, isMovable, type) => {
    const inputs = {
      memoryBytes: 64 * MIB,
      before,
      events: [KERNEL_REQUEST],
      targetPages: [],
      ...(isMovable && { isMovable }),
    };
    const types = before.pageblock_migratetype.map((was, block) => {
      return block === BLOCK >>> 9 ? type : was;
    });
    const after = { ...before, pageblock_migratetype: types };
    const { report, listDifferences } = runAllocator(inputs, after);
    expect(report.allocations.equal).toBe(1);
    expect(listDifferences.filter((line) => line.startsWith('pageblock'))).toEqual([]);
  });
});
