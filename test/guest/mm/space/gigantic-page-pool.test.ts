import { describe, expect, it } from 'vitest';
import {
  type ContigSupply,
  GIGANTIC_PAGES,
  GiganticPagePool,
} from '../../../../guest/mm/space/gigantic-page-pool.ts';
import type { Waiting } from '../../../../guest/sched/scheduler.ts';
import { GuestWorld } from '../verify-world.ts';

/** Ranges of 1 GiB that can be had, the first one first; of others nothing is known. */
class FakeSupply implements ContigSupply {
  readonly free: number[];
  readonly hugetlb: boolean[] = [];

  constructor(...free: readonly number[]) {
    this.free = [...free];
  }

  *allocPages(
    _count: number,
    _gfp: number,
    isHugetlb: (blockPfn: number) => boolean,
  ): Waiting<number> {
    this.hugetlb.push(...this.free.map((pfn) => isHugetlb(pfn + 512)));
    return this.free.shift() ?? -1;
  }

  freeRange({ start }: { readonly start: number }): void {
    this.free.push(start);
  }
}

function resize(pool: GiganticPagePool, count: number): number {
  const step = pool.resize(count).next();
  if (step.done !== true) throw new Error('a fake supply waits for nothing');
  return step.value;
}

describe('the pool of huge pages of 1 GiB (hugepages-1048576kB/nr_hugepages)', () => {
  it('grows until there is no range to be had, and gives the last ones back', () => {
    const supply = new FakeSupply(GIGANTIC_PAGES * 4, GIGANTIC_PAGES * 6);
    const pool = new GiganticPagePool(supply, { beginsAt: () => false });
    expect([resize(pool, 5), pool.count]).toEqual([2, 2]);
    expect(resize(pool, 1)).toBe(1);
    expect([pool.pfns, supply.free]).toEqual([[GIGANTIC_PAGES * 4], [GIGANTIC_PAGES * 6]]);
  });

  it('says of its own pages, and of those of 2 MiB, that they are in a pool', () => {
    const small = { beginsAt: (pfn: number) => pfn === GIGANTIC_PAGES * 6 + 512 };
    const supply = new FakeSupply(GIGANTIC_PAGES * 4, GIGANTIC_PAGES * 6, GIGANTIC_PAGES * 7);
    const pool = new GiganticPagePool(supply, small);
    resize(pool, 1);
    expect(supply.hugetlb).toEqual([false, true, false]);
    expect(pool.has(GIGANTIC_PAGES * 4 + 1024)).toBe(true);
    expect(pool.has(GIGANTIC_PAGES * 5)).toBe(false);
  });

  it('in a guest moves processes and the balloon out of the way, and gives all back', () => {
    const guest = new GuestWorld({ mib: 5120, guest: { programs: [] } });
    const { kernel } = guest.guest;
    kernel.start({ name: 'hog', mib: 200, seconds: 1000 });
    guest.pass(1000);
    guest.setTarget(5120 - 1100);
    guest.pass(1000);
    const freeBefore = guest.freeFrames;
    const numPages = kernel.balloon.numPages;
    kernel.setNrHugepages(2, '1G');
    guest.pass(1000);
    expect(kernel.giganticPagePool.count).toBe(1);
    const [start] = kernel.giganticPagePool.pfns;
    expect(start % GIGANTIC_PAGES).toBe(0);
    expect(kernel.compaction.events.pgmigrate_success).toBeGreaterThan(50_000);
    expect(kernel.memory.balloons.events.balloon_migrate).toBeGreaterThan(0);
    const listed = [...(kernel.balloon.book?.pfns() ?? [])];
    const { ledger } = guest.session.vm('vm0');
    expect(ledger.compareBalloon(listed)).toMatchObject({ missing: 0, surplus: 0 });
    guest.verify();
    kernel.setNrHugepages(0, '1G');
    guest.pass(10);
    guest.verify();
    expect(kernel.giganticPagePool.count).toBe(0);
    expect(kernel.balloon.numPages).toBe(numPages);
    expect(guest.freeFrames).toBe(freeBefore);
  }, 30_000);
});
