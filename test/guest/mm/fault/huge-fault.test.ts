import { describe, expect, it } from 'vitest';
import { exitMmap } from '../../../../guest/mm/calls/exit.ts';
import { fork } from '../../../../guest/mm/calls/fork.ts';
import { madviseDontneed, madviseHuge } from '../../../../guest/mm/calls/madvise.ts';
import { mmap, munmap } from '../../../../guest/mm/calls/mmap.ts';
import { HPAGE_PMD_NR, HPAGE_PMD_ORDER } from '../../../../guest/mm/space/frames.ts';
import { TestProcess, World } from '../space/support.ts';

/** A process with `pageCount` pages at an address that a huge page can begin at. */
function aligned(pageCount: number, huge: 'yes' | 'no' = 'yes') {
  const world = new World(128, { thp: 'madvise' });
  const process = world.newProcess();
  const at = HPAGE_PMD_NR * 1000;
  const start = world.run(mmap(world.spaces, process.mm, { pageCount, at, huge }));
  return { world, process, start };
}

describe('a fault where huge pages are wanted', () => {
  it('maps 512 frames at once', () => {
    const { world, process, start } = aligned(1024);
    process.write(start + 5, 55);
    expect(world.vmstat.thp_fault_alloc).toBe(1);
    expect(process.mm.residentPages).toBe(HPAGE_PMD_NR);
    const head = process.frame(start, false);
    expect(head % HPAGE_PMD_NR).toBe(0);
    expect(process.frame(start + 5, false)).toBe(head + 5);
    expect(process.read(start + 6)).toBe(0);
    expect(world.vmstat.pgfault).toBe(1);
    expect(world.vmstat.nr_anon_transparent_hugepages).toBe(HPAGE_PMD_NR);
    world.verify();
  });

  it('zeroes every frame of a huge page that others used before', () => {
    const { world, process, start } = aligned(512);
    for (let page = 0; page < 512; page++) process.write(start + page, 1 + page);
    madviseDontneed(world.spaces, process.mm, start, 512);
    process.write(start, 1);
    for (let page = 1; page < 512; page++) expect(process.read(start + page)).toBe(0);
  });

  it('maps small pages where the VMA does not hold the whole range', () => {
    const { world, process, start } = aligned(511);
    process.write(start, 1);
    expect(world.vmstat.thp_fault_alloc).toBe(0);
    expect(process.mm.residentPages).toBe(1);
  });

  it('maps small pages when madvise said so', () => {
    const { world, process, start } = aligned(1024);
    madviseHuge(world.spaces, process.mm, { start, pageCount: 512 }, false);
    process.write(start, 1);
    expect(process.mm.residentPages).toBe(1);
    process.write(start + 512, 1);
    expect(process.mm.residentPages).toBe(1 + HPAGE_PMD_NR);
    expect(process.mm.vmas.length).toBe(2);
    world.verify();
  });

  it('falls back to small pages when there is no block of order 9', () => {
    const { world, process, start } = aligned(512);
    const { allocator } = world.memory;
    const order = HPAGE_PMD_ORDER;
    while (allocator.alloc(order, 0) >= 0);
    process.write(start + 1, 4);
    expect(world.vmstat.thp_fault_fallback).toBe(1);
    expect(process.mm.residentPages).toBe(1);
    expect(process.read(start + 1)).toBe(4);
  });
});

describe('a huge page', () => {
  it('is shared by a fork and split by the first write', () => {
    const { world, process, start } = aligned(512);
    for (let page = 0; page < 512; page++) process.write(start + page, 1000 + page);
    const child = new TestProcess(world, world.run(fork(world.spaces, process.mm)));
    world.verify();
    const head = process.frame(start, false);
    child.write(start + 9, 1);
    expect(world.vmstat.thp_split_pmd).toBe(1);
    expect(child.frame(start + 10, false)).toBe(head + 10);
    expect(process.read(start + 9)).toBe(1009);
    expect(child.read(start + 9)).toBe(1);
    world.verify();
    world.run(exitMmap(world.spaces, child.mm));
    process.write(start, 2);
    expect(process.frame(start, false)).toBe(head);
    world.verify();
  });

  it('is mapped by PTEs once a part of it is dropped, and split when memory is short', () => {
    const { world, process, start } = aligned(512);
    for (let page = 0; page < 512; page++) process.write(start + page, 1 + page);
    const before = world.freeFrames;
    madviseDontneed(world.spaces, process.mm, start, 100);
    expect(world.freeFrames).toBe(before);
    expect(world.spaces.hugePages.deferredCount).toBe(1);
    world.verify();
    expect(world.spaces.hugePages.splitDeferred()).toBe(1);
    expect(world.freeFrames).toBe(before + 100);
    for (let page = 100; page < 512; page++) expect(process.read(start + page)).toBe(1 + page);
    world.verify();
  });

  it('is not split while somebody holds it', () => {
    const { world, process, start } = aligned(512);
    process.write(start, 1);
    const head = process.frame(start, false);
    madviseDontneed(world.spaces, process.mm, start, 1);
    world.spaces.frames.get(head);
    expect(world.spaces.hugePages.splitDeferred()).toBe(0);
    expect(world.vmstat.thp_split_page_failed).toBe(1);
    world.spaces.refs.put(head);
    expect(world.spaces.hugePages.splitDeferred()).toBe(1);
    world.verify();
  });

  it('splits in both processes that map it as one', () => {
    const { world, process, start } = aligned(512);
    for (let page = 0; page < 512; page++) process.write(start + page, 1 + page);
    const child = new TestProcess(world, world.run(fork(world.spaces, process.mm)));
    const head = process.frame(start, false);
    expect(world.spaces.hugePages.split(head)).toBe(true);
    expect(world.spaces.frames.refcount(head + 511)).toBe(2);
    world.verify();
    child.write(start + 3, 9);
    expect(process.read(start + 3)).toBe(4);
    world.verify();
  });

  it('goes back as a block of order 9', () => {
    const { world, process, start } = aligned(512);
    const before = world.freeFrames;
    process.write(start, 1);
    world.run(munmap(world.spaces, process.mm, start, 512));
    expect(world.freeFrames).toBe(before);
    expect(process.mm.deposited.size).toBe(0);
    world.verify();
  });

  it('gives its table back when a munmap cuts it', () => {
    const { world, process, start } = aligned(512);
    process.write(start + 300, 3);
    world.run(munmap(world.spaces, process.mm, start + 100, 50));
    expect(process.read(start + 300)).toBe(3);
    expect(process.mm.vmas.length).toBe(2);
    world.verify();
  });
});
