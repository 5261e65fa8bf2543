import { describe, expect, it } from 'vitest';
import { exitMmap, reapMm } from '../../../../guest/mm/calls/exit.ts';
import { fork } from '../../../../guest/mm/calls/fork.ts';
import { mmap } from '../../../../guest/mm/calls/mmap.ts';
import {
  MIGRATION_WRITE,
  makeMigrationEntry,
  makeSwapEntry,
  migrationAccess,
} from '../../../../guest/mm/space/pte.ts';
import { GFP_PGTABLE_USER } from '../../../../guest/mm/space/table-pages.ts';
import { TestProcess, World } from '../space/support.ts';

function touched(pageCount: number): { world: World; process: TestProcess; start: number } {
  const world = new World();
  const process = world.newProcess();
  const at = 512 * 20;
  const start = world.run(mmap(world.spaces, process.mm, { pageCount, at, huge: 'no' }));
  for (let page = 0; page < pageCount; page += 100) process.write(start + page, 1 + page);
  return { world, process, start };
}

describe('fork', () => {
  it('takes a pgd and one table for each of the parent, no pages', () => {
    const { world, process } = touched(1500);
    const before = world.freeFrames;
    const child = world.run(fork(world.spaces, process.mm));
    expect(child.tablePages).toBe(process.mm.tablePages);
    expect(child.residentPages).toBe(process.mm.residentPages);
    expect(world.freeFrames).toBe(before - 2 - child.tablePages);
    world.verify();
  });

  it('does not copy what was never written: the child faults it in', () => {
    const world = new World();
    const process = world.newProcess();
    const file = world.spaces.files.create('tmpfs');
    file.uses = 1;
    file.sizePages = 4;
    const start = world.run(mmap(world.spaces, process.mm, { pageCount: 4, file, shared: true }));
    process.write(start, 8);
    const child = new TestProcess(world, world.run(fork(world.spaces, process.mm)));
    expect(child.mm.residentPages).toBe(0);
    expect(child.read(start)).toBe(8);
    child.write(start, 9);
    expect(process.read(start)).toBe(9);
    world.verify();
  });

  it('waits for tables and leaves nothing behind when there are none', () => {
    const { world, process } = touched(1500);
    const { allocator } = world.memory;
    const kept: number[] = [];
    for (let pfn = 0; pfn >= 0; pfn = allocator.alloc(0, GFP_PGTABLE_USER)) kept.push(pfn);
    kept.shift();
    let rounds = 0;
    world.spaces.supply.slowPath = {
      *allocate(order, gfp) {
        yield 1;
        if (++rounds > 3) return -1;
        for (const pfn of kept.splice(0, 64)) allocator.free(pfn, 0);
        allocator.drainAllPages();
        const pfn = allocator.alloc(order, gfp);
        while (allocator.alloc(0, GFP_PGTABLE_USER) >= 0);
        return pfn;
      },
    };
    const mms = world.spaces.mms.size;
    expect(() => world.run(fork(world.spaces, process.mm))).toThrow('ENOMEM');
    expect(rounds).toBe(4);
    expect(world.spaces.mms.size).toBe(mms);
    world.verify();
  });

  it('goes on when the parent is reaped while it waits', () => {
    const { world, process } = touched(1500);
    let reaped = false;
    const { allocator } = world.memory;
    const pgd = allocator.alloc(1, GFP_PGTABLE_USER);
    const tables = [0, 1, 2, 3, 4, 5].map(() => allocator.alloc(0, GFP_PGTABLE_USER));
    while (allocator.alloc(0, GFP_PGTABLE_USER) >= 0);
    world.spaces.supply.slowPath = {
      *allocate(order) {
        yield 1;
        if (order === 1) return pgd;
        if (!reaped) reapMm(world.spaces, process.mm);
        reaped = true;
        return tables.pop() ?? -1;
      },
    };
    const child = world.run(fork(world.spaces, process.mm));
    expect(reaped).toBe(true);
    expect(child.residentPages).toBe(0);
    world.verify();
  });

  it('takes write permission from pages that are being moved, in both', () => {
    const { world, process, start } = touched(1);
    const { entries } = world.spaces.tables;
    const at = world.spaces.tables.pteAt(process.mm.pgdBase, start);
    const pfn = process.frame(start, false);
    const present = entries[at];
    world.spaces.waits.tryLock(pfn);
    world.spaces.rmap.remove(pfn);
    world.spaces.holds.add(pfn);
    entries[at] = makeMigrationEntry(pfn, MIGRATION_WRITE);
    world.spaces.tlb.flushMm(process.mm);
    const child = world.run(fork(world.spaces, process.mm));
    const childAt = world.spaces.tables.pteAt(child.pgdBase, start);
    expect(migrationAccess(world.spaces.tables.entries[childAt])).toBe(0);
    expect(migrationAccess(world.spaces.tables.entries[at])).toBe(0);
    expect(child.residentPages).toBe(1);
    world.verify();
    world.run(exitMmap(world.spaces, child));
    entries[at] = present;
    world.spaces.rmap.add(pfn);
    world.spaces.holds.remove(pfn);
    world.spaces.waits.unlock(pfn);
    world.verify();
  });

  it('counts one more user of what is in swap, and the end of the child one less', () => {
    const { world, process, start } = touched(201);
    const users: number[] = [1];
    world.spaces.swap = {
      freePages: 0,
      swapIn: () => expect.fail('nothing is swapped in'),
      swapInShmem: () => expect.fail('nothing is swapped in'),
      giveUpSlotOf: () => {},
      replace: () => expect.fail('nothing moves'),
      freeSwapCache: () => {},
      verify: () => [],
      duplicate: (offset) => {
        users[0] = (users[0] ?? 0) + (offset === 33 ? 1 : 0);
      },
      free: (offset) => {
        users[0] = (users[0] ?? 0) - (offset === 33 ? 1 : 0);
      },
    };
    const at = world.spaces.tables.pteAt(process.mm.pgdBase, start + 1);
    world.spaces.tables.entries[at] = makeSwapEntry(33, true);
    process.mm.rss[2]++;
    const child = world.run(fork(world.spaces, process.mm));
    expect(users[0]).toBe(2);
    expect(child.rss[2]).toBe(1);
    world.verify();
    world.run(exitMmap(world.spaces, child));
    expect(users[0]).toBe(1);
    world.run(exitMmap(world.spaces, process.mm));
    expect(users[0]).toBe(0);
    world.verify();
  });
});
