import { describe, expect, it } from 'vitest';
import {
  __GFP_COMP,
  __GFP_FS,
  __GFP_IO,
  __GFP_MEMALLOC,
  __GFP_NOMEMALLOC,
  __GFP_NORETRY,
  __GFP_NOWARN,
  __GFP_RECLAIMABLE,
  GFP_KERNEL,
} from '../../../../guest/mm/page/gfp.ts';
import { SlabCache, slabOrder } from '../../../../guest/mm/space/slab.ts';
import { World } from './support.ts';

describe('a slab cache', () => {
  it('has slabs of the order that SLUB computes on one CPU', () => {
    const sizes = { 8: 0, 192: 0, 512: 0, 704: 1, 1024: 1, 2048: 2, 4096: 3, 8192: 3, 32768: 3 };
    const orders = Object.keys(sizes).map((bytes) => slabOrder(Number(bytes)));
    expect(orders).toEqual(Object.values(sizes));
  });

  it('asks as recorded: dentries reclaimable at order 0, larger slabs with little effort', () => {
    const world = new World();
    const asked: [order: number, gfp: number][] = [];
    world.memory.allocator.traceSink = {
      mm_page_alloc: (_pfn, order, _migratetype, gfp) => asked.push([order, gfp]),
      mm_page_free() {},
      mm_page_free_batched() {},
      mm_page_alloc_zone_locked() {},
      mm_page_pcpu_drain() {},
      mm_page_alloc_extfrag() {},
    };
    const options = { name: 'dentry', objectBytes: 192, reclaimable: true };
    world.run(new SlabCache(world.spaces, options).alloc());
    world.run(new SlabCache(world.spaces, { name: 'inode', objectBytes: 704 }).alloc());
    expect(asked).toEqual([
      [0, GFP_KERNEL | __GFP_NOWARN | __GFP_NORETRY | __GFP_RECLAIMABLE],
      [1, __GFP_IO | __GFP_FS | __GFP_NOWARN | __GFP_NORETRY | __GFP_COMP | __GFP_NOMEMALLOC],
    ]);
  });

  it('gives a slab back with its last object', () => {
    const world = new World();
    const cache = new SlabCache(world.spaces, { name: 'objects', objectBytes: 1024 });
    const before = world.freeFrames;
    const objects = Array.from({ length: 17 }, () => world.run(cache.alloc()));
    expect(cache.slabCount).toBe(3);
    expect(world.vmstat.nr_slab_unreclaimable).toBe(6);
    expect(new Set(objects.slice(0, 8)).size).toBe(1);
    for (const pfn of objects.slice(0, 8)) cache.free(pfn);
    expect(cache.slabCount).toBe(2);
    for (const pfn of objects.slice(8)) cache.free(pfn);
    expect(world.freeFrames).toBe(before);
    expect(world.vmstat.nr_slab_unreclaimable).toBe(0);
  });

  it('counts reclaimable slabs where MemAvailable looks for them', () => {
    const world = new World();
    const { levels } = world.memory.allocator;
    const before = levels.slabReclaimable;
    const options = { name: 'dentry', objectBytes: 192, reclaimable: true };
    world.run(new SlabCache(world.spaces, options).alloc());
    expect(levels.slabReclaimable).toBe(before + 1);
    expect(world.vmstat.nr_slab_reclaimable).toBe(before + 1);
  });

  it('makes do with the smallest order when there are no larger blocks', () => {
    const world = new World();
    const { allocator } = world.memory;
    const pfns: number[] = [];
    allocator.drainAllPages();
    const everything = GFP_KERNEL | __GFP_MEMALLOC;
    for (let pfn = 0; pfn >= 0; pfn = allocator.alloc(0, everything)) pfns.push(pfn);
    for (const pfn of pfns.slice(1).filter((pfn) => pfn % 2 === 0)) allocator.free(pfn, 0);
    allocator.drainAllPages();
    const cache = new SlabCache(world.spaces, { name: 'objects', objectBytes: 1024 });
    expect(world.run(cache.alloc())).toBeGreaterThan(0);
    expect(world.vmstat.nr_slab_unreclaimable).toBe(1);
  });
});
