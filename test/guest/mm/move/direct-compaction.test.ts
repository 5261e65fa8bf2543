import { beforeEach, describe, expect, it } from 'vitest';
import { COMPACT, COMPACT_PRIO } from '../../../../guest/mm/move/constants.ts';
import { directCompact } from '../../../../guest/mm/move/direct-compaction.ts';
import {
  __GFP_IO,
  ALLOC_WMARK_MIN,
  GFP_HIGHUSER_MOVABLE,
  GFP_KERNEL,
} from '../../../../guest/mm/page/gfp.ts';
import { FIRST } from '../test-zone.ts';
import { MoveWorld } from './move-world.ts';

const BLOCK = 512;
const TOP = 15_872;

let world: MoveWorld;

/** Two pageblocks with a page of the LRU in each block of order 2, free otherwise. */
beforeEach(() => {
  world = new MoveWorld();
  const { test } = world;
  for (let pfn = FIRST; pfn < FIRST + 2 * BLOCK; pfn += 4) {
    world.lru.place(pfn);
    test.free(pfn + 1, 0);
    test.free(pfn + 2, 1);
  }
  // To move to, and in blocks too small to serve anybody.
  for (let pfn = TOP - 2 * BLOCK; pfn < TOP; pfn += 2) test.free(pfn, 0);
});

function request(order: number, gfp = GFP_HIGHUSER_MOVABLE) {
  return { order, gfp, allocFlags: ALLOC_WMARK_MIN };
}

describe('direct compaction', () => {
  it('gets a huge page as it becomes whole, before it is on a list', () => {
    const { pfn, result } = world.run(
      directCompact(world.world, request(9), COMPACT_PRIO.syncLight),
    );
    expect([pfn, result]).toEqual([FIRST, COMPACT.success]);
    expect(world.test.pages.refcount(FIRST)).toBe(1);
    expect(world.test.pages.allocOrder(FIRST)).toBe(9);
    expect(world.lru.moved).toHaveLength(128);
    expect(world.test.zone.capture).toBeUndefined();
    const { compact_stall, compact_success, compact_fail } = world.events;
    expect([compact_stall, compact_success, compact_fail]).toEqual([1, 1, 0]);
    const last = world.traced.filter((line) => line.startsWith('mm_compaction_finished')).at(-1);
    expect(last).toContain('ret=continue');
  });

  it('looks for smaller blocks at the end of a pageblock, and takes them from the lists', () => {
    const compact = () => directCompact(world.world, request(4), COMPACT_PRIO.async);
    const [first, second] = [world.run(compact()), world.run(compact())];
    expect([first.pfn, second.pfn]).toEqual([FIRST, FIRST + 16]);
    expect(world.lru.moved).toHaveLength(128);
  });

  it('captures nothing that others free while it waits', () => {
    const running = directCompact(world.world, request(9), COMPACT_PRIO.syncLight);
    world.lru.tooMany = true;
    running.next();
    expect(world.test.zone.capture).toBeUndefined();
    world.lru.tooMany = false;
    expect(world.run(running)).toMatchObject({ result: COMPACT.success });
  });

  it('does nothing where moving pages is not allowed, or would be in vain', () => {
    const compact = (order: number, gfp: number) =>
      world.run(directCompact(world.world, request(order, gfp), COMPACT_PRIO.async));
    expect(compact(4, GFP_KERNEL & ~__GFP_IO)).toEqual({ pfn: -1, result: COMPACT.skipped });
    expect(compact(1, GFP_HIGHUSER_MOVABLE).pfn).toBeGreaterThan(0);
    expect(world.lru.moved).toEqual([]);
  });

  it('that failed is left out for a while', () => {
    for (let pfn = FIRST; pfn < FIRST + 2 * BLOCK; pfn += 4) world.lru.pinned.add(pfn);
    const compact = (priority: 1 | 2) =>
      world.run(directCompact(world.world, request(4), priority)).result;
    expect(compact(COMPACT_PRIO.syncLight)).toBe(COMPACT.partialSkipped);
    expect(compact(COMPACT_PRIO.async)).toBe(COMPACT.deferred);
    expect(world.traced.some((line) => line.startsWith('mm_compaction_defer_compaction'))).toBe(
      true,
    );
  });
});
