import { beforeEach, describe, expect, it } from 'vitest';
import {
  pageblockSkip,
  resetCachedPositions,
  resetIsolationSuitable,
  setPageblockSkip,
} from '../../../../guest/mm/move/skip-hints.ts';
import { MIGRATETYPE } from '../../../../guest/mm/page/gfp.ts';
import { FIRST } from '../test-zone.ts';
import { MoveWorld } from './move-world.ts';

const BLOCK = 512;
const LAST_BLOCK = 15_872;

let world: MoveWorld;

beforeEach(() => {
  world = new MoveWorld();
  world.test.pages.blockSkips.fill(1);
});

function hints(...pfns: number[]): boolean[] {
  return pfns.map((pfn) => pageblockSkip(world.test.pages, pfn));
}

describe('skip hints', () => {
  it('stay until compaction has come to the end of the zone', () => {
    world.lru.place(FIRST + 8);
    resetIsolationSuitable(world.test.zones);
    expect(hints(FIRST)).toEqual([true]);
    world.test.zone.compact.blockSkipFlush = true;
    resetIsolationSuitable(world.test.zones);
    expect(hints(FIRST)).toEqual([false]);
    expect(world.test.zone.compact.blockSkipFlush).toBe(false);
  });

  it('go where pages can be moved from below, or to above', () => {
    const { test, lru } = world;
    test.zone.compact.blockSkipFlush = true;
    lru.place(FIRST + BLOCK + 16);
    test.free(LAST_BLOCK - BLOCK + 24, 3);
    resetIsolationSuitable(test.zones);
    expect(hints(FIRST, FIRST + BLOCK)).toEqual([true, false]);
    expect(hints(LAST_BLOCK, LAST_BLOCK - BLOCK)).toEqual([true, false]);
    const { cachedMigratePfn, initMigratePfn, cachedFreePfn, initFreePfn } = test.zone.compact;
    expect([...cachedMigratePfn, initMigratePfn]).toEqual(Array(3).fill(FIRST + BLOCK));
    expect([cachedFreePfn, initFreePfn]).toEqual(Array(2).fill(test.zone.endPfn - 1 - BLOCK));
  });

  it('are cleared by what every eighth frame shows, and by nothing else', () => {
    const { test, lru } = world;
    test.zone.compact.blockSkipFlush = true;
    lru.place(FIRST + 7, FIRST + 9);
    resetIsolationSuitable(test.zones);
    expect(hints(FIRST)).toEqual([true]);
  });

  it('of pageblocks that are not movable stay for the free scanner', () => {
    const { test } = world;
    test.zone.compact.blockSkipFlush = true;
    test.pages.setBlockType(LAST_BLOCK, MIGRATETYPE.unmovable);
    test.free(LAST_BLOCK, 3, MIGRATETYPE.unmovable);
    resetIsolationSuitable(test.zones);
    expect(hints(LAST_BLOCK)).toEqual([true]);
  });

  it('scanners that have met begin at the ends of the zone', () => {
    resetCachedPositions(world.test.zone);
    const { cachedMigratePfn, cachedFreePfn } = world.test.zone.compact;
    expect([...cachedMigratePfn]).toEqual([FIRST, FIRST]);
    expect(cachedFreePfn).toBe(LAST_BLOCK);
    setPageblockSkip(world.test.pages, FIRST, false);
    expect(hints(FIRST, FIRST + BLOCK)).toEqual([false, true]);
  });
});
