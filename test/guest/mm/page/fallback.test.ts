import { describe, expect, it } from 'vitest';
import {
  canStealFallback,
  findSuitableFallback,
  moveFreepagesBlock,
  rmqueueAny,
} from '../../../../guest/mm/page/fallback.ts';
import { firstFree } from '../../../../guest/mm/page/free-area.ts';
import {
  ALLOC_KSWAPD,
  ALLOC_NOFRAGMENT,
  GFP_HIGHUSER_MOVABLE,
  MIGRATETYPE,
  WMARK,
} from '../../../../guest/mm/page/gfp.ts';
import { PAGE_EVENT } from '../../../../guest/mm/page/page-lifecycle.ts';
import { FIRST, TestZone } from '../test-zone.ts';

const { movable, unmovable, reclaimable, highatomic } = MIGRATETYPE;

/** Makes `count` frames from `start` on used, the first `lru` of them mapped. */
function claim(test: TestZone, start: number, count: number, lru = 0): void {
  for (let pfn = start; pfn < start + count; pfn++) {
    test.pages.states.step(pfn, PAGE_EVENT.claim);
    if (pfn < start + lru) test.pages.states.step(pfn, PAGE_EVENT.lruAdd);
  }
}

describe('whom to take from (find_suitable_fallback)', () => {
  it.each([
    [unmovable, [reclaimable, movable]],
    [movable, [reclaimable, unmovable]],
    [reclaimable, [unmovable, movable]],
  ])('for migratetype %i first choice, then second choice', (wanted, choices) => {
    const test = new TestZone();
    test.free(FIRST, 3, choices[1]);
    expect(findSuitableFallback(test.zone, 3, wanted)).toBe(choices[1]);
    test.free(FIRST + 64, 3, choices[0]);
    expect(findSuitableFallback(test.zone, 3, wanted)).toBe(choices[0]);
    expect(findSuitableFallback(test.zone, 4, wanted)).toBe(-1);
  });

  it('never takes from the highatomic reserve', () => {
    const test = new TestZone();
    test.free(FIRST, 3, highatomic);
    expect(findSuitableFallback(test.zone, 3, unmovable)).toBe(-1);
    expect(rmqueueAny(test.zone, 0, unmovable, 0)).toBe(-1);
  });

  it('a whole pageblock may be claimed for non-movable, and for movable from order 4 on', () => {
    expect(canStealFallback(0, unmovable)).toBe(true);
    expect(canStealFallback(0, reclaimable)).toBe(true);
    expect(canStealFallback(3, movable)).toBe(false);
    expect(canStealFallback(4, movable)).toBe(true);
  });
});

describe('taking a block of another migratetype (__rmqueue_fallback)', () => {
  it('takes the largest and makes all its pageblocks the new owner’s', () => {
    const test = new TestZone();
    test.free(FIRST + 2048, 4);
    test.free(FIRST, 10);
    expect(rmqueueAny(test.zone, 0, unmovable, 0)).toBe(FIRST);
    expect([test.pages.blockType(FIRST), test.pages.blockType(FIRST + 512)]).toEqual([0, 0]);
    expect(test.traced('X')).toEqual([`${FIRST} 0 10 0 1`]);
    expect(test.list(9, unmovable)).toEqual([FIRST + 512]);
    expect(test.zone.watermarkBoost).toBe(0);
  });

  it('movable that may not claim the pageblock takes the smallest block alone', () => {
    const test = new TestZone();
    test.pages.blockTypes.fill(unmovable);
    test.free(FIRST, 3, unmovable);
    test.free(FIRST + 64, 1, unmovable);
    expect(rmqueueAny(test.zone, 0, movable, 0)).toBe(FIRST + 64);
    expect(test.traced('X')).toEqual([`${FIRST + 64} 0 1 1 0`]);
    expect(test.pages.blockType(FIRST + 64)).toBe(unmovable);
    expect(test.list(3, unmovable)).toEqual([FIRST]);
  });

  it('moves all free blocks of the pageblock along, to the tails of the new lists', () => {
    const test = new TestZone();
    test.free(FIRST + 4096, 2, unmovable);
    test.free(FIRST + 8, 2);
    test.free(FIRST + 16, 3);
    claim(test, FIRST + 100, 300, 300);
    expect(rmqueueAny(test.zone, 3, unmovable, 0)).toBe(FIRST + 16);
    expect(test.list(2, unmovable)).toEqual([FIRST + 4096, FIRST + 8]);
    expect(test.list(2, movable)).toEqual([]);
    expect(test.pages.blockType(FIRST)).toBe(movable);
  });

  it('claims the pageblock when half of it is free or of a kind with the new owner', () => {
    // 256 frames count: 8 free ones and what is not movable of a movable pageblock.
    for (const [lruPages, type] of [
      [256, unmovable],
      [257, movable],
    ]) {
      const test = new TestZone();
      test.free(FIRST, 3);
      claim(test, FIRST + 8, 504, lruPages);
      rmqueueAny(test.zone, 0, unmovable, 0);
      expect(test.pages.blockType(FIRST)).toBe(type);
    }
  });

  it('counts movable frames where movable takes from others', () => {
    for (const [lruPages, type] of [
      [240, movable],
      [239, unmovable],
    ]) {
      const test = new TestZone();
      test.pages.blockTypes.fill(unmovable);
      test.free(FIRST, 4, unmovable);
      claim(test, FIRST + 16, 496, lruPages);
      rmqueueAny(test.zone, 0, movable, 0);
      expect(test.pages.blockType(FIRST)).toBe(type);
    }
  });

  it('counts nothing as alike between unmovable and reclaimable', () => {
    const test = new TestZone();
    test.pages.blockTypes.fill(reclaimable);
    test.free(FIRST, 7, reclaimable);
    claim(test, FIRST + 128, 384);
    rmqueueAny(test.zone, 0, unmovable, 0);
    expect(test.pages.blockType(FIRST)).toBe(reclaimable);
  });

  it('with ALLOC_NOFRAGMENT takes whole pageblocks only', () => {
    const test = new TestZone();
    test.free(FIRST, 8);
    expect(rmqueueAny(test.zone, 0, unmovable, ALLOC_NOFRAGMENT)).toBe(-1);
    test.free(FIRST + 512, 9);
    expect(rmqueueAny(test.zone, 0, unmovable, ALLOC_NOFRAGMENT)).toBe(FIRST + 512);
  });

  it('leaves a pageblock of the reserve what it is', () => {
    const test = new TestZone();
    test.pages.setBlockType(FIRST, highatomic);
    test.free(FIRST, 5);
    test.free(FIRST + 64, 5);
    expect(rmqueueAny(test.zone, 5, unmovable, 0)).toBe(FIRST);
    expect(test.pages.blockType(FIRST)).toBe(highatomic);
    expect(test.list(5)).toEqual([FIRST + 64]);
  });
});

describe('moving the free blocks of a pageblock (move_freepages_block)', () => {
  it('begins at the block itself where the pageblock begins before its zone', () => {
    const test = new TestZone();
    const [dma] = test.zones;
    test.free(256, 5);
    test.free(320, 6);
    expect(moveFreepagesBlock(dma, 320, unmovable)).toBe(64);
    expect([firstFree(dma, 5, movable), firstFree(dma, 6, unmovable)]).toEqual([256, 320]);
  });

  it('moves nothing when the pageblock reaches out of its zone', () => {
    const test = new TestZone();
    const last = test.zone.endPfn - 32;
    test.free(last, 4);
    expect(moveFreepagesBlock(test.zone, last, unmovable)).toBe(0);
    expect(test.list(4)).toEqual([last]);
  });
});

describe('boost_watermark', () => {
  it('raises the watermarks by a pageblock a fallback, to 150 % of the high one at most', () => {
    const test = new TestZone();
    test.zone.watermark[WMARK.high] = 500;
    const boosts = [0, 1, 2].map((index) => {
      test.free(FIRST + index * 512, 5);
      claim(test, FIRST + index * 512 + 32, 480, 480);
      expect(rmqueueAny(test.zone, 5, unmovable, 0)).toBe(FIRST + index * 512);
      return test.zone.watermarkBoost;
    });
    expect(boosts).toEqual([512, 750, 750]);
    expect(test.zone.lowMark).toBe(750);
  });

  it('wakes kswapd with the next allocation if the request may', () => {
    const test = new TestZone();
    test.zone.watermark[WMARK.high] = 500;
    test.free(FIRST, 4);
    rmqueueAny(test.zone, 4, unmovable, 0);
    expect(test.zone.boostedWatermark).toBe(false);
    test.free(FIRST + 512, 4);
    rmqueueAny(test.zone, 4, unmovable, ALLOC_KSWAPD);
    expect(test.zone.boostedWatermark).toBe(true);
    test.zone.watermarkBoost = 0;
    test.free(FIRST + 1024, 4);
    test.allocator.alloc(4, GFP_HIGHUSER_MOVABLE);
    expect(test.woken).toEqual(['DMA32']);
    expect(test.zone.boostedWatermark).toBe(false);
  });

  it('leaves zones alone that have no watermarks or fewer than four pageblocks', () => {
    const test = new TestZone();
    test.free(FIRST, 4);
    rmqueueAny(test.zone, 4, unmovable, ALLOC_KSWAPD);
    test.zone.watermark[WMARK.high] = 500;
    test.zone.managedPages = 2047;
    test.free(FIRST + 512, 4);
    rmqueueAny(test.zone, 4, unmovable, ALLOC_KSWAPD);
    expect(test.zone.watermarkBoost).toBe(0);
  });
});
