import { beforeEach, describe, expect, it } from 'vitest';
import { AllocSlowPath } from '../../../../guest/mm/move/slow-path.ts';
import {
  __GFP_IO,
  __GFP_NOFAIL,
  __GFP_NORETRY,
  __GFP_RETRY_MAYFAIL,
  ALLOC_NO_WATERMARKS,
  GFP_HIGHUSER_MOVABLE,
  GFP_KERNEL,
  MIGRATETYPE,
  WMARK,
} from '../../../../guest/mm/page/gfp.ts';
import type { OomResult } from '../../../../guest/mm/reclaim/out-of-memory.ts';
import { FIRST } from '../test-zone.ts';
import { MoveWorld } from './move-world.ts';

const BLOCK = 512;
const TOP = 15_872;

let world: MoveWorld;
/** What the slow path did beside compaction, by order. */
let calls: string[];
let progress: number;
let killed: OomResult;
let slowPath: AllocSlowPath;

beforeEach(() => {
  world = new MoveWorld();
  calls = [];
  progress = 0;
  killed = { pfn: 77, progress: true };
  slowPath = new AllocSlowPath({
    world: world.world,
    *reclaim(order) {
      calls.push(`reclaim ${order}`);
      yield 0;
      return progress;
    },
    *mayOom(order) {
      calls.push(`oom ${order}`);
      yield 0;
      return killed;
    },
  });
  for (let pfn = FIRST; pfn < FIRST + 2 * BLOCK; pfn += 2) {
    world.lru.place(pfn);
    world.test.free(pfn + 1, 0);
  }
  for (let pfn = TOP - 4 * BLOCK; pfn < TOP; pfn += 2) world.test.free(pfn, 0);
});

function allocate(order: number, gfp: number, asking?: { killed: boolean }): number {
  return world.run(slowPath.allocate(order, gfp, asking));
}

/** Takes every frame that is free, and more than the marks allow. */
function useUp(): number[] {
  const { allocator } = world.test;
  const taken: number[] = [];
  for (;;) {
    const pfn = allocator.getPageFromFreelist(0, GFP_HIGHUSER_MOVABLE, ALLOC_NO_WATERMARKS);
    if (pfn < 0) return taken;
    taken.push(pfn);
  }
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

  it('does not compact for single pages, nor for who may not move any', () => {
    useUp();
    expect(allocate(0, GFP_HIGHUSER_MOVABLE)).toBe(77);
    expect(allocate(2, GFP_KERNEL & ~__GFP_IO)).toBe(77);
    expect(priorities()).toBe('');
    expect([calls[0], calls.at(-1)]).toEqual(['reclaim 0', 'oom 2']);
  });

  it('reclaims 17 times in vain before it asks the OOM killer, as recorded', () => {
    // The mark is out of reach, but not of twice as many pages as are free.
    const taken = useUp().filter((pfn) => world.test.allocator.zoneOf(pfn) === world.test.zone);
    for (const pfn of taken.slice(0, 60)) world.test.allocator.free(pfn, 0);
    world.test.allocator.drainAllPages();
    world.test.zone.watermark[WMARK.min] = 100;
    expect(allocate(0, GFP_HIGHUSER_MOVABLE)).toBe(77);
    expect(calls).toEqual([...Array(17).fill('reclaim 0'), 'oom 0']);
  });

  it('gives the last highatomic pageblock up before it asks the OOM killer', () => {
    const { allocator, pages, zone } = world.test;
    const [pfn = -1] = useUp().filter((taken) => allocator.zoneOf(taken) === zone);
    pages.setBlockType(pfn, MIGRATETYPE.highatomic);
    zone.nrReservedHighatomic = BLOCK;
    allocator.free(pfn, 0);
    allocator.drainAllPages();
    zone.watermark[WMARK.min] = 0;
    expect(allocate(0, GFP_HIGHUSER_MOVABLE)).toBe(pfn);
    expect([calls, zone.nrReservedHighatomic]).toEqual([['reclaim 0'], 0]);
  });

  it('asks the OOM killer where reclaim is at its end, whatever compaction hopes for', () => {
    useUp();
    world.lru.fileLru = 100_000;
    expect(allocate(2, GFP_HIGHUSER_MOVABLE)).toBe(77);
    expect(calls).toEqual(['reclaim 2', 'oom 2']);
  });

  it('begins again after the OOM killer, until the killed process asks itself', () => {
    useUp();
    killed = { pfn: -1, progress: true };
    const asking = { killed: false };
    const step = slowPath.allocate(0, GFP_HIGHUSER_MOVABLE, asking);
    while (calls.filter((call) => call === 'oom 0').length < 3) step.next();
    asking.killed = true;
    let last = step.next();
    while (last.done !== true) last = step.next();
    expect(last.value).toBe(-1);
    expect(calls.filter((call) => call === 'oom 0')).toHaveLength(3);
  });

  it('waits for whoever is at it already, however long that takes', () => {
    const [pfn = -1] = useUp().filter(
      (one) => world.test.allocator.zoneOf(one) === world.test.zone,
    );
    killed = { pfn: -1, progress: true, waited: true };
    const step = slowPath.allocate(0, GFP_KERNEL, undefined);
    for (let rounds = 0; rounds < 2 * 4096; ) {
      const before = calls.length;
      expect(step.next().done).toBe(false);
      if (calls[before] === 'oom 0') rounds++;
      calls.length = 0;
    }
    world.test.allocator.free(pfn, 0);
    world.test.allocator.drainAllPages();
    let last = step.next();
    for (let steps = 0; steps < 20 && last.done !== true; steps++) last = step.next();
    expect(last.value).toBe(pfn);
  });

  it('fails a request that is not to retry after it has reclaimed once', () => {
    useUp();
    expect(allocate(0, GFP_HIGHUSER_MOVABLE | __GFP_NORETRY)).toBe(-1);
    expect(calls).toEqual(['reclaim 0']);
  });

  it('reclaims before it compacts for smaller movable blocks', () => {
    for (let pfn = FIRST; pfn < FIRST + 2 * BLOCK; pfn += 2) world.lru.pinned.add(pfn);
    expect(allocate(2, GFP_HIGHUSER_MOVABLE)).toBe(77);
    expect([calls[0], calls.at(-1)]).toEqual(['reclaim 2', 'oom 2']);
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
    killed = { pfn: -1, progress: false };
    expect(allocate(9, GFP_HIGHUSER_MOVABLE | __GFP_RETRY_MAYFAIL)).toBe(-1);
    expect(calls).toEqual([...Array(17).fill('reclaim 9'), 'oom 9']);
    expect(priorities()).toMatch(/^21{17}$/);
  });

  it('never fails a request that says so: it goes on until somebody frees a page', () => {
    const [pfn = -1] = useUp().filter(
      (one) => world.test.allocator.zoneOf(one) === world.test.zone,
    );
    killed = { pfn: -1, progress: false };
    const step = slowPath.allocate(0, GFP_KERNEL | __GFP_NOFAIL, undefined);
    while (calls.filter((call) => call === 'oom 0').length < 5) step.next();
    world.test.allocator.free(pfn, 0);
    world.test.allocator.drainAllPages();
    let last = step.next();
    for (let steps = 0; steps < 20 && last.done !== true; steps++) last = step.next();
    expect(last.value).toBe(pfn);
  });

  it('lets a request that must not fail into the reserve, and no other', () => {
    const { allocator, zone } = world.test;
    killed = { pfn: -1, progress: false };
    const free = allocator.nrFree(zone);
    zone.watermark[WMARK.min] = free + Math.floor(free / 4);
    expect(allocate(0, GFP_KERNEL)).toBe(-1);
    expect(allocate(0, GFP_KERNEL | __GFP_NOFAIL)).toBeGreaterThan(0);
  });

  it('compacts no more for a process that was killed', () => {
    for (let pfn = FIRST; pfn < FIRST + 2 * BLOCK; pfn += 2) world.lru.pinned.add(pfn);
    progress = 1;
    killed = { pfn: -1, progress: false };
    expect(allocate(2, GFP_HIGHUSER_MOVABLE, { killed: false })).toBe(-1);
    const patient = priorities().length;
    world.traced.length = 0;
    expect(allocate(2, GFP_HIGHUSER_MOVABLE, { killed: true })).toBe(-1);
    expect(priorities().length).toBeLessThan(patient);
  });

  it('does not reclaim for a request that is not to retry, when compaction is deferred', () => {
    for (let pfn = FIRST; pfn < FIRST + 2 * BLOCK; pfn += 2) world.lru.pinned.add(pfn);
    for (const zone of world.test.zones) Object.assign(zone.compact, { deferShift: 6 });
    expect(allocate(9, GFP_HIGHUSER_MOVABLE | __GFP_NORETRY)).toBe(-1);
    expect(calls).toEqual([]);
  });
});
