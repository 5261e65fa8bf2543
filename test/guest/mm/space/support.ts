import { expect } from 'vitest';
import { MemoryAccess } from '../../../../guest/mm/fault/access.ts';
import { GuestMemory } from '../../../../guest/mm/memory.ts';
import type { AllocatorHooks } from '../../../../guest/mm/page/alloc.ts';
import { PageSource } from '../../../../guest/mm/space/alloc-pages.ts';
import { bootSpaces } from '../../../../guest/mm/space/boot-spaces.ts';
import type { Mm } from '../../../../guest/mm/space/mm-types.ts';
import type { Spaces, SpacesOptions } from '../../../../guest/mm/space/spaces.ts';
import { newMm } from '../../../../guest/mm/space/table-pages.ts';
import { verifySpaces } from '../../../../guest/mm/space/verify.ts';
import { newVmstat } from '../../../../guest/mm/vmstat.ts';
import { Scheduler, type Waiting } from '../../../../guest/sched/scheduler.ts';
import { VirtualClock } from '../../../../shared/lib/clock.ts';
import { PausableClock } from '../../../../shared/lib/pausable-clock.ts';
import { MIB } from '../../../../shared/lib/units.ts';

/** A guest's memory with address spaces on virtual time; every use of the TLB is checked. */
export class World {
  readonly clock = new VirtualClock();
  readonly scheduler = new Scheduler(new PausableClock(this.clock));
  readonly vmstat = newVmstat();
  readonly memory: GuestMemory;
  readonly spaces: Spaces;

  constructor(mib = 64, options: Partial<SpacesOptions> = {}, hooks: AllocatorHooks = {}) {
    this.memory = GuestMemory.boot({ memoryBytes: mib * MIB, hooks });
    this.spaces = bootSpaces({
      allocator: this.memory.allocator,
      vmstat: this.vmstat,
      scheduler: this.scheduler,
      checks: true,
      ...options,
    });
  }

  /** Runs something that may wait until it ends, together with all that is ready meanwhile. */
  run<Result>(body: Waiting<Result>, name = 'test'): Result {
    const outcome: { value?: Result; error?: unknown } = {};
    const task = this.scheduler.spawn(
      name,
      (function* () {
        try {
          outcome.value = yield* body;
        } catch (error) {
          outcome.error = error;
        }
      })(),
    );
    this.settle();
    if (outcome.error !== undefined) throw outcome.error;
    expect(task.waitingAt, `${name} ends`).toBeUndefined();
    return outcome.value as Result;
  }

  /** Runs every task until nothing is left to do now or at any later time. */
  settle(): void {
    this.scheduler.run();
    for (let due = this.clock.nextDueMs(); due !== undefined; due = this.clock.nextDueMs()) {
      this.clock.advanceTo(due);
      this.scheduler.run();
    }
  }

  newProcess(): TestProcess {
    const mm = newMm(this.spaces, new PageSource(this.spaces.supply));
    if (mm === undefined) throw new Error('no memory for a pgd');
    return new TestProcess(this, mm);
  }

  /** Expects every invariant of frames, allocator and address spaces to hold. */
  verify(): void {
    expect(verifySpaces(this.spaces)).toEqual([]);
    expect(this.memory.verify()).toEqual([]);
  }

  /** Frames that are free, those on per-CPU lists included. */
  get freeFrames(): number {
    const { allocator } = this.memory;
    return allocator.nrFree() + allocator.zones.reduce((sum, zone) => sum + zone.pcp.count, 0);
  }
}

/** An address space and how to reach its memory. */
export class TestProcess {
  readonly world: World;
  readonly mm: Mm;
  readonly access: MemoryAccess;

  constructor(world: World, mm: Mm) {
    this.world = world;
    this.mm = mm;
    this.access = new MemoryAccess(world.spaces, mm);
  }

  write(vpn: number, tag: number): void {
    this.world.memory.pages.tags[this.frame(vpn, true)] = tag;
  }

  read(vpn: number): number {
    return this.world.memory.pages.tags[this.frame(vpn, false)];
  }

  /** The frame behind a page after a read or write of it; -1 less a FAULT when it failed. */
  frame(vpn: number, write: boolean): number {
    const pfn = this.access.tryFrame(vpn, write);
    return pfn >= 0 ? pfn : this.world.run(this.access.frame(vpn, write), 'access');
  }
}
