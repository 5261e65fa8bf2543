import { describe, expect, it } from 'vitest';
import {
  __GFP_DMA32,
  __GFP_FS,
  __GFP_NOFAIL,
  __GFP_RETRY_MAYFAIL,
  __GFP_THISNODE,
  GFP_KERNEL,
} from '../../../../guest/mm/page/gfp.ts';
import { OomNotifierChain } from '../../../../guest/mm/reclaim/oom.ts';
import { type OomResult, OutOfMemory } from '../../../../guest/mm/reclaim/out-of-memory.ts';
import { TICK_MS } from '../../../../guest/sched/jiffies.ts';
import { World } from '../space/support.ts';

/** A guest without memory, and what is done about it when nothing can be reclaimed. */
class Exhausted {
  readonly world = new World();
  readonly notifiers = new OomNotifierChain();
  readonly done: string[] = [];
  readonly outOfMemory: OutOfMemory;
  kills = 1;
  readonly #taken: number[] = [];

  constructor() {
    const { allocator } = this.world.memory;
    allocator.drainAllPages();
    for (let pfn = 0; pfn >= 0; pfn = allocator.alloc(0, GFP_KERNEL)) this.#taken.push(pfn);
    this.outOfMemory = new OutOfMemory({
      allocator,
      vmstat: this.world.vmstat,
      notifiers: this.notifiers,
      killWorst: () => {
        if (this.kills === 0) return false;
        this.kills--;
        this.done.push('kill');
        return true;
      },
    });
  }

  give(count: number): void {
    for (const pfn of this.#taken.splice(1, count)) this.world.memory.allocator.free(pfn, 0);
  }

  /** A notifier that takes 5 ms and frees `pages`. */
  notifier(pages: number): void {
    const { done } = this;
    this.notifiers.register(0, function* () {
      done.push('notify');
      yield 5;
      return pages;
    });
  }

  mayOom(gfp = GFP_KERNEL, order = 0): OomResult {
    return this.world.run(this.outOfMemory.mayOom(order, gfp));
  }
}

const PROGRESS = { pfn: -1, progress: true };
const NOTHING = { pfn: -1, progress: false };

describe('the chain of notifiers', () => {
  it('calls the highest priority first, equals in order, and adds up what they free', () => {
    const { world, notifiers } = new Exhausted();
    const called: number[] = [];
    const unregister = [0, 5, 10, 5].map((priority, index) =>
      notifiers.register(priority, function* () {
        called.push(index);
        yield 1;
        return 1 << index;
      }),
    );
    expect(world.run(notifiers.call())).toBe(0b1111);
    expect(called.splice(0)).toEqual([2, 1, 3, 0]);
    for (const index of [1, 1, 0]) unregister[index]?.();
    expect(world.run(notifiers.call())).toBe(0b1100);
    expect(called).toEqual([2, 3]);
  });
});

describe('the last step of an allocation', () => {
  it('asks the notifiers before it kills', () => {
    const guest = new Exhausted();
    guest.notifier(32);
    expect(guest.mayOom()).toEqual(PROGRESS);
    expect(guest.done).toEqual(['notify']);
    expect(guest.world.vmstat.oom_kill).toBe(0);
  });

  it('kills when the notifiers free nothing', () => {
    const guest = new Exhausted();
    guest.notifier(0);
    expect(guest.mayOom()).toEqual(PROGRESS);
    expect(guest.done).toEqual(['notify', 'kill']);
    expect(guest.world.vmstat.oom_kill).toBe(1);
  });

  it('takes a page first where somebody has just freed many', () => {
    const guest = new Exhausted();
    guest.give(1000);
    expect(guest.mayOom().pfn).toBeGreaterThan(0);
    expect(guest.done).toEqual([]);
  });

  it('kills nobody for requests that may fail: costly, gentle, for low memory alone', () => {
    const guest = new Exhausted();
    expect(guest.mayOom(GFP_KERNEL, 4)).toEqual(NOTHING);
    expect(guest.mayOom(GFP_KERNEL | __GFP_RETRY_MAYFAIL)).toEqual(NOTHING);
    expect(guest.mayOom(GFP_KERNEL | __GFP_DMA32)).toEqual(NOTHING);
    expect(guest.done).toEqual([]);
  });

  it('kills nobody for requests of one node: nobody says that this would help there', () => {
    const guest = new Exhausted();
    expect(guest.mayOom(GFP_KERNEL | __GFP_THISNODE)).toEqual(NOTHING);
    expect(guest.done).toEqual([]);
  });

  it('gives all that is left to a request that must not fail, when it has killed', () => {
    const guest = new Exhausted();
    const { pfn, progress } = guest.mayOom(GFP_KERNEL | __GFP_NOFAIL);
    expect([pfn > 0, progress]).toEqual([true, true]);
    expect(guest.done).toEqual(['kill']);
    guest.kills = 0;
    expect(guest.mayOom(GFP_KERNEL | __GFP_NOFAIL)).toMatchObject({ progress: false });
  });

  it('lets who may not enter file systems wait for others', () => {
    const guest = new Exhausted();
    expect(guest.mayOom(GFP_KERNEL & ~__GFP_FS)).toEqual(PROGRESS);
    expect(guest.done).toEqual([]);
  });

  it('fails when there is nobody left to kill', () => {
    const guest = new Exhausted();
    guest.kills = 0;
    expect(guest.mayOom()).toEqual(NOTHING);
  });

  it('is done by one task at a time: others try again', () => {
    const guest = new Exhausted();
    guest.notifier(0);
    const results: OomResult[] = [];
    const endedMs: number[] = [];
    for (const name of ['first', 'second']) {
      const body = function* () {
        results.push(yield* guest.outOfMemory.mayOom(0, GFP_KERNEL));
        endedMs.push(guest.world.clock.now());
      };
      guest.world.scheduler.spawn(name, body());
    }
    guest.world.settle();
    // The first waits for its notifier, the second for a tick.
    expect(endedMs).toEqual([TICK_MS, 5]);
    expect(results).toEqual([{ ...PROGRESS, waited: true }, PROGRESS]);
    expect(guest.done).toEqual(['notify', 'kill']);
  });
});
