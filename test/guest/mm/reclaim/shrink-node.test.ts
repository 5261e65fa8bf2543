import { describe, expect, it } from 'vitest';
import { readFile } from '../../../../guest/mm/calls/files.ts';
import { __GFP_IO, GFP_KERNEL, ZONE } from '../../../../guest/mm/page/gfp.ts';
import { ReclaimNode } from '../../../../guest/mm/reclaim/reclaim-node.ts';
import { ScanControl } from '../../../../guest/mm/reclaim/scan-control.ts';
import { NodeShrinker } from '../../../../guest/mm/reclaim/shrink-node.ts';
import { PG_DIRTY, PG_RECLAIM, PG_WRITEBACK } from '../../../../guest/mm/space/frames.ts';
import { ReclaimWorld } from './reclaim-world.ts';

const PAGES = 600;

interface Shrinking {
  readonly order: number;
  readonly priority: number;
  readonly gfp?: number;
  /** What compaction says of every zone. */
  readonly canCompact?: boolean;
}

/** A guest with so many clean pages of a file on its inactive list, and their frames. */
function withFile(pages: number): { world: ReclaimWorld; pfns: number[] } {
  const world = new ReclaimWorld(64);
  const { spaces } = world;
  const file = spaces.files.create('disk');
  for (let index = 0; index < pages; index++) file.disk?.write(index, 1);
  file.sizePages = pages;
  for (let index = 0; index < pages; index++) world.run(readFile(spaces, file, index));
  spaces.lru.drain();
  return { world, pfns: Array.from({ length: pages }, (_, index) => file.page(index)) };
}

/** Shrinks a node with 600 pages of a file once, and tells how often it went over it. */
function shrink({ order, priority, gfp = GFP_KERNEL, canCompact = false }: Shrinking) {
  const { world } = withFile(PAGES);
  const { spaces } = world;
  let rounds = 0;
  const count = () => {
    rounds++;
    return 0;
  };
  world.shrinkers.register({ count, scan: () => 0 });
  const node = new ReclaimNode({
    spaces,
    shrinkers: world.shrinkers,
    compaction: { canCompact: () => canCompact, isReady: () => false },
    swap: undefined,
  });
  const request = { gfp, order, highestZone: ZONE.normal, isKswapd: true };
  const sc = Object.assign(new ScanControl(request), { priority });
  node.kswapdFailures = 3;
  world.run(new NodeShrinker(node).shrink(sc));
  return { rounds, reclaimed: sc.nrReclaimed, failures: node.kswapdFailures };
}

describe('should_continue_reclaim', () => {
  it('goes over the node once for single pages', () => {
    expect(shrink({ order: 0, priority: 2 })).toEqual({ rounds: 1, reclaimed: 32, failures: 0 });
  });

  it('goes on for compaction until fewer than twice the block are left, 32 at a time', () => {
    // 15 times 32, then a quarter of what is left: 30 of 120, 22 of 90 and 17 of 68.
    const { rounds, reclaimed } = shrink({ order: 5, priority: 2 });
    expect([rounds, reclaimed]).toEqual([18, PAGES - 51]);
    expect(shrink({ order: 7, priority: 2 }).rounds).toBe(11);
  });

  it('does so for an order that is not costly only after the third look', () => {
    expect(shrink({ order: 3, priority: 10 }).rounds).toBe(1);
    expect(shrink({ order: 4, priority: 9 }).rounds).toBeGreaterThan(1);
    expect(shrink({ order: 3, priority: 9 }).rounds).toBeGreaterThan(1);
  });

  it('stops where compaction has enough, or must not run', () => {
    expect(shrink({ order: 5, priority: 2, canCompact: true }).rounds).toBe(1);
    expect(shrink({ order: 5, priority: 2, gfp: GFP_KERNEL & ~__GFP_IO }).rounds).toBe(1);
  });

  it('stops where nothing was reclaimed, which is no success of kswapd', () => {
    expect(shrink({ order: 5, priority: 12 })).toEqual({ rounds: 1, reclaimed: 0, failures: 3 });
  });
});

/** What kswapd makes of a node with 32 pages of a file; each has the flags that `flagsOf` says. */
function settled(flagsOf: (index: number) => number, isWritebackHeavy = false) {
  const { world, pfns } = withFile(32);
  const { node } = world.reclaim;
  pfns.forEach((pfn, index) => {
    world.spaces.frames.set(pfn, flagsOf(index));
  });
  node.isWritebackHeavy = isWritebackHeavy;
  const before = world.clock.now();
  const request = { gfp: GFP_KERNEL, order: 0, highestZone: ZONE.normal, isKswapd: true };
  const sc = Object.assign(new ScanControl(request), { priority: 0 });
  world.run(new NodeShrinker(node).shrink(sc));
  const { isDirty, isCongested } = node;
  const heavy = node.isWritebackHeavy;
  return { isDirty, isCongested, heavy, hasWaited: world.clock.now() > before };
}

describe('what kswapd remembers of a node', () => {
  const nothing = { isDirty: false, isCongested: false, heavy: false, hasWaited: false };

  it('is nothing where most pages are clean', () => {
    expect(settled(() => 0)).toEqual(nothing);
    expect(settled((index) => (index === 0 ? PG_DIRTY : 0))).toEqual(nothing);
  });

  it('is PGDAT_DIRTY where all are dirty and nobody writes them', () => {
    expect(settled(() => PG_DIRTY)).toEqual({ ...nothing, isDirty: true });
    expect(settled((index) => (index === 0 ? 0 : PG_DIRTY))).toEqual(nothing);
  });

  it('is PGDAT_WRITEBACK where all are being written', () => {
    expect(settled(() => PG_WRITEBACK)).toEqual({ ...nothing, heavy: true });
    expect(settled((index) => (index === 0 ? 0 : PG_WRITEBACK))).toEqual(nothing);
  });

  it('is LRUVEC_CONGESTED where all that are dirty came round once before', () => {
    const flags = PG_WRITEBACK | PG_RECLAIM;
    expect(settled(() => flags)).toEqual({ ...nothing, heavy: true, isCongested: true });
    const some = settled((index) => (index < 5 ? flags : 0));
    expect(some).toEqual({ ...nothing, isCongested: true });
  });

  it('makes it wait for write-back when they come round once more', () => {
    const again = settled((index) => (index === 0 ? PG_WRITEBACK | PG_RECLAIM : 0), true);
    expect(again).toEqual({ ...nothing, heavy: true, isCongested: true, hasWaited: true });
  });
});
