import { describe, expect, it } from 'vitest';
import { GuestMemory } from '../../../guest/mm/memory.ts';
import {
  GFP_BALLOON,
  GFP_HIGHUSER_MOVABLE,
  GFP_KERNEL,
  MIGRATETYPE,
} from '../../../guest/mm/page/gfp.ts';
import { type FreeListDump, freeListDumpSchema } from '../../../guest/mm/page/image.ts';
import { PAGE_STATE } from '../../../guest/mm/page/page-lifecycle.ts';
import { listNodes } from '../../../guest/mm/page/page-list.ts';
import type { KmemEvent } from '../../../guest/workload/kmem-trace.ts';
import { compareFreeLists } from '../../../lab/verify/free-lists.ts';
import { replayTrace } from '../../../lab/verify/trace-player.ts';
import { MIB } from '../../../shared/lib/units.ts';

const BLOCK = 8192;

/** A 64 MiB guest with one free block of 1,024 frames; per-CPU lists take two blocks at a time. */
function dump(): FreeListDump {
  const empty = () => ({
    unmovable: [],
    movable: [],
    reclaimable: [],
    highatomic: [],
    isolate: [],
  });
  const area = Array.from({ length: 11 }, empty);
  const movable = { ...empty(), movable: [BLOCK] };
  return freeListDumpSchema.parse({
    zones: [
      {
        name: 'DMA32',
        start_pfn: 4096,
        managed: 12000,
        spanned: 12256,
        present: 12256,
        watermark: [1, 2, 3, 4],
        lowmem_reserve: [0, 0, 0, 0, 0],
        free_area: [...area.slice(0, 10), movable],
        pcp: { count: 0, high: 100, batch: 2, lists: Array.from({ length: 13 }, () => []) },
      },
    ],
    pageblock_migratetype: Array.from({ length: 32 }, () => 1),
  });
}

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
    expect(report.allocations.firstDifference).toMatchObject({ actual: [BLOCK + 1] });
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
    const large = (pfn: number): KmemEvent => ({ ...event('A', pfn, GFP_KERNEL), order: 9 });
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
});
