import { beforeEach, describe, expect, it } from 'vitest';
import type { CompactControl, CompactOptions } from '../../../../guest/mm/move/compact-control.ts';
import { MIGRATE_MODE } from '../../../../guest/mm/move/constants.ts';
import { FreeScanner } from '../../../../guest/mm/move/free-scanner.ts';
import { pageblockSkip } from '../../../../guest/mm/move/skip-hints.ts';
import { MIGRATETYPE, WMARK } from '../../../../guest/mm/page/gfp.ts';
import { PAGE_STATE } from '../../../../guest/mm/page/page-lifecycle.ts';
import { FIRST } from '../test-zone.ts';
import { MoveWorld } from './move-world.ts';

const BLOCK = 512;
/** First frame of the last pageblock, which is not whole, and of the one below. */
const TOP = 15_872;
const BELOW = TOP - BLOCK;

let world: MoveWorld;
let scanner: FreeScanner;

beforeEach(() => {
  world = new MoveWorld();
  // Free memory that is of no use to the scanner, but to the watermarks.
  world.test.free(FIRST + 10 * BLOCK, 9);
  scanner = new FreeScanner(world.trace);
});

/** A run that has so many pages to migrate. */
function control(pages: number, options: Partial<CompactOptions> = {}): CompactControl {
  const cc = world.control(options);
  cc.nrMigratePages = pages;
  cc.freePfn = TOP;
  return cc;
}

function takeAll(cc: CompactControl): number[] {
  const taken = [scanner.take(cc)];
  while (cc.nrFreePages > 0) taken.push(scanner.take(cc));
  return taken;
}

describe('the free scanner', () => {
  it('begins with the last pageblock; the page isolated last is taken first', () => {
    world.test.free(TOP + 4, 1);
    world.test.free(TOP + 8, 2);
    world.test.free(BELOW, 8);
    const cc = control(5);
    expect(takeAll(cc)).toEqual([TOP + 11, TOP + 10, TOP + 9, TOP + 8, TOP + 5, TOP + 4]);
    expect(cc.freePfn).toBe(TOP + 12);
    expect(world.traced).toEqual([
      'mm_compaction_isolate_freepages: range=(0x3e00 ~ 0x3e0c) nr_scanned=12 nr_taken=6',
    ]);
  });

  it('hands out pages with one reference that are on no list', () => {
    world.test.free(TOP, 3);
    const pfn = scanner.take(control(1));
    const { pages, zone } = world.test;
    expect([pages.refcount(pfn), pages.states.stateOf(pfn)]).toEqual([1, PAGE_STATE.allocated]);
    expect([zone.freePages, zone.isolatedFreePages]).toEqual([BLOCK, 0]);
  });

  it('walks down to the pageblock above the migrate scanner, and no further', () => {
    world.test.free(FIRST, 0);
    world.test.free(FIRST + BLOCK, 0);
    const cc = control(8);
    cc.migratePfn = FIRST + 100;
    expect(scanner.take(cc)).toBe(FIRST + BLOCK);
    expect(scanner.take(cc)).toBe(-1);
    expect(pageblockSkip(world.test.pages, TOP)).toBe(true);
  });

  it('looks at every second, then every fourth frame after pageblocks without a free page', () => {
    const cc = control(8);
    scanner.take(cc);
    const scanned = world.traced.map((line) => Number(/nr_scanned=(\d+)/.exec(line)?.[1]));
    expect(scanned.slice(0, 7)).toEqual([480, 256, 128, 64, 32, 16, 16]);
  });

  it('an asynchronous one looks at every 32nd from the start', () => {
    world.test.free(TOP + 5, 0);
    const cc = control(1, { mode: MIGRATE_MODE.async });
    expect(scanner.take(cc)).toBe(-1);
    expect(world.traced[0]).toContain('nr_scanned=15 nr_taken=0');
  });

  it('takes nothing of pageblocks that are not movable, unless told to', () => {
    world.test.pages.setBlockType(TOP, MIGRATETYPE.unmovable);
    world.test.free(TOP, 3, MIGRATETYPE.unmovable);
    expect(scanner.take(control(1))).toBe(-1);
    expect(scanner.take(control(1, { ignoreBlockSuitable: true }))).toBe(TOP + 7);
  });

  it('takes nothing of a pageblock that is free as a whole', () => {
    world.test.free(TOP, 9);
    expect(scanner.take(control(1))).toBe(-1);
  });

  it('stops where the watermark would be broken', () => {
    world.test.free(TOP, 3);
    world.test.free(TOP + 16, 3);
    world.test.zone.watermark[WMARK.min] = BLOCK + 14;
    const cc = control(100);
    expect(scanner.take(cc)).toBe(-1);
    expect([cc.freePfn, world.test.zone.freePages]).toEqual([TOP, BLOCK + 16]);
  });

  it('takes back what was not needed, and hands it out again first', () => {
    world.test.free(TOP, 1);
    const cc = control(2);
    const [first, second] = [scanner.take(cc), scanner.take(cc)];
    scanner.giveBack(cc, second);
    scanner.giveBack(cc, first);
    expect([scanner.take(cc), scanner.take(cc)]).toEqual([first, second]);
  });

  it('gives back what is left in the end and says where it lies', () => {
    world.test.free(TOP, 3);
    const cc = control(2);
    scanner.take(cc);
    expect(scanner.release(cc, world.test.allocator)).toBe(TOP + 6);
    expect(world.test.zone.pcp.count).toBe(7);
    expect(scanner.takeIsolated()).toBe(8);
  });
});

describe('a run for one order', () => {
  it('finds a block near the end through the free lists', () => {
    world.test.free(TOP - 4 * BLOCK, 2);
    world.test.free(BELOW, 3);
    world.test.free(FIRST + 4 * BLOCK, 3);
    const cc = control(4, { order: 4 });
    expect(scanner.take(cc)).toBe(BELOW + 7);
    // Without a walk through the pageblock: the block has enough.
    expect(world.traced).toEqual([]);
    expect(cc.fastSearchFail).toBe(0);
  });

  it('looks around the block for the rest of what is needed', () => {
    world.test.free(BELOW + 8, 1);
    world.test.free(BELOW + 64, 3);
    const cc = control(10, { order: 4 });
    expect(takeAll(cc)).toHaveLength(10);
    expect(world.traced).toHaveLength(1);
  });

  it.each([
    ['256 entries of a list at the start', 0, [0, 0]],
    ['17 later on, and walks through two pageblocks then', TOP + 1, [1, 2]],
  ])('looks at %s', (_what, initFreePfn, expected) => {
    world.test.free(BELOW, 3);
    for (let at = 0; at < 40; at++) world.test.free(FIRST + 3 * BLOCK + 16 * at, 3);
    world.test.zone.compact.initFreePfn = initFreePfn;
    const cc = control(4, { order: 4 });
    expect(scanner.take(cc)).toBe(BELOW + 7);
    expect([cc.fastSearchFail, world.traced.length]).toEqual(expected);
  });

  it('counts searches that found nothing, and walks', () => {
    world.test.free(FIRST + 3 * BLOCK, 1);
    const cc = control(1, { order: 4 });
    expect(scanner.take(cc)).toBe(FIRST + 3 * BLOCK + 1);
    expect(cc.fastSearchFail).toBe(1);
  });
});
