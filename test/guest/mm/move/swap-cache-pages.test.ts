import { beforeEach, describe, expect, it } from 'vitest';
import { mmap } from '../../../../guest/mm/calls/mmap.ts';
import { MIGRATE_MODE } from '../../../../guest/mm/move/constants.ts';
import { lruPageMigrate } from '../../../../guest/mm/move/lru-procedure.ts';
import { SpacePages } from '../../../../guest/mm/move/space-pages.ts';
import { GFP_HIGHUSER_MOVABLE } from '../../../../guest/mm/page/gfp.ts';
import type { Swap } from '../../../../guest/mm/reclaim/swap.ts';
import { PG_SWAPCACHE } from '../../../../guest/mm/space/frames.ts';
import { isSwapEntry, swapOffset } from '../../../../guest/mm/space/pte.ts';
import { ReclaimWorld } from '../reclaim/reclaim-world.ts';
import type { TestProcess } from '../space/support.ts';

const PAGES = 16;

let world: ReclaimWorld;
let swap: Swap;
let pages: SpacePages;
let process: TestProcess;
let start: number;

beforeEach(() => {
  world = new ReclaimWorld(64, { swapMib: 8, noKswapd: true, thp: 'never' });
  swap = world.reclaim.swap ?? expect.fail('there is a swap device');
  while (world.vmstat.nr_file_pages > 0) world.directReclaim();
  pages = new SpacePages(world.spaces);
  process = world.newProcess();
  start = world.run(mmap(world.spaces, process.mm, { pageCount: PAGES }));
  for (let page = 0; page < PAGES; page++) process.write(start + page, 1000 + page);
});

function entryOf(page: number): number {
  const { tables } = world.spaces;
  return tables.entries[tables.pteAt(process.mm.pgdBase, start + page)];
}

/** Reclaims until nothing of the process is in memory. */
function swapOut(): void {
  for (let round = 0; world.vmstat.nr_anon_pages + world.vmstat.nr_swapcached > 0; round++) {
    expect(round).toBeLessThan(50);
    world.directReclaim();
  }
}

/** Isolates a page, migrates it and lets both go; the new page. */
function migrate(pfn: number): number {
  pages.drain();
  expect(pages.canIsolate(pfn, { async: false, mayEnterFs: true })).toBe(true);
  pages.isolate(pfn);
  const target = world.memory.allocator.alloc(0, GFP_HIGHUSER_MOVABLE);
  const frame = lruPageMigrate.newFrame(pfn, target, MIGRATE_MODE.sync, 0, 0);
  expect(lruPageMigrate.run(frame, pages)).toBe('migrated');
  pages.put(target);
  pages.release(pfn);
  return target;
}

describe('a page of the swap cache', () => {
  it('that a process has mapped moves, and its slot knows it', () => {
    swapOut();
    const pfn = process.frame(start + 3, false);
    const slot = swap.cache.slotOf(pfn);
    const target = migrate(pfn);
    expect([process.frame(start + 3, false), swap.slots.cachedPage(slot)]).toEqual([
      target,
      target,
    ]);
    expect(world.spaces.frames.has(pfn, PG_SWAPCACHE)).toBe(false);
    expect(process.read(start + 3)).toBe(1003);
    world.verify();
  });

  it('stays clean: it need not be written again', () => {
    swapOut();
    process.read(start + 3);
    const written = world.vmstat.pswpout;
    migrate(process.frame(start + 3, false));
    swapOut();
    expect(world.vmstat.pswpout).toBe(written);
    expect(process.read(start + 3)).toBe(1003);
    world.verify();
  });

  it('that nobody has mapped yet is found at its new place, by a minor fault', () => {
    for (let round = 0; world.vmstat.nr_anon_pages > 0; round++) {
      expect(round).toBeLessThan(50);
      world.directReclaim();
    }
    const page = Array.from({ length: PAGES }, (_, at) => at).find((at) => {
      return isSwapEntry(entryOf(at)) && swap.slots.cachedPage(swapOffset(entryOf(at))) >= 0;
    });
    if (page === undefined) return expect.fail('a page waits in the swap cache');
    world.settle();
    const target = migrate(swap.slots.cachedPage(swapOffset(entryOf(page))));
    const faults = world.vmstat.pgmajfault;
    expect(process.frame(start + page, false)).toBe(target);
    expect([process.read(start + page), world.vmstat.pgmajfault]).toEqual([1000 + page, faults]);
    world.verify();
  });

  it('is tried again while somebody holds it', () => {
    swapOut();
    const pfn = process.frame(start + 3, false);
    pages.drain();
    pages.isolate(pfn);
    world.spaces.frames.get(pfn);
    const target = world.memory.allocator.alloc(0, GFP_HIGHUSER_MOVABLE);
    const frame = lruPageMigrate.newFrame(pfn, target, MIGRATE_MODE.sync, 0, 0);
    expect(lruPageMigrate.run(frame, pages)).toBe('again');
    expect(swap.slots.cachedPage(swap.cache.slotOf(pfn))).toBe(pfn);
    expect(process.frame(start + 3, false)).toBe(pfn);
  });
});
