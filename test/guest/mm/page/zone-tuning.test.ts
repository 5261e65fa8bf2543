import { describe, expect, it } from 'vitest';
import {
  hugepageMinFreePages,
  minFreePages,
  normalThreshold,
  setupPageset,
  setupPerZoneWmarks,
  totalReservePages,
} from '../../../../guest/mm/page/zone-tuning.ts';
import { TestZone } from '../test-zone.ts';

function zones(dma: number, dma32: number) {
  const test = new TestZone();
  [test.zones[0].managedPages, test.zones[1].managedPages] = [dma, dma32];
  return test.zones;
}

describe('numbers derived from the size of the zones', () => {
  it.each([
    [117_591, 685],
    [246_423, 992],
    [100, 32],
    [1e12, 65_536],
  ])('calculate_min_free_kbytes: %i managed pages make %i', (managed, min) => {
    expect(minFreePages(managed)).toBe(min);
  });

  it('setup_per_zone_wmarks: by share, apart by a quarter of the minimum', () => {
    const [dma, dma32] = zones(1000, 9000);
    setupPerZoneWmarks([dma, dma32], 800);
    expect([...dma.watermark]).toEqual([80, 100, 120, 140]);
    expect([...dma32.watermark]).toEqual([720, 900, 1080, 1260]);
  });

  it('setup_per_zone_wmarks: or apart by a thousandth of a large zone', () => {
    const [dma, dma32] = zones(0, 1_000_000);
    setupPerZoneWmarks([dma, dma32], 800);
    expect([...dma32.watermark]).toEqual([800, 1800, 2800, 3800]);
  });

  it('khugepaged: 5,632 pages a zone, a twentieth at most, nothing below 512 MiB', () => {
    expect(hugepageMinFreePages(zones(3840, 1_000_000))).toBe(11_264);
    expect(hugepageMinFreePages(zones(3840, 150_000))).toBe(Math.floor(153_840 / 20));
    expect(hugepageMinFreePages(zones(3840, 131_072 - 3841))).toBe(0);
  });

  it.each([
    [3840, 1],
    [51_815, 15],
    [116_484, 31],
    [245_063, 63],
    [16_000_000, 63],
  ])('zone_batchsize: %i managed pages make %i', (managed, batch) => {
    const [, zone] = zones(0, managed);
    setupPageset(zone);
    expect(zone.pcp.batch).toBe(batch);
  });

  it('per-CPU lists hold up to the low watermark, four batches at least', () => {
    const [, zone] = zones(0, 245_063);
    setupPageset(zone);
    expect(zone.pcp.high).toBe(252);
    zone.watermark.set([200, 300, 400, 500]);
    setupPageset(zone);
    expect(zone.pcp.high).toBe(300);
  });

  it.each([
    [3840, 2],
    [49_335, 4],
    [113_751, 6],
    [242_583, 8],
    [17_000_000, 22],
  ])('calculate_normal_threshold: %i managed pages make %i', (managed, threshold) => {
    expect(normalThreshold(managed)).toBe(threshold);
  });

  it('totalreserve: high watermark and lowmem reserve of each zone, its size at most', () => {
    const [dma, dma32] = zones(500, 9000);
    dma.watermark.set([1, 2, 30, 4]);
    dma.lowmemReserve.set([0, 40, 60]);
    dma32.watermark.set([1, 2, 300, 4]);
    expect(totalReservePages([dma, dma32])).toBe(90 + 300);
    dma.lowmemReserve.set([0, 40, 6000]);
    expect(totalReservePages([dma, dma32])).toBe(500 + 300);
  });
});
