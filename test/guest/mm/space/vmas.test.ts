import { describe, expect, it } from 'vitest';
import { madviseHuge } from '../../../../guest/mm/calls/madvise.ts';
import { mlock, munlock } from '../../../../guest/mm/calls/mlock.ts';
import { mmap, munmap } from '../../../../guest/mm/calls/mmap.ts';
import { Errno } from '../../../../guest/mm/space/errno.ts';
import type { Mm } from '../../../../guest/mm/space/mm-types.ts';
import { TASK_SIZE_PAGES } from '../../../../guest/mm/space/page-tables.ts';
import { MMAP_BASE, VmaList } from '../../../../guest/mm/space/vma-list.ts';
import { World } from './support.ts';

function ranges(mm: Mm): [number, number][] {
  return [...mm.vmas].map(({ start, end }) => [start - MMAP_BASE, end - MMAP_BASE]);
}

function codeOf(action: () => unknown): string | undefined {
  try {
    action();
  } catch (error) {
    if (error instanceof Errno) return error.code;
    throw error;
  }
  return undefined;
}

describe('mmap', () => {
  it('takes the highest gap and joins memory mapped alike', () => {
    const world = new World();
    const { mm } = world.newProcess();
    world.run(mmap(world.spaces, mm, { pageCount: 10 }));
    world.run(mmap(world.spaces, mm, { pageCount: 5 }));
    expect(ranges(mm)).toEqual([[-15, 0]]);
    world.run(mmap(world.spaces, mm, { pageCount: 3, writable: false }));
    expect(ranges(mm)).toEqual([
      [-18, -15],
      [-15, 0],
    ]);
    world.run(munmap(world.spaces, mm, MMAP_BASE - 12, 4));
    expect(world.run(mmap(world.spaces, mm, { pageCount: 4 }))).toBe(MMAP_BASE - 12);
    expect(world.run(mmap(world.spaces, mm, { pageCount: 5 }))).toBe(MMAP_BASE - 23);
    world.verify();
  });

  it('joins what is mapped into the gap between two mappings with pages of their own', () => {
    const world = new World();
    const process = world.newProcess();
    const { mm } = process;
    const start = world.run(mmap(world.spaces, mm, { pageCount: 30 }));
    for (const page of [0, 29]) process.write(start + page, 1);
    world.run(munmap(world.spaces, mm, start + 10, 10));
    expect(mm.vmas.length).toBe(2);
    world.run(mmap(world.spaces, mm, { pageCount: 10, at: start + 10 }));
    expect(mm.vmas.length).toBe(1);
    expect(process.read(start + 29)).toBe(1);
    world.verify();
  });

  it('replaces what is mapped where it is told to map', () => {
    const world = new World();
    const process = world.newProcess();
    const start = world.run(mmap(world.spaces, process.mm, { pageCount: 10, huge: 'no' }));
    process.write(start + 4, 4);
    world.run(mmap(world.spaces, process.mm, { pageCount: 2, at: start + 4, huge: 'no' }));
    expect(process.read(start + 4)).toBe(0);
    expect(process.mm.vmas.length).toBe(1);
    world.verify();
  });

  it('refuses ranges that are no memory of a user', () => {
    const world = new World();
    const { mm } = world.newProcess();
    const { spaces } = world;
    expect(codeOf(() => world.run(mmap(spaces, mm, { pageCount: 0 })))).toBe('EINVAL');
    expect(codeOf(() => world.run(mmap(spaces, mm, { pageCount: 1, at: 0 })))).toBe('EINVAL');
    expect(codeOf(() => world.run(mmap(spaces, mm, { pageCount: 1.5 })))).toBe('EINVAL');
    expect(codeOf(() => world.run(munmap(spaces, mm, TASK_SIZE_PAGES, 1)))).toBe('EINVAL');
    const all = TASK_SIZE_PAGES - 100;
    expect(codeOf(() => world.run(mmap(spaces, mm, { pageCount: all })))).toBe('ENOMEM');
  });
});

describe('VMAs with flags of their own', () => {
  it('are cut out and joined again', () => {
    const world = new World();
    const process = world.newProcess();
    const { mm, access } = process;
    const { spaces } = world;
    const start = world.run(mmap(spaces, mm, { pageCount: 30, huge: 'no' }));
    for (let page = 0; page < 30; page++) process.write(start + page, page);
    world.run(mlock(spaces, mm, { start: start + 10, pageCount: 10 }, access));
    expect(mm.vmas.length).toBe(3);
    expect(mm.lockedPages).toBe(10);
    world.verify();
    munlock(spaces, mm, start, 30);
    expect(mm.vmas.length).toBe(1);
    madviseHuge(spaces, mm, { start: start + 5, pageCount: 25 }, true);
    madviseHuge(spaces, mm, { start, pageCount: 5 }, true);
    expect(mm.vmas.length).toBe(1);
    for (let page = 0; page < 30; page++) expect(process.read(start + page)).toBe(page);
    world.verify();
  });

  it('are refused where the range has gaps', () => {
    const world = new World();
    const { mm, access } = world.newProcess();
    const { spaces } = world;
    const start = world.run(mmap(spaces, mm, { pageCount: 10 }));
    const range = { start: start - 1, pageCount: 5 };
    expect(codeOf(() => world.run(mlock(spaces, mm, range, access)))).toBe('ENOMEM');
    expect(codeOf(() => madviseHuge(spaces, mm, range, true))).toBe('ENOMEM');
  });
});

describe('a list of VMAs', () => {
  it('finds what holds a page, and what overlaps a range', () => {
    const list = new VmaList<{ start: number; end: number }>();
    for (const start of [40, 10, 70, 20]) list.insert({ start, end: start + 10 });
    expect([...list].map(({ start }) => start)).toEqual([10, 20, 40, 70]);
    expect(list.find(29)?.start).toBe(20);
    expect(list.find(30)).toBeUndefined();
    expect(list.overlapping(25, 41).map(({ start }) => start)).toEqual([20, 40]);
    expect(list.covers(12, 30)).toBe(true);
    expect(list.covers(12, 31)).toBe(false);
    expect(list.previousEnd(40)).toBe(30);
    expect(list.nextStart(50)).toBe(70);
  });
});
