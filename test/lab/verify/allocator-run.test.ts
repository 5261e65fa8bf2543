import { describe, expect, it } from 'vitest';
import { GFP_KERNEL, MIGRATETYPE } from '../../../guest/mm/page/gfp.ts';
import { freeListDumpSchema } from '../../../guest/mm/page/image.ts';
import type { KmemEvent } from '../../../guest/workload/kmem-trace.ts';
import { runAllocator } from '../../../lab/verify/allocator-run.ts';
import { MIB } from '../../../shared/lib/units.ts';

const BLOCK = 8192;
const FREE = { 6: BLOCK + 320, 7: BLOCK + 384 } as Readonly<Record<number, number>>;

/** A 64 MiB guest in which 192 frames of one pageblock are free, and all others in use. */
const before = freeListDumpSchema.parse({
  zones: [
    {
      name: 'DMA32',
      start_pfn: 4096,
      managed: 12000,
      spanned: 12256,
      present: 12256,
      watermark: [1, 2, 3, 4],
      lowmem_reserve: [0, 0, 0, 0, 0],
      free_area: Array.from({ length: 11 }, (_, order) => ({
        unmovable: [],
        movable: FREE[order] === undefined ? [] : [FREE[order]],
        reclaimable: [],
        highatomic: [],
        isolate: [],
      })),
      pcp: { count: 0, high: 100, batch: 1, lists: Array.from({ length: 13 }, () => []) },
    },
  ],
  pageblock_migratetype: Array.from({ length: 32 }, () => MIGRATETYPE.movable),
});

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
