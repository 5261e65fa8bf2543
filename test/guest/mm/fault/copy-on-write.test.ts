import { describe, expect, it } from 'vitest';
import { exitMmap } from '../../../../guest/mm/calls/exit.ts';
import { fork } from '../../../../guest/mm/calls/fork.ts';
import { mmap } from '../../../../guest/mm/calls/mmap.ts';
import { PG_ANON_EXCLUSIVE } from '../../../../guest/mm/space/frames.ts';
import { TestProcess, World } from '../space/support.ts';

function forked(pageCount = 4): { world: World; parent: TestProcess; start: number } {
  const world = new World();
  const parent = world.newProcess();
  const start = world.run(mmap(world.spaces, parent.mm, { pageCount, huge: 'no' }));
  for (let page = 0; page < pageCount; page++) parent.write(start + page, 100 + page);
  return { world, parent, start };
}

function forkOf(process: TestProcess): TestProcess {
  const { world } = process;
  return new TestProcess(world, world.run(fork(world.spaces, process.mm)));
}

describe('copy on write', () => {
  it('shares pages between parent and child until one of them writes', () => {
    const { world, parent, start } = forked();
    const child = forkOf(parent);
    expect(child.frame(start, false)).toBe(parent.frame(start, false));
    child.write(start, 7);
    expect(child.read(start)).toBe(7);
    expect(parent.read(start)).toBe(100);
    expect(child.frame(start + 1, false)).toBe(parent.frame(start + 1, false));
    world.verify();
  });

  it('copies for the first writer and lets the last user write in place', () => {
    const { world, parent, start } = forked();
    const child = forkOf(parent);
    const shared = parent.frame(start, false);
    child.write(start, 7);
    expect(child.frame(start, false)).not.toBe(shared);
    parent.write(start, 8);
    expect(parent.frame(start, false)).toBe(shared);
    expect(world.vmstat.pgreuse).toBe(1);
    expect(world.spaces.frames.has(shared, PG_ANON_EXCLUSIVE)).toBe(true);
    world.verify();
  });

  it('copies while a grandchild still maps the page', () => {
    const { world, parent, start } = forked();
    const child = forkOf(parent);
    const grandchild = forkOf(child);
    world.run(exitMmap(world.spaces, child.mm));
    parent.write(start, 9);
    expect(grandchild.read(start)).toBe(100);
    grandchild.write(start, 10);
    expect(parent.read(start)).toBe(9);
    world.verify();
  });

  it('gives a child that ends back nothing but its own pages', () => {
    const { world, parent, start } = forked(64);
    const before = world.freeFrames;
    const child = forkOf(parent);
    for (let page = 0; page < 32; page++) child.write(start + page, page);
    world.run(exitMmap(world.spaces, child.mm));
    world.spaces.lru.drain();
    expect(world.freeFrames).toBe(before);
    for (let page = 0; page < 64; page++) expect(parent.read(start + page)).toBe(100 + page);
    world.verify();
  });

  it('counts one fault for each copy', () => {
    const { world, parent, start } = forked();
    const child = forkOf(parent);
    const before = world.vmstat.pgfault;
    for (let page = 0; page < 4; page++) child.write(start + page, 1);
    expect(world.vmstat.pgfault).toBe(before + 4);
  });
});
