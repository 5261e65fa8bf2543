import { describe, expect, it } from 'vitest';
import { GuestMemory } from '../../../guest/mm/memory.ts';
import {
  GFP_BALLOON,
  GFP_HIGHUSER_MOVABLE,
  GFP_KERNEL,
  MIGRATETYPE,
} from '../../../guest/mm/page/gfp.ts';
import type { FreeListDump } from '../../../guest/mm/page/image.ts';
import { PAGE_STATE } from '../../../guest/mm/page/page-lifecycle.ts';
import { listNodes } from '../../../guest/mm/page/page-list.ts';
import type { KmemEvent } from '../../../guest/workload/kmem-trace.ts';
import { allocationCheck, eventCheck, freeCheck } from '../../../lab/verify/allocator-checks.ts';
import { compareFreeLists } from '../../../lab/verify/free-lists.ts';
import { replayTrace } from '../../../lab/verify/trace-player.ts';
import { comparedState, compareZoneState } from '../../../lab/verify/zone-state.ts';
import { MIB } from '../../../shared/lib/units.ts';
import { smallDump } from './small-dump.ts';

const BLOCK = 8192;

/** One block of 1,024 frames is free; per-CPU lists take two blocks at a time. */
const dump = (): FreeListDump => smallDump({ movable: { 10: [BLOCK] }, batch: 2 });

const boot = (): GuestMemory => GuestMemory.boot({ memoryBytes: 64 * MIB, image: dump() });

describe('playing a trace', () => {
  const event = (kind: KmemEvent['kind'], pfn: number, extra = 0): KmemEvent => ({
    kind,
    pfn,
    order: 0,
    migratetype: kind === 'F' || kind === 'B' ? 0 : 1,
    extra,
    line: 0,
  });
  const alloc = (pfn: number) => event('A', pfn, GFP_HIGHUSER_MOVABLE);
  const refill = (pfn: number) => event('Z', pfn, 1);

  it('compares allocations and blocks taken, item by item', () => {
    const events = [refill(BLOCK), refill(BLOCK + 1), alloc(BLOCK), alloc(BLOCK + 7)];
    const report = replayTrace(boot(), events);
    expect(report.zoneLocked).toMatchObject({ expected: 2, produced: 2, equal: 2 });
    expect(report.allocations).toMatchObject({ expected: 2, produced: 2, equal: 1 });
    expect(report.allocations.firstDifference).toMatchObject({
      actual: [BLOCK + 1, 0, MIGRATETYPE.movable],
    });
    expect(report.allocations.firstDifference?.expected?.[0]).toBe(BLOCK + 7);
  });

  it.each([
    ['a balloon', GFP_BALLOON],
    ['processes', GFP_HIGHUSER_MOVABLE],
  ])(
    'pages of %s are movable: an unmovable request does not take their pageblock over',
    (_, gfp) => {
      const memory = boot();
      const taken = Array.from({ length: 812 }, (_page, index) => event('A', BLOCK + index, gfp));
      replayTrace(memory, [...taken, event('A', BLOCK + 812, GFP_KERNEL)]);
      expect(memory.allocator.nrFree() + memory.allocator.zones[1].pcp.count).toBe(211);
      expect(memory.pages.blockType(BLOCK + 512)).toBe(MIGRATETYPE.movable);
    },
  );

  it('knows a request that was refused by its PFN of 0', () => {
    const large = (pfn: number): KmemEvent => ({
      ...event('A', pfn, GFP_KERNEL),
      ...{ order: 9, migratetype: MIGRATETYPE.unmovable },
    });
    const refused = replayTrace(boot(), [large(BLOCK), large(0)]);
    expect(refused.allocations).toMatchObject({ expected: 2, produced: 2, equal: 2 });
    const had = replayTrace(boot(), [large(0)]);
    expect(had.allocations).toMatchObject({ expected: 1, equal: 0 });
  });

  it('takes a recorded PFN for a name: a free gives back what was had in its place', () => {
    const memory = boot();
    replayTrace(memory, [alloc(20), alloc(21), event('F', 20), alloc(22)]);
    const { states } = memory.pages;
    const held = [0, 1, 2].filter((index) => states.stateOf(BLOCK + index) === PAGE_STATE.lru);
    expect(held).toEqual([0, 1]);
  });

  it('frees what was allocated before the trace where it is', () => {
    const memory = boot();
    replayTrace(memory, [event('F', 5000)]);
    expect(memory.pages.states.stateOf(5000)).toBe(PAGE_STATE.pcp);
  });

  it('frees a batch at its B events, in their order', () => {
    const memory = boot();
    const frees = [event('F', 5000), event('F', 5001), event('B', 5000), event('B', 5001)];
    replayTrace(memory, [...frees, event('F', 5002)]);
    const zone = memory.allocator.zones[1];
    const list = [...listNodes(zone.words, zone.pcp.list(1))];
    expect(list).toEqual([5002, 5001, 5000]);
  });

  it('what kswapd frees fills a per-CPU list up to four batches, and no more', () => {
    const memory = boot();
    const [, zone] = memory.allocator.zones;
    const frees = Array.from({ length: 7 }, (_, index) => event('F', 5000 + 2 * index));
    replayTrace(
      memory,
      frees.map((one) => ({ ...one, byKswapd: true as const })),
    );
    expect(zone.pcp.count).toBe(7);
    replayTrace(memory, [{ ...event('F', 5100), byKswapd: true }, event('F', 5102)]);
    expect(zone.pcp.count).toBe(7);
    expect(zone.reclaimActive).toBe(false);
  });

  it('what is freed between a refill and its A goes straight to the free lists', () => {
    const memory = boot();
    const events = [refill(BLOCK), refill(BLOCK + 1), event('F', 5000), alloc(BLOCK)];
    replayTrace(memory, [...events, event('F', 5002)]);
    expect(memory.pages.blockOrder(5000)).toBe(0);
    expect(memory.pages.states.stateOf(5002)).toBe(PAGE_STATE.pcp);
  });

  it('plays no free of a frame that is not allocated, and counts it', () => {
    const memory = boot();
    const report = replayTrace(memory, [event('F', BLOCK), alloc(BLOCK), event('F', BLOCK + 3)]);
    expect(report.impossibleFrees).toBe(2);
    expect(memory.verify()).toEqual([]);
  });

  it('says which free came first that nothing answers to', () => {
    const first = { ...event('F', BLOCK), line: 7 };
    const report = replayTrace(boot(), [event('F', 5000), first, event('F', BLOCK + 1)]);
    expect(report).toMatchObject({ frees: 3, impossibleFrees: 2, firstImpossibleFree: first });
    expect(freeCheck(report)).toMatchObject({
      total: 3,
      equal: 1,
      firstDifference: { index: 7, expected: BLOCK, actual: null },
    });
  });

  it('plays no free of frames that no one allocation can have had', () => {
    const memory = boot();
    const free = (pfn: number, order: number): KmemEvent => ({ ...event('F', pfn), order });
    const large = { ...event('A', BLOCK, GFP_KERNEL), order: 2 };
    const report = replayTrace(memory, [
      large,
      ...[free(BLOCK + 1, 0), free(BLOCK, 3)],
      ...[free(5000, 0), free(5000, 0), free(5000, 3), free(5001, 2)],
      ...[free(BLOCK - 512, 10), free(16_383, 0), free(2 ** 27, 0), free(0, 0), free(0, 10)],
    ]);
    expect(report).toMatchObject({ frees: 11, impossibleFrees: 10 });
    expect(memory.verify()).toEqual([]);
  });

  it('frees a block of several frames that were in use before the trace as one', () => {
    const memory = boot();
    const report = replayTrace(memory, [{ ...event('F', 5000), order: 3 }]);
    expect(report.impossibleFrees).toBe(0);
    expect([5000, 5007].map((pfn) => memory.pages.refcount(pfn))).toEqual([0, 0]);
    expect(memory.verify()).toEqual([]);
  });

  it('compares the order and migratetype of an allocation as well', () => {
    const reclaimable = { ...alloc(BLOCK), migratetype: MIGRATETYPE.reclaimable };
    const report = replayTrace(boot(), [reclaimable]);
    expect(report.allocations).toMatchObject({ expected: 1, produced: 1, equal: 0 });
    expect(allocationCheck(report).firstDifference).toMatchObject({
      expected: [BLOCK, 0, MIGRATETYPE.reclaimable],
      actual: [BLOCK, 0, MIGRATETYPE.movable],
    });
  });

  it('an event that does not come is a difference, and the first one is told', () => {
    const drain = { ...event('D', 5000), line: 3 };
    const { drains, zoneLocked } = replayTrace(boot(), [drain]);
    expect(drains).toMatchObject({ expected: 1, produced: 0, equal: 0 });
    expect(eventCheck([zoneLocked, drains])).toMatchObject({
      total: 1,
      equal: 0,
      firstDifference: { index: 3, expected: 5000, actual: null },
    });
  });

  it('plays a trace that ends in refills without their allocation', () => {
    const report = replayTrace(boot(), [alloc(BLOCK), refill(BLOCK + 2), refill(BLOCK + 3)]);
    expect(report.allocations).toMatchObject({ expected: 1, equal: 1 });
    expect(report.zoneLocked).toMatchObject({ expected: 2, produced: 2, equal: 0 });
  });

  it('blanked expectations lead to the same memory', () => {
    const events = [
      refill(BLOCK),
      refill(BLOCK + 1),
      alloc(BLOCK),
      event('D', 5),
      alloc(BLOCK + 1),
    ];
    const blank = (one: KmemEvent): KmemEvent =>
      one.kind === 'Z' || one.kind === 'D' ? { ...one, pfn: 0, migratetype: 0 } : one;
    const [memory, blanked] = [boot(), boot()];
    replayTrace(memory, events);
    replayTrace(blanked, events.map(blank));
    expect(blanked.pages.words).toEqual(memory.pages.words);
  });
});

describe('comparing free lists', () => {
  it('names every list, pageblock and factor that differs, with its first difference', () => {
    const { allocator } = boot();
    allocator.zones[1].pcp.freeFactor = 1;
    const other = dump();
    const [zone] = other.zones;
    const area = zone.free_area.map((lists, order) =>
      order === 10 ? { ...lists, movable: [4096, BLOCK] } : lists,
    );
    const blocks = other.pageblock_migratetype.map((type, index) => (index === 9 ? 2 : type));
    const expected = {
      zones: [{ ...zone, free_area: area, pcp: { ...zone.pcp, free_factor: 0 } }],
      pageblock_migratetype: blocks,
    };
    expect(compareFreeLists(allocator, expected)).toEqual([
      'DMA32 order 10 movable: recorded 4096, emulated 8192 at 0; 2 and 1 blocks',
      'DMA32 free_factor: 0, not 1',
      'pageblock 9: 2, not 1',
    ]);
  });

  it('compares the numbers of zones and the skip hints, as far as they were dumped', () => {
    const { allocator } = boot();
    const other = dump();
    const [zone] = other.zones;
    const compact = {
      cached_free_pfn: 0,
      cached_migrate_pfn: [0, 4096],
      init_migrate_pfn: 0,
      init_free_pfn: 0,
      considered: 1,
      defer_shift: 0,
      order_failed: 0,
    };
    const pcp = { ...zone.pcp, high: 99 };
    const numbers = { watermark: [1, 2, 3, 5], watermark_boost: 512, nr_reserved_highatomic: 512 };
    const skips = other.pageblock_migratetype.map((_, block) => (block === 8 ? 1 : 0));
    const expected = {
      ...other,
      zones: [{ ...zone, ...numbers, compact, pcp }],
      pageblock_skip: skips,
    };
    expect(compareZoneState(allocator, expected)).toEqual([
      'DMA32 pcp.high: 99, not 100',
      'DMA32 watermark: 1, 2, 3, 5, not 1, 2, 3, 4',
      'DMA32 watermark_boost: 512, not 0',
      'DMA32 nr_reserved_highatomic: 512, not 0',
      'DMA32 cached_migrate_pfn: 0, 4096, not 0, 0',
      'DMA32 considered: 1, not 0',
      'skip hint of pageblock 8: 1, not 0',
    ]);
    expect(compareFreeLists(allocator, expected)).toEqual([]);
    expect(comparedState(expected) - comparedState(other)).toBe(9 + skips.length);
  });
});
