import { beforeEach, describe, expect, it } from 'vitest';
import { CompactingSlowPath } from '../../../../guest/mm/move/slow-path.ts';
import {
  __GFP_IO,
  __GFP_NORETRY,
  __GFP_RETRY_MAYFAIL,
  GFP_HIGHUSER_MOVABLE,
  GFP_KERNEL,
} from '../../../../guest/mm/page/gfp.ts';
import { FIRST } from '../test-zone.ts';
import { MoveWorld } from './move-world.ts';

const BLOCK = 512;
const TOP = 15_872;

let world: MoveWorld;
/** What the slow path did: reclaim and what comes behind compaction, by order. */
let calls: string[];
let progress: number;
let slowPath: CompactingSlowPath;

beforeEach(() => {
  world = new MoveWorld();
  calls = [];
  progress = 0;
  slowPath = new CompactingSlowPath({
    world: world.world,
    *reclaim(order) {
      calls.push(`reclaim ${order}`);
      yield 0;
      return progress;
    },
    next: {
      *allocate(order) {
        calls.push(`next ${order}`);
        yield 0;
        return 77;
      },
    },
  });
  for (let pfn = FIRST; pfn < FIRST + 2 * BLOCK; pfn += 2) {
    world.lru.place(pfn);
    world.test.free(pfn + 1, 0);
  }
  for (let pfn = TOP - 4 * BLOCK; pfn < TOP; pfn += 2) world.test.free(pfn, 0);
});

function allocate(order: number, gfp: number): number {
  return world.run(slowPath.allocate(order, gfp, undefined));
}

/** How often compaction was asked for, by the priorities of the requests. */
function priorities(): string {
  const tries = world.traced.filter((line) => line.includes('try_to_compact'));
  return tries.map((line) => line.at(-1)).join('');
}

describe('the slow path of an allocation', () => {
  it('compacts before it reclaims when the order is costly', () => {
    expect(allocate(9, GFP_HIGHUSER_MOVABLE)).toBe(FIRST);
    expect([calls, priorities()]).toEqual([[], '2']);
    expect(world.test.traced('A')).toEqual([`${FIRST} 9 1`]);
  });

  it('leaves single pages, and requests that may not move any, to what comes behind', () => {
    expect(allocate(0, GFP_HIGHUSER_MOVABLE)).toBe(77);
    expect(allocate(2, GFP_KERNEL & ~__GFP_IO)).toBe(77);
    expect([calls, priorities()]).toEqual([['next 0', 'next 2'], '']);
  });

  it('reclaims before it compacts for smaller movable blocks', () => {
    for (let pfn = FIRST; pfn < FIRST + 2 * BLOCK; pfn += 2) world.lru.pinned.add(pfn);
    expect(allocate(2, GFP_HIGHUSER_MOVABLE)).toBe(77);
    expect([calls[0], calls.at(-1)]).toEqual(['reclaim 2', 'next 2']);
    expect(priorities()[0]).toBe('1');
  });

  it('gives a costly request up after one round, unless it is told to try hard', () => {
    for (let pfn = FIRST; pfn < FIRST + 2 * BLOCK; pfn += 2) world.lru.pinned.add(pfn);
    expect(allocate(9, GFP_HIGHUSER_MOVABLE)).toBe(-1);
    expect([calls, priorities()]).toEqual([['reclaim 9'], '21']);
    expect(world.test.traced('A')).toEqual(['0 9 1']);
  });

  it('tries hard 16 times where a zone would do, could it be reclaimed', () => {
    for (let pfn = FIRST; pfn < FIRST + 2 * BLOCK; pfn += 2) world.lru.pinned.add(pfn);
    // DMA has a block, and keeps it for those who can use nothing else.
    const [dma] = world.test.zones;
    for (const pfn of [512, 1536, 2560]) world.test.free(pfn, 9);
    dma.lowmemReserve.fill(2000);
    expect(allocate(9, GFP_HIGHUSER_MOVABLE | __GFP_RETRY_MAYFAIL)).toBe(-1);
    expect(calls).toEqual(Array(17).fill('reclaim 9'));
    expect(priorities()).toMatch(/^21{17}$/);
  });

  it('does not reclaim for a request that is not to retry, when compaction is deferred', () => {
    for (let pfn = FIRST; pfn < FIRST + 2 * BLOCK; pfn += 2) world.lru.pinned.add(pfn);
    for (const zone of world.test.zones) Object.assign(zone.compact, { deferShift: 6 });
    expect(allocate(9, GFP_HIGHUSER_MOVABLE | __GFP_NORETRY)).toBe(-1);
    expect(calls).toEqual([]);
  });
});
