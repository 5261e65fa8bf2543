import { describe, expect, it } from 'vitest';
import { mmap, munmap } from '../../../../guest/mm/calls/mmap.ts';
import { PAGE_STATE } from '../../../../guest/mm/page/page-lifecycle.ts';
import { PMD_PAGES, PUD_PAGES } from '../../../../guest/mm/space/page-tables.ts';
import {
  isMigrationEntry,
  isPresent,
  isSwapEntry,
  isTable,
  MAX_PFN,
  MIGRATION_READ,
  MIGRATION_READ_EXCLUSIVE,
  MIGRATION_WRITE,
  makeMigrationEntry,
  makePte,
  makeSwapEntry,
  migrationAccess,
  migrationPfn,
  PMD_HUGE,
  PTE_ACCESSED,
  PTE_DIRTY,
  PTE_WRITE,
  ptePfn,
  swapOffset,
  toMigrationEntry,
} from '../../../../guest/mm/space/pte.ts';
import { World } from './support.ts';

describe('an entry of a page table', () => {
  it('holds every frame of the largest guest in each of its forms', () => {
    for (const pfn of [0, 1, 4096, MAX_PFN - 1]) {
      expect(ptePfn(makePte(pfn, PTE_WRITE | PTE_DIRTY))).toBe(pfn);
      expect(migrationPfn(makeMigrationEntry(pfn, MIGRATION_WRITE))).toBe(pfn);
      expect(swapOffset(makeSwapEntry(pfn, true))).toBe(pfn);
    }
    expect(swapOffset(makeSwapEntry(2 ** 28 - 1, false))).toBe(2 ** 28 - 1);
  });

  it('is exactly one of present, swap and migration', () => {
    const kinds = [isPresent, isSwapEntry, isMigrationEntry];
    const entries = [makePte(9, 0), makeSwapEntry(9, true), makeMigrationEntry(9, MIGRATION_READ)];
    entries.forEach((entry, number) => {
      expect(kinds.map((is) => is(entry))).toEqual(kinds.map((_, kind) => kind === number));
    });
    expect(kinds.map((is) => is(0))).toEqual([false, false, false]);
    expect(isTable(makePte(9, PTE_WRITE))).toBe(true);
    expect(isTable(makePte(9, PMD_HUGE))).toBe(false);
  });

  it('remembers over a migration how the page may be used', () => {
    const writable = toMigrationEntry(makePte(5, PTE_WRITE | PTE_ACCESSED | PTE_DIRTY), true);
    expect(migrationAccess(writable)).toBe(MIGRATION_WRITE);
    expect(migrationAccess(toMigrationEntry(makePte(5, 0), true))).toBe(MIGRATION_READ_EXCLUSIVE);
    expect(migrationAccess(toMigrationEntry(makePte(5, 0), false))).toBe(MIGRATION_READ);
  });
});

describe('page tables', () => {
  it('are frames of the allocator: three for the first page, then as few as will do', () => {
    const world = new World();
    const process = world.newProcess();
    const before = world.freeFrames;
    const at = PUD_PAGES * 2 + 7;
    const start = world.run(mmap(world.spaces, process.mm, { pageCount: 600, at, huge: 'no' }));
    expect(world.freeFrames).toBe(before);
    process.write(start, 1);
    expect(process.mm.tablePages).toBe(3);
    expect(world.freeFrames).toBe(before - 4);
    process.write(start + 1, 1);
    expect(process.mm.tablePages).toBe(3);
    process.write(start + 599, 1);
    expect(process.mm.tablePages).toBe(4);
    expect(world.vmstat.nr_page_table_pages).toBe(3);
    expect(world.memory.pages.states.stateOf(process.mm.pgd)).toBe(PAGE_STATE.allocated);
    world.verify();
  });

  it('are freed with the last mapping in what they cover, and not before', () => {
    const world = new World();
    const process = world.newProcess();
    const { mm } = process;
    const at = PMD_PAGES * 100;
    const start = world.run(mmap(world.spaces, mm, { pageCount: 1024, at, huge: 'no' }));
    process.write(start, 1);
    process.write(start + 1023, 1);
    expect(mm.tablePages).toBe(4);
    world.run(munmap(world.spaces, mm, start + 1, 511));
    expect(mm.tablePages).toBe(4);
    world.run(munmap(world.spaces, mm, start, 1));
    expect(mm.tablePages).toBe(3);
    world.verify();
    world.run(munmap(world.spaces, mm, start + 512, 512));
    expect(mm.tablePages).toBe(0);
    expect(world.vmstat.nr_page_table_pages).toBe(0);
    world.verify();
  });

  it('reach up to the end of the address space', () => {
    const world = new World();
    const process = world.newProcess();
    const at = 2 ** 31 - 2 * PMD_PAGES;
    const start = world.run(mmap(world.spaces, process.mm, { pageCount: 512, at, huge: 'no' }));
    process.write(start + 511, 8);
    expect(process.read(start + 511)).toBe(8);
    world.run(munmap(world.spaces, process.mm, start, 512));
    expect(process.mm.tablePages).toBe(0);
    world.verify();
  });
});
