import { beforeEach, describe, expect, it } from 'vitest';
import { BalloonDevInfo } from '../../../../guest/mm/balloon/balloon-dev-info.ts';
import { BalloonPages } from '../../../../guest/mm/balloon/balloon-pages.ts';
import type { CompactControl } from '../../../../guest/mm/move/compact-control.ts';
import { MIGRATE_MODE } from '../../../../guest/mm/move/constants.ts';
import { MigrateScanner } from '../../../../guest/mm/move/migrate-scanner.ts';
import { MovablePages } from '../../../../guest/mm/move/movable-pages.ts';
import { pageblockSkip, setPageblockSkip } from '../../../../guest/mm/move/skip-hints.ts';
import {
  __GFP_COMP,
  GFP_HIGHUSER_MOVABLE,
  GFP_KERNEL,
  MIGRATETYPE,
} from '../../../../guest/mm/page/gfp.ts';
import { FIRST } from '../test-zone.ts';
import { MoveWorld } from './move-world.ts';

const BLOCK = 512;

let world: MoveWorld;
let scanner: MigrateScanner;

beforeEach(() => {
  world = new MoveWorld();
  const { test, lru, balloons, trace } = world;
  const movable = new MovablePages(test.allocator, lru, new BalloonPages(balloons));
  scanner = new MigrateScanner(movable, trace);
});

function every(first: number, step: number, end: number): number[] {
  return Array.from({ length: Math.ceil((end - first) / step) }, (_, at) => first + at * step);
}

function isolated(cc: CompactControl): number[] {
  return [...cc.migratePages.subarray(0, cc.nrMigratePages)];
}

describe('the migrate scanner', () => {
  it('takes 32 pages and stops behind the last', () => {
    world.lru.place(...every(FIRST, 2, FIRST + BLOCK));
    const cc = world.control();
    expect(scanner.isolate(cc)).toBe(true);
    expect(isolated(cc)).toEqual(every(FIRST, 2, FIRST + 64));
    expect([cc.migratePfn, cc.totalMigrateScanned]).toEqual([FIRST + 63, 63]);
    expect(world.traced).toEqual([
      'mm_compaction_isolate_migratepages: range=(0x1000 ~ 0x103f) nr_scanned=63 nr_taken=32',
    ]);
  });

  it('takes the rest of a pageblock that was begun at once', () => {
    world.lru.place(...every(FIRST, 2, FIRST + BLOCK));
    const cc = world.control();
    cc.migratePfn = FIRST + 63;
    cc.rescan = true;
    scanner.isolate(cc);
    expect([cc.nrMigratePages, cc.migratePfn]).toEqual([224, FIRST + BLOCK]);
  });

  it('looks at a block that is free, and at a compound page, once', () => {
    world.test.free(FIRST, 8);
    world.test.pages.setCompound(FIRST + 256, true);
    world.lru.place(FIRST + 300);
    const cc = world.control();
    scanner.isolate(cc);
    // 1 free block, then frames one by one: a compound page of order 0 is one frame.
    expect(cc.totalMigrateScanned).toBe(1 + 256);
    expect(isolated(cc)).toEqual([FIRST + 300]);
  });

  it('goes on right behind a compound page', () => {
    world.test.free(FIRST + 256, 3);
    expect(world.test.allocator.alloc(3, GFP_KERNEL | __GFP_COMP)).toBe(FIRST + 256);
    world.lru.place(FIRST + 264);
    const cc = world.control();
    scanner.isolate(cc);
    expect([isolated(cc), cc.totalMigrateScanned]).toEqual([[FIRST + 264], BLOCK - 7]);
  });

  it('goes through one pageblock a call, and says so where nothing was found', () => {
    world.lru.place(FIRST + BLOCK + 7);
    const cc = world.control();
    expect(scanner.isolate(cc)).toBe(false);
    expect([cc.migratePfn, pageblockSkip(world.test.pages, FIRST)]).toEqual([FIRST + BLOCK, true]);
    expect(scanner.isolate(cc)).toBe(true);
    expect(pageblockSkip(world.test.pages, FIRST + BLOCK)).toBe(false);
    // The end of the pageblock behind: as the kernel reckons.
    const next = FIRST + 2 * BLOCK;
    expect([...world.test.zone.compact.cachedMigratePfn]).toEqual([next, next]);
  });

  it.each([
    [false, 2],
    [true, 1],
  ])('passes hinted pageblocks over, unless hints are ignored (%s)', (ignoreSkipHint, first) => {
    world.lru.place(FIRST + BLOCK + 7, FIRST + 2 * BLOCK + 7);
    const { pages } = world.test;
    for (const block of [0, 1]) setPageblockSkip(pages, FIRST + block * BLOCK);
    const cc = world.control({ ignoreSkipHint });
    while (!scanner.isolate(cc));
    expect(isolated(cc)).toEqual([FIRST + first * BLOCK + 7]);
  });

  it('a hint left by the first page isolated makes a second run stay out', () => {
    world.lru.place(FIRST);
    scanner.isolate(world.control());
    expect(pageblockSkip(world.test.pages, FIRST)).toBe(true);
    const second = world.control();
    scanner.isolate(second);
    expect(second.migratePfn).toBeGreaterThan(FIRST + BLOCK);
  });

  it('remembers its place for later runs: an asynchronous one only for its kind', () => {
    const cc = world.control({ mode: MIGRATE_MODE.async });
    scanner.isolate(cc);
    expect([...world.test.zone.compact.cachedMigratePfn]).toEqual([FIRST + 2 * BLOCK, 0]);
  });

  it('leaves pages that cannot be isolated where they are', () => {
    world.lru.place(FIRST, FIRST + 1);
    world.lru.pinned.add(FIRST);
    const cc = world.control();
    scanner.isolate(cc);
    expect(isolated(cc)).toEqual([FIRST + 1]);
    expect(scanner.takeIsolated()).toBe(1);
    expect(scanner.takeIsolated()).toBe(0);
  });
});

describe('an asynchronous attempt of the task that allocates', () => {
  const gfp = GFP_HIGHUSER_MOVABLE;
  const options = { direct: true, mode: MIGRATE_MODE.async, order: 4, gfp };

  it('puts a block back that has a page in it that cannot be moved, and goes on behind', () => {
    world.lru.place(...every(FIRST, 1, FIRST + 10), ...every(FIRST + 16, 1, FIRST + 32));
    world.lru.pinned.add(FIRST + 9);
    world.test.free(FIRST + 32, 5);
    const cc = world.control(options);
    cc.migratePfn = FIRST;
    scanner.isolate(cc);
    expect(world.lru.putBack).toEqual(every(FIRST, 1, FIRST + 9).reverse());
    expect(isolated(cc)).toEqual(every(FIRST + 16, 1, FIRST + 32));
  });

  it('looks only into pageblocks of its own migratetype', () => {
    world.lru.place(FIRST);
    world.test.pages.setBlockType(FIRST, MIGRATETYPE.reclaimable);
    world.lru.place(FIRST + 3 * BLOCK);
    const cc = world.control({ ...options, order: 3 });
    scanner.isolate(cc);
    expect(world.traced[0]).toContain('range=(0x1200 ~ 0x1400)');
  });
});

describe('pages of a balloon', () => {
  it.each([
    ['are isolated', false, 1],
    ['are not where balloons cannot be compacted', true, 0],
  ])('%s', (_what, isPinned, expected) => {
    const { test, balloons } = world;
    if (isPinned) test.allocator.pinBalloonPages();
    const book = new BalloonDevInfo(balloons, { adjustManagedPageCount: true });
    test.free(FIRST, 0);
    book.enqueue(test.allocator.allocBalloonPage());
    expect(scanner.isolate(world.control())).toBe(!isPinned);
    expect([book.isolatedPages, book.length]).toEqual([expected, 1 - expected]);
  });
});
