import { describe, expect, it } from 'vitest';
import { exitMmap } from '../../../../guest/mm/calls/exit.ts';
import { fork } from '../../../../guest/mm/calls/fork.ts';
import { mlock } from '../../../../guest/mm/calls/mlock.ts';
import { mmap, munmap } from '../../../../guest/mm/calls/mmap.ts';
import { TestProcess, World } from './support.ts';

/** Processes and pages that map a frame, by the reverse map. */
function mappings(world: World, pfn: number): [mm: number, vpn: number][] {
  const found: [number, number][] = [];
  world.spaces.rmap.walk(pfn, (vma, vpn) => found.push([vma.mm.id, vpn]));
  return found.sort((a, b) => a[0] - b[0]);
}

function forkOf(process: TestProcess): TestProcess {
  const { world } = process;
  return new TestProcess(world, world.run(fork(world.spaces, process.mm)));
}

describe('the reverse map', () => {
  it('finds a page in every generation that shares it, and only there', () => {
    const world = new World();
    const parent = world.newProcess();
    const start = world.run(mmap(world.spaces, parent.mm, { pageCount: 4, huge: 'no' }));
    parent.write(start, 1);
    const child = forkOf(parent);
    const grandchild = forkOf(child);
    const pfn = parent.frame(start, false);
    const all = [parent, child, grandchild];
    expect(mappings(world, pfn)).toEqual(all.map(({ mm }) => [mm.id, start]));
    expect(world.spaces.frames.mapcount[pfn]).toBe(3);
    child.write(start, 2);
    expect(mappings(world, pfn)).toEqual([parent, grandchild].map(({ mm }) => [mm.id, start]));
    expect(mappings(world, child.frame(start, false))).toEqual([[child.mm.id, start]]);
    world.verify();
  });

  it('finds pages of a grandparent after it ended', () => {
    const world = new World();
    const parent = world.newProcess();
    const start = world.run(mmap(world.spaces, parent.mm, { pageCount: 4, huge: 'no' }));
    parent.write(start, 1);
    const child = forkOf(parent);
    const grandchild = forkOf(child);
    const pfn = parent.frame(start, false);
    world.run(exitMmap(world.spaces, parent.mm));
    world.run(exitMmap(world.spaces, child.mm));
    expect(mappings(world, pfn)).toEqual([[grandchild.mm.id, start]]);
    world.verify();
  });

  it('finds pages on both sides of a cut', () => {
    const world = new World();
    const process = world.newProcess();
    const { mm, access } = process;
    const start = world.run(mmap(world.spaces, mm, { pageCount: 20, huge: 'no' }));
    for (let page = 0; page < 20; page++) process.write(start + page, page);
    world.run(mlock(world.spaces, mm, { start: start + 5, pageCount: 5 }, access));
    world.run(munmap(world.spaces, mm, start + 12, 2));
    for (const page of [0, 4, 5, 9, 10, 11, 14, 19]) {
      const pfn = process.frame(start + page, false);
      expect(mappings(world, pfn)).toEqual([[mm.id, start + page]]);
    }
    world.verify();
  });

  it('finds a file page wherever it is mapped, twice in one process too', () => {
    const world = new World();
    const one = world.newProcess();
    const two = world.newProcess();
    const file = world.spaces.files.create('tmpfs');
    file.uses = 1;
    file.sizePages = 8;
    const request = { pageCount: 8, file, shared: true };
    const first = world.run(mmap(world.spaces, one.mm, request));
    const second = world.run(mmap(world.spaces, one.mm, { ...request, pageCount: 4, pgoff: 4 }));
    const third = world.run(mmap(world.spaces, two.mm, request));
    one.write(first + 5, 5);
    expect(one.read(second + 1)).toBe(5);
    expect(two.read(third + 5)).toBe(5);
    const pfn = file.page(5);
    expect(mappings(world, pfn)).toEqual([
      [one.mm.id, first + 5],
      [one.mm.id, second + 1],
      [two.mm.id, third + 5],
    ]);
    expect(world.spaces.frames.refcount(pfn)).toBe(3 + 1 + world.spaces.lru.batchReferences(pfn));
    world.verify();
  });

  it('keeps no owner of pages that nobody can map', () => {
    const world = new World();
    const parent = world.newProcess();
    const start = world.run(mmap(world.spaces, parent.mm, { pageCount: 4, huge: 'no' }));
    parent.write(start, 1);
    const child = forkOf(parent);
    expect(world.spaces.anonVmas.count).toBe(2);
    world.run(exitMmap(world.spaces, parent.mm));
    expect(world.spaces.anonVmas.count).toBe(2);
    world.run(exitMmap(world.spaces, child.mm));
    expect(world.spaces.anonVmas.count).toBe(0);
  });
});
