import { beforeEach, describe, expect, it } from 'vitest';
import { verifySpaces } from '../../../../guest/mm/space/verify.ts';
import { MIB } from '../../../../shared/lib/units.ts';
import { HeldGuest } from '../../../support/held-guest.ts';

/** nr_hugepages in a guest whose balloon lies in the way. */
let held: HeldGuest;

function ask(count: number): number {
  const { kernel } = held.guest;
  kernel.setNrHugepages(count);
  held.run(5000);
  expect([...kernel.scheduler.tasks()]).toEqual([]);
  expect(kernel.memory.verify()).toEqual([]);
  expect(verifySpaces(kernel.spaces)).toEqual([]);
  return kernel.hugePagePool.count;
}

/** Holes all over the balloon. */
function fragment(): void {
  held.guest.run({ name: 'frag', mib: 120, keepEvery: 2, seconds: 1 });
  held.run(100);
  held.setTarget(140 * MIB);
  held.run(2000);
}

describe('the pool of huge pages', () => {
  beforeEach(() => {
    held = new HeldGuest();
  });

  it('grows and shrinks to what is asked for', () => {
    const { vmstat, memory } = held.guest.kernel;
    const free = memory.allocator.nrFree();
    expect([ask(20), ask(5), ask(30)]).toEqual([20, 5, 30]);
    expect([vmstat.htlb_buddy_alloc_success, vmstat.htlb_buddy_alloc_fail]).toEqual([45, 0]);
    expect(ask(0)).toBe(0);
    memory.allocator.drainAllPages();
    expect(memory.allocator.nrFree()).toBeGreaterThanOrEqual(free);
  });

  it('moves the balloon out of the way', () => {
    fragment();
    const { kernel } = held.guest;
    const had = ask(100);
    expect(had).toBeGreaterThan(10);
    expect(kernel.memory.balloons.events.balloon_migrate).toBeGreaterThan(1000);
    expect(kernel.compaction.events.compact_success).toBeGreaterThan(0);
    expect(kernel.vmstat.htlb_buddy_alloc_fail).toBe(1);
  });

  it('gets fewer where the balloon cannot be moved', () => {
    fragment();
    const movable = ask(100);
    held = new HeldGuest({ balloonCompaction: 'off' });
    fragment();
    expect(ask(100)).toBeLessThan(movable);
  });
});
