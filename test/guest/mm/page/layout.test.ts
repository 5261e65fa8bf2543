import { describe, expect, it } from 'vitest';
import { GuestMemory } from '../../../../guest/mm/memory.ts';
import { MIGRATETYPE } from '../../../../guest/mm/page/gfp.ts';
import { listNodes } from '../../../../guest/mm/page/page-list.ts';
import { ramRegions, spanOf } from '../../../../guest/mm/page/ram.ts';
import { reservedFrames } from '../../../../guest/mm/page/reserved.ts';
import type { Zone } from '../../../../guest/mm/page/zone.ts';
import { GIB, MIB, PAGE_SIZE, SizeError } from '../../../../shared/lib/units.ts';

const boot = (mib: number): GuestMemory => GuestMemory.boot({ memoryBytes: mib * MIB });
const kib = (pages: number): number => (pages * PAGE_SIZE) / 1024;

function numbers(zone: Zone) {
  const { startPfn, spannedPages, presentPages, managedPages, pcp } = zone;
  return {
    start: startPfn,
    spanned: spannedPages,
    present: presentPages,
    managed: managedPages,
    watermark: [...zone.watermark].slice(0, 3),
    reserve: zone.lowmemReserve[2],
    pcp: [pcp.high, pcp.batch],
    threshold: zone.statThreshold,
  };
}

const DMA = { start: 1, spanned: 4095, present: 3998, managed: 3840, threshold: 2 };

describe('RAM of QEMU’s q35', () => {
  it('is one region below 2816 MiB', () => {
    expect(ramRegions(2815 * MIB)).toEqual([{ start: 0, count: 2815 * 256 }]);
  });

  it('is split from 2816 MiB on: 2 GiB below 4 GiB, the rest from there', () => {
    expect(ramRegions(2816 * MIB)).toEqual([
      { start: 0, count: 0x80000 },
      { start: 0x100000, count: 768 * 256 },
    ]);
  });

  it.each([63, 64 * 1024 + 1, 100.5])('refuses %d MiB', (mib) => {
    expect(() => ramRegions(mib * MIB)).toThrow(SizeError);
  });

  it.each([64, 512, 2815, 2816, 4096, 65536])('of %i MiB adds up to it', (mib) => {
    const pages = ramRegions(mib * MIB).reduce((sum, { count }) => sum + count, 0);
    expect(pages * PAGE_SIZE).toBe(mib * MIB);
  });
});

describe('zones of the recorded sizes are as recorded', () => {
  it('256 MiB', () => {
    const [dma, dma32] = boot(256).allocator.zones.map(numbers);
    expect(dma).toEqual({ ...DMA, watermark: [33, 41, 49], reserve: 192, pcp: [41, 1] });
    expect(dma32).toEqual({
      start: 4096,
      spanned: 61408,
      present: 61408,
      managed: 51815,
      watermark: [427, 533, 639],
      reserve: 0,
      pcp: [533, 15],
      threshold: 4,
    });
  });

  it('512 MiB', () => {
    const [dma, dma32] = boot(512).allocator.zones.map(numbers);
    expect(dma).toEqual({ ...DMA, watermark: [22, 27, 32], reserve: 444, pcp: [27, 1] });
    expect(dma32).toEqual({
      start: 4096,
      spanned: 126944,
      present: 126944,
      managed: 116231,
      watermark: [662, 827, 992],
      reserve: 0,
      pcp: [827, 31],
      threshold: 6,
    });
  });

  it('1 GiB, with huge pages and so khugepaged’s larger minimum', () => {
    const [dma, dma32] = boot(1024).allocator.zones.map(numbers);
    expect(dma).toEqual({ ...DMA, watermark: [175, 218, 261], reserve: 947, pcp: [218, 1] });
    expect(dma32).toEqual({
      start: 4096,
      spanned: 258016,
      present: 258016,
      managed: 245063,
      watermark: [11088, 13860, 16632],
      reserve: 0,
      pcp: [13860, 63],
      threshold: 8,
    });
  });

  it('with little more than 512 MiB khugepaged’s minimum is a twentieth of memory', () => {
    const { zones, managedPages } = boot(768).allocator;
    const min = zones.reduce((sum, zone) => sum + zone.watermark[0], 0);
    expect(min / managedPages).toBeGreaterThan(0.048);
    expect(min / managedPages).toBeLessThan(0.05);
  });

  it.each([
    [256, 222620],
    [512, 480284],
    [1024, 995612],
  ])('MemTotal of %i MiB is %i kB', (mib, memTotal) => {
    expect(kib(boot(mib).allocator.memInfo().memTotal)).toBe(memTotal);
  });
});

describe('a fresh guest', () => {
  it.each([
    [256, 193568, 196768],
    [512, 449932, 449648],
    [1024, 957632, 890772],
  ])('of %i MiB has nearly as much free and available as a recorded one', (mib, free, avail) => {
    const info = boot(mib).allocator.memInfo();
    expect(Math.abs(kib(info.memFree) - free) / free).toBeLessThan(0.006);
    expect(Math.abs(kib(info.memAvailable) - avail) / avail).toBeLessThan(0.006);
  });

  it.each([64, 96, 128, 300, 2815, 2816, 3072, 4100])('of %i MiB keeps all invariants', (mib) => {
    expect(boot(mib).verify()).toEqual([]);
  });

  it('has most of its memory in movable blocks of the largest order', () => {
    const { allocator } = boot(1024);
    const blocks = [...listNodes(allocator.pages.words, allocator.zones[1].freeList(10, 1))];
    expect(blocks.length).toBeGreaterThan(220);
    expect(allocator.zones[1].nrFree[10]).toBe(blocks.length);
    const types = [0, 0, 0, 0, 0];
    for (const type of allocator.pages.blockTypes) types[type]++;
    expect(types[MIGRATETYPE.unmovable]).toBeGreaterThan(0);
    expect(types[MIGRATETYPE.reclaimable]).toBeGreaterThan(0);
  });

  it('has the DMA zone of a real one', () => {
    const zone = boot(1024).allocator.zones[0];
    expect(zone.freePages).toBe(3808);
    expect([...zone.nrFree]).toEqual([0, 0, 0, 0, 0, 1, 1, 1, 0, 1, 3]);
  });

  it('is the same each time', () => {
    const [one, other] = [boot(256), boot(256)];
    expect(one.pages.words).toEqual(other.pages.words);
    expect(one.pages.states.snapshot()).toEqual(other.pages.states.snapshot());
  });

  it('above 4 GiB has a Normal zone with most of the memory', () => {
    const [, dma32, normal] = boot(8192).allocator.zones;
    expect(normal.startPfn).toBe(0x100000);
    expect(normal.spannedPages).toBe((6 * GIB) / PAGE_SIZE);
    expect(normal.managedPages).toBeGreaterThan(0.97 * normal.spannedPages);
    expect(dma32.lowmemReserve[2]).toBe(Math.floor(normal.managedPages / 256));
  });
});

describe('reserved frames', () => {
  it.each([64, 1024, 2816, 65536])('of %i MiB are apart and inside of RAM', (mib) => {
    const regions = ramRegions(mib * MIB);
    const { kept, freedLate } = reservedFrames(regions);
    const all = [...kept, ...freedLate].sort((a, b) => a.start - b.start);
    let end = 0;
    for (const { start, count } of all) {
      expect(start).toBeGreaterThanOrEqual(end);
      end = start + count;
      const inside = regions.some((ram) => start >= ram.start && end <= ram.start + ram.count);
      expect(inside, `${start} + ${count}`).toBe(true);
    }
    expect(end).toBeLessThanOrEqual(spanOf(regions));
  });
});
