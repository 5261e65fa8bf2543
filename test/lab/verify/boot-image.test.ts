import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { GuestMemory } from '../../../guest/mm/memory.ts';
import { MIGRATETYPES } from '../../../guest/mm/page/gfp.ts';
import { listNodes } from '../../../guest/mm/page/page-list.ts';
import { MAX_ORDER } from '../../../guest/mm/page/page-map.ts';
import { BlockPlaces } from '../../../lab/verify/block-places.ts';
import { bootImage } from '../../../lab/verify/boot-image.ts';
import { type BootState, parseBootState, readBootState } from '../../../lab/verify/boot-state.ts';
import { readRecording } from '../../../lab/verify/recording.ts';

const NAMES = [
  'page-reporting-512m',
  'free-page-hint-512m',
  'deflate-on-oom-512m',
  'out-of-puff-256m',
];

const stateOf = (name: string): BootState => {
  const state = readBootState(`lab/recordings/${name}`);
  if (state === undefined) throw new Error(`${name} has no snapshot of its boot`);
  return state;
};

describe('the state of a guest after boot', () => {
  it('is read from its snapshot: zones with memory, blocks by migratetype and order', () => {
    const [dma, dma32, ...more] = stateOf('page-reporting-512m').zones;
    expect(more).toEqual([]);
    expect(dma).toMatchObject({ name: 'DMA', startPfn: 1, managedPages: 3840 });
    expect(dma32).toEqual({
      name: 'DMA32',
      startPfn: 4096,
      spannedPages: 126_944,
      presentPages: 126_944,
      managedPages: 116_231,
      watermark: [662, 827, 992],
      lowmemReserve: [0, 0, 0, 0, 0],
      pcp: { count: 651, high: 827, batch: 31 },
      freeBlocks: [
        [0, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0],
        [3, 3, 4, 3, 3, 5, 3, 5, 4, 1, 102],
        [0, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0],
        new Array(11).fill(0),
        new Array(11).fill(0),
      ],
      pageblocks: [14, 228, 6, 0, 0],
    });
  });

  it('is part of a recording that has it, and of no other', () => {
    expect(readRecording('lab/recordings/out-of-puff-256m').bootState?.zones).toHaveLength(2);
    expect(readRecording('lab/recordings/stats-512m').bootState).toBeUndefined();
  });

  it.each([
    ['no zones at all', '', ''],
    ['a guest of several nodes', '', 'Node 0, zone DMA\nNode 1, zone DMA32\n'],
    ['a zone that pagetypeinfo does not list', '', 'Node 0, zone DMA\n  present 5\n'],
  ])('is not understood from %s', (_, pagetypeinfo, zoneinfo) => {
    expect(parseBootState(pagetypeinfo, zoneinfo)).toBeUndefined();
  });
});

describe('places for free blocks', () => {
  it('merge with nothing and overlap with nothing, however many are asked for', () => {
    const order = fc.integer({ min: 0, max: 10 });
    fc.assert(
      fc.property(fc.array(order, { minLength: 1, maxLength: 80 }), (orders) => {
        const places = new BlockPlaces([{ start: 512, end: 8192, migratetype: 1 }]);
        const taken: { pfn: number; order: number }[] = [];
        for (const wanted of orders.sort((a, b) => b - a)) {
          const pfn = places.take(wanted, 1);
          if (pfn >= 0) taken.push({ pfn, order: wanted });
        }
        const frames = new Set<number>();
        for (const block of taken) {
          expect(block.pfn % (1 << block.order)).toBe(0);
          expect(block.pfn).toBeGreaterThanOrEqual(512);
          for (let pfn = block.pfn; pfn < block.pfn + (1 << block.order); pfn++) frames.add(pfn);
        }
        expect(frames.size).toBe(taken.reduce((sum, block) => sum + (1 << block.order), 0));
        for (const { pfn, order: own } of taken.filter((block) => block.order < 10)) {
          const buddy = pfn ^ (1 << own);
          const length = 1 << own;
          const isFree = Array.from({ length }, (_, index) => frames.has(buddy + index));
          expect(isFree.every(Boolean), `${pfn} order ${own}`).toBe(false);
        }
      }),
    );
  });

  it('run out where there is no room', () => {
    const places = new BlockPlaces([{ start: 1024, end: 2048, migratetype: 1 }]);
    expect(places.take(9, 1)).toBe(1024);
    expect(places.take(9, 1)).toBe(-1);
    expect(places.take(8, 1)).toBe(1536);
    expect(places.take(8, 0)).toBe(-1);
  });
});

describe('a memory image made from counts', () => {
  it.each(NAMES)('of %s has the recorded free blocks and breaks no invariant', (name) => {
    const state = stateOf(name);
    const image = bootImage(state);
    const { memoryBytes } = readRecording(`lab/recordings/${name}`);
    expect(image).toBeDefined();
    const memory = GuestMemory.boot({ memoryBytes, ...(image && { image }) });
    expect(memory.verify()).toEqual([]);
    for (const zone of state.zones) {
      const booted = memory.allocator.zones.find((one) => one.name === zone.name);
      if (booted === undefined) throw new Error(`no zone ${zone.name}`);
      const blocks = Array.from({ length: MIGRATETYPES }, (_, type) =>
        Array.from({ length: MAX_ORDER }, (_none, order) => {
          return [...listNodes(booted.words, booted.freeList(order, type))].length;
        }),
      );
      expect(blocks).toEqual(zone.freeBlocks);
      expect(booted.pcp.count).toBe(zone.pcp.count);
      expect([...booted.watermark].slice(0, 3)).toEqual(zone.watermark);
    }
  });

  it('does not exist where the counts do not fit', () => {
    const [dma, dma32] = stateOf('page-reporting-512m').zones;
    const tooMany = dma32.freeBlocks.map((counts, type) => {
      return type === 1 ? counts.with(10, 125) : counts;
    });
    expect(bootImage({ zones: [dma, { ...dma32, freeBlocks: tooMany }] })).toBeUndefined();
  });
});
