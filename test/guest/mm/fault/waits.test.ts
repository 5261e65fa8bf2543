import { describe, expect, it } from 'vitest';
import { mmap } from '../../../../guest/mm/calls/mmap.ts';
import type { SlowPath } from '../../../../guest/mm/space/alloc-pages.ts';
import {
  isMigrationEntry,
  makePte,
  PTE_FLAGS,
  toMigrationEntry,
} from '../../../../guest/mm/space/pte.ts';
import { GFP_PGTABLE_USER } from '../../../../guest/mm/space/table-pages.ts';
import type { Task } from '../../../../guest/sched/scheduler.ts';
import { type TestProcess, World } from '../space/support.ts';

function touched(): { world: World; process: TestProcess; start: number; at: number } {
  const world = new World();
  const process = world.newProcess();
  const start = world.run(mmap(world.spaces, process.mm, { pageCount: 4, huge: 'no' }));
  process.write(start, 42);
  const at = world.spaces.tables.pteAt(process.mm.pgdBase, start);
  return { world, process, start, at };
}

/** Starts an access that has to wait. */
function access(
  process: TestProcess,
  vpn: number,
  write: boolean,
): { task: Task; frame: number[] } {
  const frame: number[] = [];
  const { world } = process;
  expect(process.access.tryFrame(vpn, write)).toBe(-1);
  const task = world.scheduler.spawn(
    'access',
    (function* () {
      frame.push(yield* process.access.frame(vpn, write));
    })(),
  );
  world.settle();
  return { task, frame };
}

describe('an access to a page that is being moved', () => {
  it('waits for the page lock and finds the page at its new place', () => {
    const { world, process, start, at } = touched();
    const { entries } = world.spaces.tables;
    const old = process.frame(start, false);
    world.spaces.waits.tryLock(old);
    const flags = entries[at] & PTE_FLAGS;
    entries[at] = toMigrationEntry(entries[at], true);
    world.spaces.tlb.flushPage(process.mm, start);
    expect(isMigrationEntry(entries[at])).toBe(true);
    const { task, frame } = access(process, start, true);
    expect(task.waitingAt).toBe('page lock');
    entries[at] = makePte(old, flags);
    world.spaces.waits.unlock(old);
    world.settle();
    expect(task.ended).toBe(true);
    expect(frame).toEqual([old]);
    world.verify();
  });

  it('waits again when the page was moved again meanwhile', () => {
    const { world, process, start, at } = touched();
    const { entries } = world.spaces.tables;
    const old = process.frame(start, false);
    const present = entries[at];
    world.spaces.waits.tryLock(old);
    entries[at] = toMigrationEntry(present, true);
    world.spaces.tlb.flushPage(process.mm, start);
    const { task } = access(process, start, false);
    world.spaces.waits.unlock(old);
    world.spaces.waits.tryLock(old);
    world.settle();
    expect(task.waitingAt).toBe('page lock');
    entries[at] = present;
    world.spaces.waits.unlock(old);
    world.settle();
    expect(task.ended).toBe(true);
  });
});

describe('an allocation that finds nothing', () => {
  /** Takes all memory; `refill` gives some back when the slow path runs. */
  function exhausted(world: World): () => void {
    const { allocator } = world.memory;
    const taken: number[] = [];
    for (let pfn = allocator.alloc(0, 0); pfn >= 0; pfn = allocator.alloc(0, 0)) taken.push(pfn);
    return () => {
      for (const pfn of taken.splice(0, 64)) allocator.free(pfn, 0);
      allocator.drainAllPages();
    };
  }

  it('goes through the slow path for tables and pages, and uses what that brings', () => {
    const world = new World();
    const process = world.newProcess();
    const start = world.run(mmap(world.spaces, process.mm, { pageCount: 4, huge: 'no' }));
    const refill = exhausted(world);
    const asked: number[] = [];
    const slowPath: SlowPath = {
      *allocate(order, gfp, asking) {
        asked.push(gfp);
        expect(asking).toBe(process.mm);
        yield 10;
        refill();
        return world.memory.allocator.alloc(order, gfp);
      },
    };
    world.spaces.supply.slowPath = slowPath;
    process.write(start, 6);
    expect(asked).toEqual([GFP_PGTABLE_USER]);
    expect(process.read(start)).toBe(6);
    expect(world.clock.now()).toBe(10);
    world.verify();
  });

  it('keeps what one wait brought while it waits for the next', () => {
    const world = new World();
    const process = world.newProcess();
    const start = world.run(mmap(world.spaces, process.mm, { pageCount: 4, huge: 'no' }));
    const { allocator } = world.memory;
    const kept = [0, 1, 2, 3].map(() => allocator.alloc(0, GFP_PGTABLE_USER));
    exhausted(world);
    let rounds = 0;
    world.spaces.supply.slowPath = {
      *allocate() {
        rounds++;
        yield 1;
        return kept.pop() as number;
      },
    };
    process.write(start, 6);
    expect(rounds).toBe(4);
    expect(process.read(start)).toBe(6);
    world.verify();
  });

  it('fails the access when the slow path gives up, and leaks nothing', () => {
    const world = new World();
    const process = world.newProcess();
    const start = world.run(mmap(world.spaces, process.mm, { pageCount: 4, huge: 'no' }));
    exhausted(world);
    expect(process.frame(start, true)).toBeLessThan(0);
    world.verify();
  });
});
