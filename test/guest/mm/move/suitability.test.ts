import { beforeEach, describe, expect, it } from 'vitest';
import { COMPACT } from '../../../../guest/mm/move/constants.ts';
import {
  compactGap,
  compactionSuitable,
  extfragForOrder,
  fragmentationIndex,
  nodeFragmentationScore,
  suitableByWatermarks,
  unusableFreeIndex,
} from '../../../../guest/mm/move/suitability.ts';
import { ALLOC_WMARK_MIN, WMARK } from '../../../../guest/mm/page/gfp.ts';
import { FIRST } from '../test-zone.ts';
import { MoveWorld } from './move-world.ts';

let world: MoveWorld;

beforeEach(() => {
  world = new MoveWorld();
});

/** So many free blocks of an order, none of which can be merged with another. */
function free(order: number, blocks: number, from = FIRST): void {
  for (let block = 0; block < blocks; block++)
    world.test.free(from + (block << (order + 1)), order);
}

const request = (order: number) => ({ order, allocFlags: ALLOC_WMARK_MIN, highestZone: 1 });

describe('the fragmentation index', () => {
  it('is -1000 when there is a block, 0 when nothing is free', () => {
    expect(fragmentationIndex(world.test.zone, 4)).toBe(0);
    free(4, 1);
    expect(fragmentationIndex(world.test.zone, 4)).toBe(-1000);
  });

  it.each([
    // 1000 - (1000 + pages * 1000 / requested) / blocks, with whole numbers throughout.
    [4, 0, 1, 1000 - Math.floor((1000 + 62) / 1)],
    [4, 0, 100, 1000 - Math.floor((1000 + 6250) / 100)],
    [9, 0, 1000, 1000 - Math.floor((1000 + 1953) / 1000)],
    [9, 8, 3, 1000 - Math.floor((1000 + 1500) / 3)],
  ])(
    'for order %i of blocks of order %i, %i of them: %i',
    (order, blockOrder, blocks, expected) => {
      free(blockOrder, blocks);
      expect(fragmentationIndex(world.test.zone, order)).toBe(expected);
    },
  );
});

describe('free memory that is of no use', () => {
  it('is told in thousandths and in percent', () => {
    free(9, 1);
    free(0, 256, FIRST + 1024);
    const { zone } = world.test;
    expect([unusableFreeIndex(zone, 9), extfragForOrder(zone, 9)]).toEqual([333, 33]);
    expect([unusableFreeIndex(zone, 0), extfragForOrder(zone, 0)]).toEqual([0, 0]);
    expect([unusableFreeIndex(zone, 10), extfragForOrder(zone, 10)]).toEqual([1000, 100]);
  });

  it('scores a node by the share of its zones', () => {
    free(0, 256);
    const { zones, zone } = world.test;
    const present = zones.reduce((sum, { presentPages }) => sum + presentPages, 0);
    const score = Math.floor((zone.presentPages * 100) / (present + 1));
    expect(nodeFragmentationScore(zones)).toBe(score);
  });
});

describe('a zone is worth compacting', () => {
  it('for the whole node at any time', () => {
    expect(suitableByWatermarks(world.test.zone, request(-1))).toBe(COMPACT.continue);
  });

  it('not where the request can be served as it is', () => {
    free(4, 2);
    expect(suitableByWatermarks(world.test.zone, request(4))).toBe(COMPACT.success);
  });

  it('when pages for source and target are free beyond the watermark', () => {
    expect([compactGap(1), compactGap(9)]).toEqual([4, 1024]);
    const { zone } = world.test;
    zone.watermark[WMARK.min] = 10;
    free(0, 10 + compactGap(2));
    expect(suitableByWatermarks(zone, request(2))).toBe(COMPACT.skipped);
    free(0, 1, FIRST + 2048);
    expect(suitableByWatermarks(zone, request(2))).toBe(COMPACT.continue);
  });

  it('beyond the low watermark for a costly order', () => {
    const { zone } = world.test;
    zone.watermark[WMARK.low] = 1000;
    free(0, 1000 + compactGap(4));
    expect(suitableByWatermarks(zone, request(4))).toBe(COMPACT.skipped);
    expect(suitableByWatermarks(zone, request(3))).toBe(COMPACT.continue);
  });

  it('not where a costly order lacks memory rather than large blocks', () => {
    free(8, 3);
    free(0, 1024, FIRST + 2048);
    const { zone } = world.test;
    expect(fragmentationIndex(zone, 9)).toBeGreaterThan(500);
    expect(compactionSuitable(zone, request(9), world.trace)).toBe(COMPACT.continue);
    expect(world.traced).toEqual([
      'mm_compaction_suitable: node=0 zone=DMA32    order=9 ret=continue',
    ]);
  });

  it.each([
    [3, COMPACT.continue],
    [4, COMPACT.skipped],
  ])('whatever the index says of an order that is not costly: %i', (order, result) => {
    free(order - 1, 40);
    const { zone } = world.test;
    expect(fragmentationIndex(zone, order)).toBe(500 - 1000 / 40);
    expect(compactionSuitable(zone, request(order), world.trace)).toBe(result);
  });

  it('says not_suitable_zone where only the index speaks against it', () => {
    free(8, 5);
    const { zone } = world.test;
    expect(fragmentationIndex(zone, 9)).toBeLessThanOrEqual(500);
    expect(compactionSuitable(zone, request(9), world.trace)).toBe(COMPACT.skipped);
    expect(world.traced).toEqual([
      'mm_compaction_suitable: node=0 zone=DMA32    order=9 ret=not_suitable_zone',
    ]);
  });
});
