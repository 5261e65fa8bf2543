import { describe, expect, it } from 'vitest';
import { readFile, writeFile } from '../../../../guest/mm/calls/files.ts';
import { mmap } from '../../../../guest/mm/calls/mmap.ts';
import type { FileMapping } from '../../../../guest/mm/space/address-spaces.ts';
import { PG_DIRTY } from '../../../../guest/mm/space/frames.ts';
import { ReclaimWorld } from './reclaim-world.ts';

const PAGES = 8;

/** A file on a disk with some pages in the cache, all clean and of the inactive list. */
function cached(): { world: ReclaimWorld; file: FileMapping; pfns: number[] } {
  const world = new ReclaimWorld(64, { noKswapd: true });
  const file = world.spaces.files.create('disk');
  file.uses = 1;
  for (let index = 0; index < PAGES; index++) file.disk?.write(index, 100 + index);
  file.sizePages = PAGES;
  for (let index = 0; index < PAGES; index++) world.run(readFile(world.spaces, file, index));
  world.spaces.lru.drain();
  return { world, file, pfns: Array.from({ length: PAGES }, (_, index) => file.page(index)) };
}

function isolate(world: ReclaimWorld, pfns: readonly number[]): void {
  for (const pfn of pfns) world.spaces.lru.isolate(pfn);
}

/** reclaim_clean_pages_from_list, which a range that is emptied begins with. */
describe('isolated pages that need not be moved', () => {
  it('are those of files that are clean; they are forgotten and read again', () => {
    const { world, file, pfns } = cached();
    isolate(world, pfns);
    expect(world.reclaim.reclaimClean(pfns)).toEqual([]);
    expect([file.nrPages, world.vmstat.nr_isolated_file]).toEqual([0, 0]);
    expect(world.run(readFile(world.spaces, file, 3))).toBe(103);
    world.verify();
  });

  it('are not the dirty ones, nor others; the order of those stays', () => {
    const { world, file, pfns } = cached();
    world.run(writeFile(world.spaces, file, { index: 2, tag: 7 }));
    const process = world.newProcess();
    const start = world.run(mmap(world.spaces, process.mm, { pageCount: 1, huge: 'no' }));
    process.write(start, 42);
    world.spaces.lru.drain();
    const anon = process.frame(start, false);
    const listed = [anon, ...pfns];
    isolate(world, listed);
    expect(world.reclaim.reclaimClean(listed)).toEqual([anon, pfns[2]]);
    for (const pfn of [anon, pfns[2]]) world.spaces.lru.putback(pfn);
    world.spaces.lru.drain();
    expect(world.vmstat.pgpgout).toBe(0);
    world.verify();
  });

  it('go whether they were used or not', () => {
    const { world, file, pfns } = cached();
    const process = world.newProcess();
    const request = { pageCount: PAGES, file, pgoff: 0 };
    const start = world.run(mmap(world.spaces, process.mm, request));
    for (let page = 0; page < PAGES; page++) process.read(start + page);
    isolate(world, pfns);
    expect(world.reclaim.reclaimClean(pfns)).toEqual([]);
    expect(process.mm.residentPages).toBe(0);
    expect(process.read(start + 5)).toBe(105);
    world.verify();
  });

  it('stay where a process wrote to them meanwhile, and nothing is written to the disk', () => {
    const { world, file, pfns } = cached();
    const process = world.newProcess();
    const request = { pageCount: PAGES, file, pgoff: 0, shared: true };
    const start = world.run(mmap(world.spaces, process.mm, request));
    for (const page of [1, 6]) process.write(start + page, 900 + page);
    for (const page of [1, 6]) world.spaces.frames.clear(pfns[page], PG_DIRTY);
    isolate(world, pfns);
    const left = world.reclaim.reclaimClean(pfns);
    expect(left).toEqual([pfns[6], pfns[1]]);
    expect(world.vmstat.pgpgout).toBe(0);
    for (const pfn of left) world.spaces.lru.putback(pfn);
    world.spaces.lru.drain();
    expect([process.read(start + 1), process.read(start + 6)]).toEqual([901, 906]);
  });
});
