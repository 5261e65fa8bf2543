import { expect, test } from 'vitest';
import { GuestMemory } from '../../guest/mm/memory.ts';
import { GFP_HIGHUSER_MOVABLE } from '../../guest/mm/page/gfp.ts';
import { countPages } from '../../guest/page-kinds.ts';
import { PAGE_KINDS, type PageMapView } from '../../shared/control/schemas.ts';
import { GIB, MIB } from '../../shared/lib/units.ts';
import { HeldGuest } from '../support/held-guest.ts';

function total(view: PageMapView, kind: (typeof PAGE_KINDS)[number]): number {
  return view.regions.flatMap((region) => region[kind]).reduce((sum, count) => sum + count, 0);
}

test('every frame of RAM is counted once, in its cell', () => {
  const memory = GuestMemory.boot({ memoryBytes: 4 * GIB });
  const view = countPages(memory, 512);
  expect(view.regions.map(({ startPfn, pageCount }) => [startPfn, pageCount])).toEqual([
    [0, 2 ** 19],
    [2 ** 20, 2 ** 19],
  ]);
  for (const region of view.regions) {
    const sums = region.free.map((_, cell) => {
      return PAGE_KINDS.reduce((sum, kind) => sum + region[kind][cell], 0);
    });
    expect(new Set(sums)).toEqual(new Set([512]));
  }
});

test('a cell that does not divide a region evenly leaves a smaller one at its end', () => {
  const view = countPages(GuestMemory.boot({ memoryBytes: 64 * MIB }), 16_000);
  const [{ free, reserved, unmovable }] = view.regions;
  expect(free[1] + reserved[1] + unmovable[1]).toBe(16_384 - 16_000);
});

test('kinds are those of the frames: balloon, programs, what the kernel took', () => {
  const held = new HeldGuest();
  const { memory } = held.guest.kernel;
  const before = countPages(memory, 512);
  held.setTarget(200 * MIB);
  held.run(100);
  held.guest.run({ name: 'hog', mib: 10, seconds: 1000 });
  held.run(100);
  // Up to 15 pages of a program wait beside the LRU lists.
  held.guest.kernel.compaction.world.lru.drain();
  const pfn = memory.allocator.alloc(4, GFP_HIGHUSER_MOVABLE);
  const after = countPages(memory, 512);
  expect(total(after, 'balloon')).toBe((56 * MIB) / 4096);
  expect(total(after, 'movable') - total(before, 'movable')).toBe((10 * MIB) / 4096);
  const [{ unmovable }] = after.regions;
  expect(unmovable[pfn >> 9]).toBeGreaterThanOrEqual(16);
  expect(total(after, 'reserved')).toBe(total(before, 'reserved'));
});

test('a map that would be too large is refused by the name of its limit', () => {
  const memory = GuestMemory.boot({ memoryBytes: GIB });
  expect(() => countPages(memory, 3)).toThrow('MAX_PAGE_MAP_CELLS: 87382 cells');
});
