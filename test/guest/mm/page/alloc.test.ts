import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { GuestMemory } from '../../../../guest/mm/memory.ts';
import type { PageAllocator } from '../../../../guest/mm/page/alloc.ts';
import {
  __GFP_COMP,
  __GFP_DMA,
  __GFP_DMA32,
  __GFP_HIGH,
  __GFP_MEMALLOC,
  __GFP_NOMEMALLOC,
  __GFP_ZERO,
  GFP_ATOMIC,
  GFP_BALLOON,
  GFP_HIGHUSER_MOVABLE,
  GFP_KERNEL,
  GFP_NOWAIT,
  gfpMigratetype,
  gfpZone,
  MIGRATETYPE,
  WMARK,
  ZONE,
} from '../../../../guest/mm/page/gfp.ts';
import { PAGE_STATE } from '../../../../guest/mm/page/page-lifecycle.ts';
import type { KmemTrace } from '../../../../guest/mm/page/tracepoints.ts';
import { MIB } from '../../../../shared/lib/units.ts';
import { FIRST, TestZone } from '../test-zone.ts';

const { movable, unmovable, reclaimable, highatomic, isolate } = MIGRATETYPE;

describe('GFP flags', () => {
  it('name zone and migratetype', () => {
    expect([GFP_KERNEL, __GFP_DMA32, __GFP_DMA].map(gfpZone)).toEqual([2, 1, 0]);
    expect([GFP_KERNEL, GFP_HIGHUSER_MOVABLE, 0x10].map(gfpMigratetype)).toEqual([
      unmovable,
      movable,
      reclaimable,
    ]);
  });

  it('3.12: a balloon page is movable, digs into no reserve, is not retried or warned of', () => {
    expect(GFP_BALLOON).toBe(0x1_0000 | 0x8_0000 | 0x2000 | GFP_HIGHUSER_MOVABLE);
    expect(GFP_HIGHUSER_MOVABLE).toBe(0x100cca);
  });
});

describe('zones', () => {
  function threeZones(): TestZone {
    const test = new TestZone(4096);
    test.free(1024, 10);
    test.free(FIRST, 10);
    test.free(1 << 20, 10);
    return test;
  }

  it('are tried from the highest the request may use downwards', () => {
    const test = threeZones();
    const taken = Array.from({ length: 3 }, () => test.allocator.alloc(10, GFP_KERNEL));
    expect(taken).toEqual([1 << 20, FIRST, 1024]);
    expect(test.allocator.alloc(10, GFP_KERNEL)).toBe(-1);
  });

  it('above the requested one are not touched', () => {
    const test = threeZones();
    expect(test.allocator.alloc(3, GFP_KERNEL | __GFP_DMA)).toBe(1024);
    expect(test.allocator.alloc(3, GFP_KERNEL | __GFP_DMA32)).toBe(FIRST);
  });

  it('give up a pageblock of another migratetype only after lower zones (NOFRAGMENT)', () => {
    const test = threeZones();
    test.allocator.alloc(10, GFP_HIGHUSER_MOVABLE);
    test.free((1 << 20) + 1024, 8);
    test.pages.setBlockType(FIRST, unmovable);
    test.pages.setBlockType(FIRST + 512, unmovable);
    expect(test.allocator.alloc(4, GFP_KERNEL)).toBe(FIRST);
    expect(test.traced('X')).toHaveLength(1);
    expect(test.traced('X')[0]).toMatch(new RegExp(`^${FIRST} `));
  });

  it('are all fragmented in the end, when nothing else is left', () => {
    const test = new TestZone(4096);
    test.free(1 << 20, 8);
    expect(test.allocator.alloc(4, GFP_KERNEL)).toBe(1 << 20);
    expect(test.woken).toEqual([]);
  });
});

describe('watermarks and the slow path', () => {
  /** 1,024 frames; low 500, min 400: `taken` are gone. */
  function lowZone(taken: number): TestZone {
    const test = new TestZone();
    test.free(FIRST, 10);
    test.zone.watermark.set([400, 500, 600, 700]);
    for (let count = 0; count < taken; count++) test.allocator.alloc(0, GFP_KERNEL);
    test.trace.length = 0;
    test.woken.length = 0;
    return test;
  }

  it('above the low watermark kswapd sleeps', () => {
    const test = lowZone(523);
    expect(test.allocator.alloc(0, GFP_KERNEL)).toBeGreaterThan(0);
    expect(test.woken).toEqual([]);
  });

  it('below it kswapd is woken and the minimum is what counts', () => {
    const test = lowZone(524);
    expect(test.allocator.alloc(0, GFP_KERNEL)).toBeGreaterThan(0);
    expect(test.woken).toEqual(['DMA32']);
  });

  it('a balloon gets no frame at the minimum, and wakes kswapd twice as Linux does', () => {
    const test = lowZone(624);
    expect(test.allocator.allocBalloonPage()).toBe(-1);
    expect(test.woken).toEqual(['DMA32', 'DMA32']);
    expect(test.traced('A')).toEqual([]);
  });

  it.each([
    ['GFP_NOWAIT', GFP_NOWAIT, 400],
    ['__GFP_HIGH', GFP_KERNEL | __GFP_HIGH, 200],
    ['GFP_ATOMIC', GFP_ATOMIC, 150],
    ['__GFP_MEMALLOC', GFP_KERNEL | __GFP_MEMALLOC, 0],
    ['__GFP_MEMALLOC with __GFP_NOMEMALLOC', GFP_KERNEL | __GFP_MEMALLOC | __GFP_NOMEMALLOC, 400],
  ])('%s gets down to %i or less', (_, gfp, left) => {
    const test = lowZone(600);
    while (test.allocator.alloc(0, gfp) >= 0);
    expect(test.zone.freePages).toBe(left);
  });

  it('a request of order 11 is refused', () => {
    expect(lowZone(0).allocator.alloc(11, GFP_KERNEL)).toBe(-1);
  });
});

describe('the highatomic reserve', () => {
  function atomicZone(): TestZone {
    const test = new TestZone();
    test.zone.watermark.set([4, 2000, 3000, 4000]);
    test.free(FIRST, 9);
    return test;
  }

  it('takes the pageblock of a high-order request that cannot wait', () => {
    const test = atomicZone();
    expect(test.allocator.alloc(4, GFP_ATOMIC)).toBe(FIRST);
    expect(test.pages.blockType(FIRST)).toBe(highatomic);
    expect(test.zone.nrReservedHighatomic).toBe(512);
    expect(test.list(4, highatomic)).toEqual([FIRST + 16]);
    expect(test.allocator.alloc(4, GFP_ATOMIC)).toBe(FIRST + 16);
    expect(test.allocator.alloc(0, GFP_KERNEL)).toBe(-1);
  });

  it('takes none for a request that cannot wait but may not use the minimum (GFP_NOWAIT)', () => {
    const test = atomicZone();
    expect(test.allocator.alloc(4, GFP_NOWAIT)).toBe(FIRST);
    expect(test.pages.blockType(FIRST)).toBe(unmovable);
    expect(test.zone.nrReservedHighatomic).toBe(0);
  });

  it('serves order-0 requests that cannot wait when nothing else does', () => {
    const test = atomicZone();
    test.allocator.alloc(4, GFP_ATOMIC);
    expect(test.allocator.alloc(0, GFP_ATOMIC)).toBe(FIRST + 16);
  });

  it('is limited to a pageblock and a hundredth of the zone', () => {
    const test = atomicZone();
    test.zone.managedPages = 20_000;
    test.zone.nrReservedHighatomic = 712;
    test.allocator.alloc(4, GFP_ATOMIC);
    expect(test.zone.nrReservedHighatomic).toBe(712);
  });

  it('is given up pageblock by pageblock, the last one only by force', () => {
    const test = atomicZone();
    test.allocator.alloc(4, GFP_ATOMIC);
    expect(test.allocator.unreserveHighatomic(GFP_HIGHUSER_MOVABLE, false)).toBe(false);
    expect(test.allocator.unreserveHighatomic(GFP_HIGHUSER_MOVABLE, true)).toBe(true);
    expect(test.pages.blockType(FIRST)).toBe(movable);
    expect(test.zone.nrReservedHighatomic).toBe(0);
    expect(test.list(4, movable)).toEqual([FIRST + 16]);
    expect(test.allocator.unreserveHighatomic(GFP_HIGHUSER_MOVABLE, true)).toBe(false);
  });

  it('has no per-CPU list: its frames are cached as movable and come back to it', () => {
    const test = atomicZone();
    test.allocator.alloc(4, GFP_ATOMIC);
    const pfn = test.allocator.alloc(0, GFP_ATOMIC);
    test.allocator.free(pfn, 0);
    expect(test.pcpList(movable)).toEqual([pfn]);
    test.allocator.drainAllPages();
    expect(test.list(4, highatomic)).toContain(FIRST + 16);
  });
});

describe('an allocation', () => {
  it('has one reference, its order, and zeroed content where __GFP_ZERO asks', () => {
    const test = new TestZone();
    test.free(FIRST, 10);
    test.pages.tags.fill(7, FIRST, FIRST + 8);
    const pfn = test.allocator.alloc(1, GFP_KERNEL);
    expect([test.pages.refcount(pfn), test.pages.allocOrder(pfn)]).toEqual([1, 1]);
    expect([...test.pages.tags.subarray(pfn, pfn + 2)]).toEqual([7, 7]);
    test.allocator.free(pfn, 1);
    expect(test.allocator.alloc(1, GFP_KERNEL | __GFP_ZERO | __GFP_COMP)).toBe(pfn);
    expect([...test.pages.tags.subarray(pfn, pfn + 3)]).toEqual([0, 0, 7]);
  });

  it('is free with its last reference', () => {
    const test = new TestZone();
    test.free(FIRST, 0);
    const pfn = test.allocator.alloc(0, GFP_HIGHUSER_MOVABLE);
    expect(test.pages.getUnlessZero(pfn)).toBe(true);
    test.allocator.free(pfn, 0);
    expect(test.pages.states.stateOf(pfn)).toBe(PAGE_STATE.allocated);
    test.allocator.putPage(pfn);
    expect(test.pages.states.stateOf(pfn)).toBe(PAGE_STATE.pcp);
    expect(test.pages.getUnlessZero(pfn)).toBe(false);
    expect(() => test.allocator.putPage(pfn)).toThrow('put_page needs a reference to drop');
  });

  it('is freed with the order it was had with', () => {
    const test = new TestZone();
    test.free(FIRST, 1);
    const pfn = test.allocator.alloc(1, GFP_KERNEL);
    expect(() => test.allocator.free(pfn, 0)).toThrow('a block is freed with the order');
  });

  it('leaves the LRU when it is freed', () => {
    const test = new TestZone();
    test.free(FIRST, 2);
    const pfn = test.allocator.alloc(2, GFP_HIGHUSER_MOVABLE);
    test.allocator.lruAdd(pfn, 2);
    expect(test.pages.states.countOf(PAGE_STATE.lru)).toBe(4);
    test.allocator.free(pfn, 2);
    expect(test.pages.states.countOf(PAGE_STATE.lru)).toBe(0);
  });

  it('of an order without per-CPU lists is merged at once', () => {
    const test = new TestZone();
    test.free(FIRST, 10);
    test.allocator.free(test.allocator.alloc(5, GFP_KERNEL), 5);
    expect(test.zone.pcp.count).toBe(0);
    expect(test.list(10, unmovable)).toEqual([FIRST]);
  });

  it('in an isolated pageblock goes to its lists and is not counted as free', () => {
    const test = new TestZone();
    test.free(FIRST, 1);
    const [first, second] = [0, 1].map(() => test.allocator.alloc(0, GFP_HIGHUSER_MOVABLE));
    test.pages.setBlockType(FIRST, isolate);
    test.allocator.free(first, 0);
    test.allocator.freeList(Int32Array.of(second), 1);
    expect(test.list(1, isolate)).toEqual([FIRST]);
    expect(test.zone.freePages).toBe(0);
    expect(test.zone.pcp.count).toBe(0);
  });
});

describe('a batched free (free_unref_page_list)', () => {
  it('prepares all frames first, then adds them in the order given', () => {
    const test = new TestZone();
    test.free(FIRST, 2);
    const pfns = Int32Array.from({ length: 3 }, () => test.allocator.alloc(0, GFP_KERNEL));
    test.trace.length = 0;
    test.allocator.freeList(pfns, 3);
    const [a, b, c] = pfns;
    expect(test.trace).toEqual([`F ${a} 0`, `F ${b} 0`, `F ${c} 0`, `B ${a}`, `B ${b}`, `B ${c}`]);
    expect(test.pcpList(unmovable)).toEqual([c, b, a]);
  });

  it('takes last references only', () => {
    const test = new TestZone();
    test.free(FIRST, 0);
    const pfn = test.allocator.alloc(0, GFP_KERNEL);
    test.pages.getUnlessZero(pfn);
    const free = () => test.allocator.freeList(Int32Array.of(pfn), 1);
    expect(free).toThrow('a batched free takes the last reference');
  });

  it('goes past locked lists without a B', () => {
    const test = new TestZone();
    test.free(FIRST, 0);
    const pfn = test.allocator.alloc(0, GFP_HIGHUSER_MOVABLE);
    test.zone.pcp.locked = true;
    test.allocator.freeList(Int32Array.of(pfn), 1);
    expect(test.traced('B')).toEqual([]);
    expect(test.list(0)).toEqual([FIRST]);
  });
});

describe('any sequence of requests', () => {
  it('leaves every invariant intact, and frames go out once', () => {
    const gfps = [GFP_HIGHUSER_MOVABLE, GFP_KERNEL, GFP_ATOMIC, GFP_KERNEL | 0x10, GFP_BALLOON];
    const step = fc.record({
      gfp: fc.constantFrom(...gfps),
      order: fc.constantFrom(0, 0, 0, 1, 2, 3, 5, 9),
      back: fc.nat(2),
      pick: fc.nat(),
      count: fc.integer({ min: 1, max: 200 }),
    });
    const property = fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const memory = GuestMemory.boot({ memoryBytes: 64 * MIB });
      const { allocator } = memory;
      const held = new Map<number, number>();
      for (const { gfp, order, back, pick, count } of steps) {
        for (let turn = 0; turn < count; turn++) {
          if (back === 0) {
            const pfn = [...held.keys()][pick % held.size];
            if (pfn === undefined) break;
            allocator.free(pfn, held.get(pfn) ?? 0);
            held.delete(pfn);
          } else {
            const pfn = allocator.alloc(order, gfp);
            if (pfn < 0) break;
            expect(held.has(pfn)).toBe(false);
            held.set(pfn, order);
          }
        }
      }
      expect(memory.verify()).toEqual([]);
    });
    fc.assert(property, { numRuns: 40 });
  });
});

describe('memory statistics', () => {
  it('MemFree, MemAvailable and caches follow si_meminfo and si_mem_available', () => {
    const test = new TestZone();
    test.free(FIRST, 10);
    test.zone.watermark.set([10, 20, 30, 40]);
    test.zones[ZONE.dma].lowmemReserve[ZONE.dma32] = 7;
    test.allocator.levels.fileLru = 100;
    test.allocator.levels.slabReclaimable = 30;
    test.allocator.levels.filePages = 90;
    expect(test.allocator.memInfo()).toEqual({
      memTotal: test.zones[0].managedPages + test.zone.managedPages,
      memFree: 1024,
      memAvailable: 1024 - 37 + (100 - 20) + (30 - 15),
      fileCaches: 90,
    });
    test.zone.watermark[WMARK.high] = 1200;
    expect(test.allocator.memInfo().memAvailable).toBe(0);
  });

  it('counts frames handed out and freed', () => {
    const test = new TestZone();
    test.free(FIRST, 5);
    test.allocator.free(test.allocator.alloc(3, GFP_KERNEL), 3);
    test.allocator.alloc(0, GFP_KERNEL);
    expect([test.allocator.pgalloc, test.allocator.pgfree]).toEqual([9, 8]);
  });
});

describe('frames for a balloon, many at once', () => {
  it('are those that as many single allocations hand out, until there are no more', () => {
    const size = fc.integer({ min: 1, max: 256 });
    const action = fc.record({ size, give: fc.nat(200), seed: fc.nat() });
    const actions = fc.array(action, { maxLength: 40 });
    const isPinned = fc.boolean();
    fc.assert(
      fc.property(actions, isPinned, (turns, pinned) => {
        const memories = [1, 2].map(() => GuestMemory.boot({ memoryBytes: 64 * MIB }));
        const [one, many] = memories.map(({ allocator }) => allocator);
        if (pinned) for (const { allocator } of memories) allocator.pinBalloonPages();
        const traces = memories.map(({ allocator }) => recordTrace(allocator));
        const held: number[] = [];
        for (const { size: count, give, seed } of turns) {
          const singles: number[] = [];
          for (let pfn = one.allocBalloonPage(); pfn >= 0; pfn = one.allocBalloonPage()) {
            singles.push(pfn);
            if (singles.length === count) break;
          }
          const batch = new Int32Array(count);
          const end = many.allocBalloonPages(batch, 0, count);
          expect([...batch.subarray(0, end)]).toEqual(singles);
          held.push(...singles);
          for (let turn = 0; turn < give && held.length > 0; turn++) {
            const [pfn] = held.splice((seed + 31 * turn) % held.length, 1);
            one.free(pfn, 0);
            many.free(pfn, 0);
          }
        }
        expect(traces[1]).toEqual(traces[0]);
        expect(stateOf(many)).toEqual(stateOf(one));
        expect(memories.flatMap((memory) => memory.verify())).toEqual([]);
      }),
      { numRuns: 30 },
    );
  });
});

describe('frames that nobody refers to any more, many at once', () => {
  it('are freed as by as many single calls, of any zone, order and pageblock', () => {
    const take = fc.record({
      gfp: fc.constantFrom(GFP_BALLOON, GFP_KERNEL, GFP_HIGHUSER_MOVABLE, GFP_KERNEL | __GFP_DMA),
      order: fc.constantFrom(0, 0, 0, 0, 1, 4),
      onLru: fc.boolean(),
    });
    const turn = fc.record({
      takes: fc.array(take, { maxLength: 300 }),
      isolated: fc.boolean(),
      locked: fc.boolean(),
      reclaimActive: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(turn, { maxLength: 12 }), (turns) => {
        const memories = [1, 2].map(() => GuestMemory.boot({ memoryBytes: 64 * MIB }));
        const traces = memories.map(({ allocator }) => recordTrace(allocator));
        for (const { takes, isolated, locked, reclaimActive } of turns) {
          memories.forEach(({ allocator, pages }, index) => {
            const pfns = takes.map(({ gfp, order, onLru }) => {
              const pfn = allocator.alloc(order, gfp);
              if (pfn >= 0 && onLru) allocator.lruAdd(pfn, order);
              return pfn;
            });
            const taken = Int32Array.from(pfns.filter((pfn) => pfn >= 0));
            const block = taken[taken.length >> 1] ?? 0;
            const blockType = pages.blockType(block);
            if (isolated) pages.setBlockType(block, isolate);
            for (const zone of allocator.zones) {
              zone.pcp.locked = locked;
              zone.reclaimActive = reclaimActive;
            }
            for (const pfn of taken) expect(allocator.putPageTestZero(pfn)).toBe(true);
            if (index === 0) for (const pfn of taken) allocator.freeUnreferenced(pfn);
            else allocator.freeUnreferencedEach(taken, 0, taken.length);
            pages.setBlockType(block, blockType);
            for (const zone of allocator.zones) zone.pcp.locked = false;
          });
        }
        expect(traces[1]).toEqual(traces[0]);
        const [one, many] = memories.map(({ allocator }) => stateOf(allocator));
        expect(many).toEqual(one);
      }),
      { numRuns: 30 },
    );
  });
});

/** Every kmem event from now on, as text. */
function recordTrace(allocator: PageAllocator): string[] {
  const lines: string[] = [];
  allocator.traceSink = new Proxy({} as KmemTrace, {
    get:
      (_target, name) =>
      (...values: readonly unknown[]) =>
        lines.push(`${String(name)} ${JSON.stringify(values)}`),
  });
  return lines;
}

/** In place of arrays of which the comparison element by element takes most of a test. */
function digest(array: Int32Array | Uint8Array): string {
  return createHash('sha1').update(array).digest('hex');
}

function stateOf(allocator: PageAllocator): unknown {
  return {
    words: digest(allocator.pages.words),
    states: digest(allocator.pages.states.snapshot()),
    events: [allocator.pgalloc, allocator.pgfree],
    zones: allocator.zones.map(({ pcp, freePages, freePagesStat }) => {
      return [pcp.count, pcp.freeFactor, freePages, freePagesStat];
    }),
  };
}
