import { describe, expect, it } from 'vitest';
import { fsync, readFile, truncateFile, writeFile } from '../../../../guest/mm/calls/files.ts';
import { madviseDontneed } from '../../../../guest/mm/calls/madvise.ts';
import { mmap, munmap } from '../../../../guest/mm/calls/mmap.ts';
import { FAULT } from '../../../../guest/mm/fault/fault.ts';
import type { FileMapping } from '../../../../guest/mm/space/address-spaces.ts';
import { PG_DIRTY } from '../../../../guest/mm/space/frames.ts';
import { dropPagecache } from '../../../../guest/mm/space/truncate.ts';
import { World } from '../space/support.ts';

/** A file on disk whose pages hold their index plus 1. */
function diskFile(world: World, sizePages: number): FileMapping {
  const file = world.spaces.files.create('disk');
  file.uses = 1;
  file.sizePages = sizePages;
  for (let index = 0; index < sizePages; index++) file.disk?.write(index, index + 1);
  return file;
}

describe('a fault in a mapped file', () => {
  it('reads the page from disk with what lies behind it, and maps around what is cached', () => {
    const world = new World(64, { diskMs: 5 });
    const process = world.newProcess();
    const file = diskFile(world, 100);
    const at = 16 * 100;
    const start = world.run(mmap(world.spaces, process.mm, { pageCount: 100, at, file }));
    expect(process.read(start)).toBe(1);
    expect(world.clock.now()).toBe(5);
    expect(world.vmstat.pgmajfault).toBe(1);
    expect(world.vmstat.pgpgin).toBe(32 * 4);
    expect(file.nrPages).toBe(32);
    expect(process.mm.residentPages).toBe(16);
    const faults = world.vmstat.pgfault;
    expect(process.read(start + 15)).toBe(16);
    expect(world.vmstat.pgfault).toBe(faults);
    expect(process.read(start + 16)).toBe(17);
    expect(world.vmstat.pgfault).toBe(faults + 1);
    expect(world.vmstat.pgmajfault).toBe(1);
    world.verify();
  });

  it('copies privately at the first write and leaves the file alone', () => {
    const world = new World();
    const process = world.newProcess();
    const file = diskFile(world, 20);
    const start = world.run(mmap(world.spaces, process.mm, { pageCount: 20, file }));
    process.write(start + 2, 99);
    expect(process.read(start + 2)).toBe(99);
    expect(world.run(readFile(world.spaces, file, 2))).toBe(3);
    process.read(start + 3);
    process.write(start + 3, 98);
    expect(world.run(readFile(world.spaces, file, 3))).toBe(4);
    madviseDontneed(world.spaces, process.mm, start, 20);
    expect(process.read(start + 2)).toBe(3);
    world.verify();
  });

  it('lets all who share it see a write, which reaches the disk', () => {
    const world = new World();
    const writer = world.newProcess();
    const reader = world.newProcess();
    const file = diskFile(world, 4);
    const request = { pageCount: 4, file, shared: true };
    const at = world.run(mmap(world.spaces, writer.mm, request));
    const seen = world.run(mmap(world.spaces, reader.mm, request));
    expect(reader.read(seen + 1)).toBe(2);
    writer.write(at + 1, 77);
    expect(reader.read(seen + 1)).toBe(77);
    expect(world.vmstat.nr_dirty).toBe(1);
    expect(world.run(fsync(world.spaces, file))).toBe(1);
    expect(file.disk?.read(1)).toBe(77);
    expect(world.vmstat.nr_dirty).toBe(0);
    world.verify();
  });

  it('is asked again for a write after the page was written back', () => {
    const world = new World();
    const process = world.newProcess();
    const file = diskFile(world, 4);
    const start = world.run(mmap(world.spaces, process.mm, { pageCount: 4, file, shared: true }));
    process.write(start, 5);
    world.run(fsync(world.spaces, file));
    expect(world.spaces.frames.has(file.page(0), PG_DIRTY)).toBe(false);
    const faults = world.vmstat.pgfault;
    process.write(start, 6);
    expect(world.vmstat.pgfault).toBe(faults + 1);
    expect(world.spaces.frames.has(file.page(0), PG_DIRTY)).toBe(true);
    world.verify();
  });

  it('is a bus error behind the end of the file, also after it was cut', () => {
    const world = new World();
    const process = world.newProcess();
    const file = diskFile(world, 10);
    const start = world.run(mmap(world.spaces, process.mm, { pageCount: 20, file }));
    expect(process.frame(start + 10, false)).toBe(-1 - FAULT.sigbus);
    expect(process.read(start + 8)).toBe(9);
    process.write(start + 9, 1);
    world.run(truncateFile(world.spaces, file, 8));
    expect(process.frame(start + 8, false)).toBe(-1 - FAULT.sigbus);
    expect(process.frame(start + 9, false)).toBe(-1 - FAULT.sigbus);
    expect(process.read(start + 7)).toBe(8);
    world.verify();
  });

  it('keeps what was written when clean pages are dropped', () => {
    const world = new World();
    const process = world.newProcess();
    const file = diskFile(world, 64);
    const start = world.run(mmap(world.spaces, process.mm, { pageCount: 64, file }));
    process.read(start);
    world.run(writeFile(world.spaces, file, { index: 40, tag: 4000 }));
    expect(dropPagecache(world.spaces)).toBe(16);
    expect(file.nrPages).toBe(17);
    world.run(munmap(world.spaces, process.mm, start, 64));
    world.run(fsync(world.spaces, file));
    expect(dropPagecache(world.spaces)).toBe(17);
    expect(world.run(readFile(world.spaces, file, 40))).toBe(4000);
    world.verify();
  });
});

describe('a fault in tmpfs', () => {
  it('makes a zeroed page that all who share the memory see', () => {
    const world = new World();
    const process = world.newProcess();
    const start = world.run(mmap(world.spaces, process.mm, { pageCount: 8, shared: true }));
    expect(process.read(start)).toBe(0);
    process.write(start + 1, 3);
    madviseDontneed(world.spaces, process.mm, start, 8);
    expect(process.read(start + 1)).toBe(3);
    expect(world.vmstat.pgmajfault).toBe(0);
    expect(process.mm.rss[3]).toBe(2);
    world.verify();
  });

  it('is gone with the last process that maps it', () => {
    const world = new World();
    const process = world.newProcess();
    const before = world.freeFrames;
    const start = world.run(mmap(world.spaces, process.mm, { pageCount: 300, shared: true }));
    for (let page = 0; page < 300; page++) process.write(start + page, 1);
    const cached = world.vmstat.nr_shmem;
    world.run(munmap(world.spaces, process.mm, start, 300));
    expect(world.vmstat.nr_shmem).toBe(cached - 300);
    expect(world.freeFrames).toBe(before);
    world.verify();
  });
});
