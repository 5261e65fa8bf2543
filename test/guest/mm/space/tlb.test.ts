import { describe, expect, it } from 'vitest';
import { madviseDontneed } from '../../../../guest/mm/calls/madvise.ts';
import { mmap } from '../../../../guest/mm/calls/mmap.ts';
import { makePte, PTE_ACCESSED, PTE_DIRTY, PTE_WRITE } from '../../../../guest/mm/space/pte.ts';
import { TLB_SINGLE_PAGE_FLUSH_CEILING } from '../../../../guest/mm/space/tlb.ts';
import { verifySpaces } from '../../../../guest/mm/space/verify.ts';
import { type TestProcess, World } from './support.ts';

function touched(pageCount: number): { world: World; process: TestProcess; start: number } {
  const world = new World();
  const process = world.newProcess();
  const start = world.run(mmap(world.spaces, process.mm, { pageCount, huge: 'no' }));
  for (let page = 0; page < pageCount; page++) process.write(start + page, 1);
  return { world, process, start };
}

describe('the TLB', () => {
  it('serves a read from what a write brought, but no write from what a read brought', () => {
    const { world, process, start } = touched(1);
    const { tlb, tables } = world.spaces;
    expect(tlb.lookup(process.mm, start, false)).not.toBe(0);
    expect(tlb.lookup(process.mm, start, true)).not.toBe(0);
    tables.entries[tables.pteAt(process.mm.pgdBase, start)] &= ~PTE_DIRTY;
    tlb.flushPage(process.mm, start);
    process.read(start);
    expect(tlb.lookup(process.mm, start, true)).toBe(0);
    process.write(start, 2);
    expect(tables.entries[tables.pteAt(process.mm.pgdBase, start)] & PTE_DIRTY).toBe(PTE_DIRTY);
  });

  it('is flushed page by page up to 33 pages, and as a whole beyond', () => {
    const { world, process, start } = touched(100);
    const { counters } = world.spaces.tlb;
    const before = counters.snapshot();
    madviseDontneed(world.spaces, process.mm, start, TLB_SINGLE_PAGE_FLUSH_CEILING);
    expect(counters.get('flush_one')).toBe(before.flush_one + 33);
    expect(counters.get('flush_all')).toBe(before.flush_all);
    madviseDontneed(world.spaces, process.mm, start + 40, TLB_SINGLE_PAGE_FLUSH_CEILING + 1);
    expect(counters.get('flush_one')).toBe(before.flush_one + 33);
    expect(counters.get('flush_all')).toBe(before.flush_all + 1);
    world.verify();
  });

  it('forgets one process without another', () => {
    const { world, process, start } = touched(4);
    const other = world.newProcess();
    const at = world.run(mmap(world.spaces, other.mm, { pageCount: 4, huge: 'no' }));
    expect(at).toBe(start);
    other.write(at, 9);
    world.spaces.tlb.flushMm(process.mm);
    expect(world.spaces.tlb.lookup(process.mm, start, false)).toBe(0);
    expect(world.spaces.tlb.lookup(other.mm, at, false)).not.toBe(0);
  });

  it('may lag behind the tables while a flush is put off, and nobody may notice', () => {
    const { world, process, start } = touched(2);
    const { tlb, tables } = world.spaces;
    const at = tables.pteAt(process.mm.pgdBase, start);
    const entry = tables.entries[at];
    tables.entries[at] = entry & ~PTE_WRITE;
    expect(verifySpaces(world.spaces)[0]).toMatch(/^the TLB agrees with page tables/);
    tlb.deferFlush(process.mm);
    world.verify();
    process.write(start, 3);
    expect(verifySpaces(world.spaces)[0]).toMatch(/^no stale translation is used: process/);
    tlb.flushDeferred();
    expect(tlb.isFlushDeferred(process.mm)).toBe(false);
    expect(tlb.lookup(process.mm, start, false)).toBe(0);
  });

  it('does a flush that was put off before the tables are unmapped', () => {
    const { world, process, start } = touched(2);
    world.spaces.tlb.deferFlush(process.mm);
    madviseDontneed(world.spaces, process.mm, start, 1);
    expect(world.spaces.tlb.isFlushDeferred(process.mm)).toBe(false);
    world.verify();
  });

  it('never keeps a way to a frame that was freed', () => {
    const { world, process, start } = touched(1);
    const freed = world.memory.allocator.alloc(0, 0);
    world.memory.allocator.free(freed, 0);
    world.spaces.tlb.deferFlush(process.mm);
    world.spaces.tlb.fill(process.mm, start, makePte(freed, PTE_ACCESSED));
    expect(verifySpaces(world.spaces)[0]).toMatch(/^the TLB reaches no frame that was freed/);
  });
});
