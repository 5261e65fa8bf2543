import { describe, expect, it } from 'vitest';
import { __GFP_NORETRY, GFP_KERNEL } from '../../../../guest/mm/page/gfp.ts';
import { OomNotifierChain } from '../../../../guest/mm/reclaim/oom.ts';
import { OutOfMemory } from '../../../../guest/mm/reclaim/out-of-memory.ts';
import { World } from '../space/support.ts';

/** A guest without memory, and what the slow path may do about it. */
class Exhausted {
  readonly world = new World();
  readonly notifiers = new OomNotifierChain();
  readonly done: string[] = [];
  readonly slowPath: OutOfMemory;
  kills = 0;
  readonly #taken: number[] = [];

  constructor() {
    const { allocator } = this.world.memory;
    allocator.drainAllPages();
    for (let pfn = 0; pfn >= 0; pfn = allocator.alloc(0, GFP_KERNEL)) this.#taken.push(pfn);
    this.slowPath = new OutOfMemory({
      allocator,
      vmstat: this.world.vmstat,
      notifiers: this.notifiers,
      killWorst: () => {
        if (this.kills === 0) return false;
        this.kills--;
        this.done.push('kill');
        this.give(64);
        return true;
      },
      shrink: () => 0,
    });
    this.world.spaces.supply.slowPath = this.slowPath;
  }

  give(count: number): void {
    for (const pfn of this.#taken.splice(1, count)) this.world.memory.allocator.free(pfn, 0);
  }

  alloc(gfp: number, asking?: { killed: boolean }): number {
    return this.world.run(this.world.spaces.supply.allocPages(0, gfp, asking));
  }
}

describe('the slow path without reclaim', () => {
  it('asks the notifiers before it kills', () => {
    const guest = new Exhausted();
    guest.kills = 1;
    guest.notifiers.register(0, function* () {
      guest.done.push('notify');
      yield 5;
      guest.give(32);
      return 32;
    });
    expect(guest.alloc(GFP_KERNEL)).toBeGreaterThan(0);
    expect(guest.done).toEqual(['notify']);
    expect(guest.world.vmstat.oom_kill).toBe(0);
    expect(guest.world.vmstat.allocstall).toBe(1);
  });

  it('kills when the notifiers free nothing', () => {
    const guest = new Exhausted();
    guest.kills = 1;
    expect(guest.alloc(GFP_KERNEL)).toBeGreaterThan(0);
    expect(guest.done).toEqual(['kill']);
    expect(guest.world.vmstat.oom_kill).toBe(1);
  });

  it('fails requests that say they may fail, and those of a killed process', () => {
    const guest = new Exhausted();
    guest.kills = 1;
    expect(guest.alloc(GFP_KERNEL | __GFP_NORETRY)).toBe(-1);
    expect(guest.alloc(GFP_KERNEL, { killed: true })).toBe(-1);
    expect(guest.done).toEqual([]);
  });

  it('fails when there is nobody left to kill', () => {
    const guest = new Exhausted();
    expect(guest.alloc(GFP_KERNEL)).toBe(-1);
  });

  it('splits huge pages that wait for it before anybody is asked', () => {
    const guest = new Exhausted();
    let calls = 0;
    const slowPath = new OutOfMemory({
      allocator: guest.world.memory.allocator,
      vmstat: guest.world.vmstat,
      notifiers: guest.notifiers,
      killWorst: () => expect.fail('nobody has to be killed'),
      shrink: () => {
        calls++;
        guest.give(64);
        return 1;
      },
    });
    expect(guest.world.run(slowPath.allocate(0, GFP_KERNEL, undefined))).toBeGreaterThan(0);
    expect(calls).toBe(1);
  });
});
