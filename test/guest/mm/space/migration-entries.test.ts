import { describe, expect, it } from 'vitest';
import { fork } from '../../../../guest/mm/calls/fork.ts';
import { mmap } from '../../../../guest/mm/calls/mmap.ts';
import { PG_ANON_EXCLUSIVE } from '../../../../guest/mm/space/frames.ts';
import { removeMigrationPtes, tryToMigrate } from '../../../../guest/mm/space/migration-entries.ts';
import { isMigrationEntry } from '../../../../guest/mm/space/pte.ts';
import { movePage } from '../calls/move.ts';
import { TestProcess, World } from './support.ts';

function touched(): { world: World; process: TestProcess; start: number; pfn: number } {
  const world = new World();
  const process = world.newProcess();
  const start = world.run(mmap(world.spaces, process.mm, { pageCount: 4, huge: 'no' }));
  process.write(start, 42);
  world.spaces.lru.drain();
  return { world, process, start, pfn: process.frame(start, false) };
}

describe('the mappings of a page that is moved', () => {
  it('are all taken, and all given back when the page stays after all', () => {
    const { world, process, start, pfn } = touched();
    const child = new TestProcess(world, world.run(fork(world.spaces, process.mm)));
    const { frames, lru, tables, tlb, waits } = world.spaces;
    waits.tryLock(pfn);
    lru.isolate(pfn);
    tryToMigrate(world.spaces, pfn, true);
    for (const { mm } of [process, child]) {
      expect(isMigrationEntry(tables.entries[tables.pteAt(mm.pgdBase, start)])).toBe(true);
      expect(tlb.isFlushDeferred(mm)).toBe(true);
    }
    expect(frames.mapcount[pfn]).toBe(0);
    expect(frames.refcount(pfn)).toBe(1);
    tlb.flushDeferred();
    world.verify();
    removeMigrationPtes(world.spaces, pfn, pfn);
    waits.unlock(pfn);
    lru.putback(pfn);
    expect(frames.mapcount[pfn]).toBe(2);
    expect(process.read(start)).toBe(42);
    child.write(start, 43);
    expect(process.read(start)).toBe(42);
    world.verify();
  });

  it('lead to the new place, with the right to write in place', () => {
    const { world, process, start, pfn } = touched();
    expect(movePage(world.spaces, pfn)).toBe(true);
    const moved = process.frame(start, false);
    expect(moved).not.toBe(pfn);
    expect(process.read(start)).toBe(42);
    expect(world.spaces.frames.has(moved, PG_ANON_EXCLUSIVE)).toBe(true);
    const faults = world.vmstat.pgfault;
    process.write(start, 43);
    expect(world.vmstat.pgfault).toBe(faults);
    expect(world.spaces.frames.refcount(pfn)).toBe(0);
    world.verify();
  });

  it('stay where they are while somebody holds the page', () => {
    const { world, process, start, pfn } = touched();
    world.spaces.frames.get(pfn);
    world.spaces.holds.add(pfn);
    movePage(world.spaces, pfn);
    expect(process.frame(start, false)).toBe(pfn);
    world.verify();
  });
});
