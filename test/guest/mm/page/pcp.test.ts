import { describe, expect, it } from 'vitest';
import {
  __GFP_RECLAIMABLE,
  GFP_HIGHUSER_MOVABLE,
  GFP_KERNEL,
  MIGRATETYPE,
} from '../../../../guest/mm/page/gfp.ts';
import { freePcppagesBulk } from '../../../../guest/mm/page/pcp.ts';
import {
  NR_PCP_LISTS,
  orderToPindex,
  pcpAllowedOrder,
  pindexToOrder,
} from '../../../../guest/mm/page/per-cpu-pages.ts';
import { FIRST, TestZone } from '../test-zone.ts';

const { movable, unmovable, reclaimable } = MIGRATETYPE;

function testZone(batch: number, high: number): TestZone {
  const test = new TestZone();
  for (let block = 0; block < 8; block++) test.free(FIRST + block * 1024, 10);
  test.zone.pcp.batch = batch;
  test.zone.pcp.high = high;
  return test;
}

function allocate(test: TestZone, count: number, order = 0): number[] {
  return Array.from({ length: count }, () => test.allocator.alloc(order, GFP_HIGHUSER_MOVABLE));
}

describe('the 13 per-CPU lists', () => {
  it('are three migratetypes for each of orders 0 to 3, then huge pages', () => {
    const orders = Array.from({ length: NR_PCP_LISTS }, (_, pindex) => pindexToOrder(pindex));
    expect(orders).toEqual([0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 9]);
    expect(orderToPindex(reclaimable, 2)).toBe(8);
    expect(orderToPindex(unmovable, 9)).toBe(12);
    expect(orderToPindex(movable, 9)).toBe(12);
  });

  it('serve the orders that pcp_allowed_order names', () => {
    const allowed = Array.from({ length: 11 }, (_, order) => order).filter(pcpAllowedOrder);
    expect(allowed).toEqual([0, 1, 2, 3, 9]);
  });
});

describe('refilling (rmqueue_bulk)', () => {
  it('takes a batch of order 0, in the order of the frames, and hands out the first', () => {
    const test = testZone(4, 100);
    expect(allocate(test, 5)).toEqual([0, 1, 2, 3, 4].map((index) => FIRST + index));
    expect(test.pcpList(movable)).toEqual([5, 6, 7].map((index) => FIRST + index));
    expect(test.traced('Z')).toHaveLength(8);
    expect(test.zone.pcp.count).toBe(3);
  });

  it.each([
    [31, 0, 31],
    [31, 1, 15],
    [31, 3, 3],
    [31, 9, 2],
    [2, 3, 2],
    [1, 0, 1],
    [1, 3, 1],
  ])('batch %i makes of order %i %i blocks', (batch, order, blocks) => {
    const test = testZone(batch, 4000);
    allocate(test, 1, order);
    expect(test.traced('Z')).toHaveLength(blocks);
  });

  it('counts frames as not free as soon as they are on a list', () => {
    const test = testZone(8, 100);
    const before = test.allocator.nrFree();
    allocate(test, 1);
    expect(before - test.allocator.nrFree()).toBe(8);
  });

  it('has a list for each migratetype', () => {
    const test = testZone(2, 100);
    for (const gfp of [GFP_KERNEL, GFP_KERNEL | __GFP_RECLAIMABLE]) test.allocator.alloc(0, gfp);
    expect(test.pcpList(unmovable)).toHaveLength(1);
    expect(test.pcpList(reclaimable)).toHaveLength(1);
    expect(test.pcpList(movable)).toHaveLength(0);
  });
});

describe('freeing to the lists (free_unref_page_commit)', () => {
  it('puts a frame at the head of the list of its pageblock, and hands it out next', () => {
    const test = testZone(4, 100);
    const [first, second] = allocate(test, 2);
    test.allocator.free(first, 0);
    test.allocator.free(second, 0);
    expect(test.pcpList(movable).slice(0, 2)).toEqual([second, first]);
    expect(allocate(test, 2)).toEqual([second, first]);
  });

  it('goes by the pageblock and not by what the frame was allocated as', () => {
    const test = testZone(1, 100);
    const [pfn] = allocate(test, 1);
    test.pages.setBlockType(pfn, unmovable);
    test.allocator.free(pfn, 0);
    expect(test.pcpList(unmovable)).toEqual([pfn]);
  });

  it('gives a batch back from the tail when the lists reach their high mark', () => {
    const test = testZone(4, 16);
    const pfns = allocate(test, 16);
    for (const pfn of pfns.slice(0, 15)) test.allocator.free(pfn, 0);
    expect(test.zone.pcp.count).toBe(15);
    expect(test.traced('D')).toEqual([]);
    test.allocator.free(pfns[15], 0);
    expect(test.traced('D')).toEqual(pfns.slice(0, 4).map((pfn) => `${pfn} 0 1`));
    expect(test.zone.pcp.count).toBe(12);
  });

  it('doubles what it gives back with each drain, up to high less a batch', () => {
    const test = testZone(2, 40);
    const pfns = allocate(test, 200);
    const drained: number[] = [];
    for (const pfn of pfns) {
      const before = test.traced('D').length;
      test.allocator.free(pfn, 0);
      const now = test.traced('D').length - before;
      if (now > 0) drained.push(now);
    }
    expect(drained.slice(0, 7)).toEqual([2, 4, 8, 16, 32, 38, 38]);
  });

  it('stops doubling where the next drain would be high less a batch', () => {
    const test = testZone(2, 34);
    for (const pfn of allocate(test, 200)) test.allocator.free(pfn, 0);
    expect(test.zone.pcp.freeFactor).toBe(4);
  });

  it('doubles at most five times (PCP_BATCH_SCALE_MAX), and an allocation halves', () => {
    const test = testZone(1, 2000);
    const pfns = allocate(test, 6000);
    for (const pfn of pfns) test.allocator.free(pfn, 0);
    expect(test.zone.pcp.freeFactor).toBe(5);
    allocate(test, 1);
    expect(test.zone.pcp.freeFactor).toBe(2);
    allocate(test, 2);
    expect(test.zone.pcp.freeFactor).toBe(0);
  });

  it('gives everything back when a higher order is freed while frees go on', () => {
    const test = testZone(4, 1000);
    const pfns = allocate(test, 8);
    const [pair] = allocate(test, 1, 1);
    for (const pfn of pfns) test.allocator.free(pfn, 0);
    test.zone.pcp.freeFactor = 1;
    test.allocator.free(pair, 1);
    expect(test.zone.pcp.count).toBe(0);
    expect(test.list(10)).toHaveLength(8);
  });

  it('keeps four batches at most while kswapd reclaims', () => {
    const test = testZone(2, 100);
    const pfns = allocate(test, 20);
    test.zone.reclaimActive = true;
    for (const pfn of pfns.slice(0, 7)) test.allocator.free(pfn, 0);
    expect(test.traced('D')).toHaveLength(0);
    test.allocator.free(pfns[7], 0);
    expect(test.traced('D')).toHaveLength(2);
  });

  it('goes past lists that are locked, straight to the buddy lists', () => {
    const test = testZone(1, 100);
    const [pfn] = allocate(test, 1);
    test.zone.pcp.locked = true;
    test.allocator.free(pfn, 0);
    expect(test.zone.pcp.count).toBe(0);
    expect(test.list(10)).toHaveLength(8);
    expect(test.allocator.alloc(0, GFP_HIGHUSER_MOVABLE)).toBeGreaterThan(0);
    expect(test.zone.pcp.count).toBe(0);
  });
});

describe('draining (free_pcppages_bulk)', () => {
  /** Lists 0, 1 and 4 with two blocks each: two, two and four frames. */
  function threeLists(): TestZone {
    const test = testZone(2, 100);
    test.allocator.free(test.allocator.alloc(0, GFP_HIGHUSER_MOVABLE), 0);
    test.allocator.free(test.allocator.alloc(1, GFP_HIGHUSER_MOVABLE), 1);
    const pfn = test.allocator.alloc(0, GFP_KERNEL);
    test.allocator.free(pfn, 0);
    test.trace.length = 0;
    return test;
  }

  const ordersDrained = (test: TestZone): string[] => {
    return test.traced('D').map((line) => line.split(' ').slice(1).join('/'));
  };

  it('empties the list it was called for first, then goes round', () => {
    const test = threeLists();
    freePcppagesBulk(test.zone, 8, orderToPindex(movable, 1));
    expect(ordersDrained(test)).toEqual(['1/1', '1/1', '0/0', '0/0', '0/1', '0/1']);
  });

  it('stops when enough frames are back, and may give more for the last block', () => {
    const test = threeLists();
    freePcppagesBulk(test.zone, 3, orderToPindex(movable, 1));
    expect(ordersDrained(test)).toEqual(['1/1', '1/1']);
    expect(test.zone.pcp.count).toBe(4);
  });

  it('never gives back more than there is', () => {
    const test = threeLists();
    freePcppagesBulk(test.zone, 1000, 0);
    expect(test.zone.pcp.count).toBe(0);
    expect(ordersDrained(test)).toHaveLength(6);
  });

  it('drain_all_pages: everything', () => {
    const test = testZone(1, 4000);
    const pfns = allocate(test, 100);
    for (const pfn of pfns) test.allocator.free(pfn, 0);
    test.allocator.drainAllPages();
    expect(test.zone.pcp.count).toBe(0);
    expect(test.traced('D')).toHaveLength(100);
    expect(test.list(10)).toHaveLength(8);
  });

  it('uses the migratetype of the time of the free, which may be outdated', () => {
    const test = testZone(1, 100);
    const [pfn] = allocate(test, 1);
    test.allocator.free(pfn, 0);
    test.pages.setBlockType(pfn, unmovable);
    test.allocator.drainAllPages();
    expect(test.traced('D')).toEqual([`${pfn} 0 1`]);
  });
});
