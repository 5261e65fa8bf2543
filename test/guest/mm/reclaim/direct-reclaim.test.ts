import { beforeEach, describe, expect, it } from 'vitest';
import { FileSystem, fsync, readFile, writeFile } from '../../../../guest/mm/calls/files.ts';
import { mlock } from '../../../../guest/mm/calls/mlock.ts';
import { mmap } from '../../../../guest/mm/calls/mmap.ts';
import {
  __GFP_FS,
  __GFP_IO,
  GFP_HIGHUSER_MOVABLE,
  GFP_KERNEL,
  ZONE,
} from '../../../../guest/mm/page/gfp.ts';
import { LRU } from '../../../../guest/mm/reclaim/lru-lists.ts';
import type { FileMapping } from '../../../../guest/mm/space/address-spaces.ts';
import { HPAGE_PMD_ORDER, PG_REFERENCED } from '../../../../guest/mm/space/frames.ts';
import { RSS } from '../../../../guest/mm/space/mm-types.ts';
import type { TestProcess } from '../space/support.ts';
import { ReclaimWorld } from './reclaim-world.ts';

let world: ReclaimWorld;
let files: FileSystem;

beforeEach(() => {
  make(0);
});

function make(swapMib: number): void {
  world = new ReclaimWorld(64, { swapMib, noKswapd: true, thp: 'never', diskMs: 1 });
  files = new FileSystem(world.spaces);
}

/** A file whose pages are cached and clean, read once. */
function cached(name: string, pages: number): FileMapping {
  const file = files.create(name, 'disk');
  for (let index = 0; index < pages; index++) file.disk?.write(index, index + 1);
  file.sizePages = pages;
  for (let index = 0; index < pages; index++) world.run(readFile(world.spaces, file, index));
  world.spaces.lru.drain();
  return file;
}

function mapped(pages: number, file?: FileMapping): { process: TestProcess; start: number } {
  const process = world.newProcess();
  const request = { pageCount: pages, ...(file === undefined ? {} : { file }) };
  return { process, start: world.run(mmap(world.spaces, process.mm, request)) };
}

const sizes = (): number[] => [...world.spaces.lru.lists.sizes];

describe('pages of files', () => {
  it('that are clean are dropped, 32 at least, and read again when needed', () => {
    const file = cached('a', 500);
    const reclaimed = world.directReclaim();
    expect(reclaimed).toBeGreaterThanOrEqual(32);
    expect(file.nrPages).toBe(500 - reclaimed);
    expect(world.vmstat.pgsteal_direct).toBe(reclaimed);
    expect(world.vmstat.pgsteal_file).toBe(reclaimed);
    expect(world.run(readFile(world.spaces, file, 0))).toBe(1);
    world.verify();
  });

  it('that are mapped and not used since are unmapped first', () => {
    const file = cached('a', 100);
    const { process, start } = mapped(100, file);
    for (let page = 0; page < 100; page++) expect(process.read(start + page)).toBe(page + 1);
    for (let round = 0; file.nrPages > 0 && round < 30; round++) world.directReclaim();
    expect(process.mm.residentPages).toBe(0);
    expect(process.read(start + 9)).toBe(10);
    world.verify();
  });

  it('that are dirty are left to the flusher, and reclaimed when they are written', () => {
    const file = files.create('w', 'disk');
    for (let index = 0; index < 200; index++) {
      world.run(writeFile(world.spaces, file, { index, tag: 7000 + index }));
    }
    world.spaces.lru.drain();
    for (let round = 0; file.nrPages > 0 && round < 30; round++) world.directReclaim();
    expect([file.nrPages, file.dirty.size, world.vmstat.nr_dirty]).toEqual([0, 0, 0]);
    expect(world.vmstat.nr_vmscan_immediate_reclaim).toBeGreaterThan(0);
    for (let index = 0; index < 200; index++) {
      expect(world.run(readFile(world.spaces, file, index))).toBe(7000 + index);
    }
    world.verify();
  });

  it('read twice are active: they go after those that were read once', () => {
    const hot = cached('hot', 100);
    for (let index = 0; index < 100; index++) world.run(readFile(world.spaces, hot, index));
    const once = cached('once', 400);
    world.spaces.lru.drain();
    expect(sizes()[LRU.activeFile]).toBeGreaterThanOrEqual(90);
    while (once.nrPages > 150) world.directReclaim();
    expect(hot.nrPages).toBe(100);
  });
});

describe('second chances', () => {
  it('a page in use is marked, then activated when it is in use again', () => {
    make(16);
    while (world.vmstat.nr_file_pages > 0) world.directReclaim();
    const { process, start } = mapped(1);
    process.write(start, 1);
    world.spaces.lru.drain();
    const pfn = process.frame(start, false);
    const { frames } = world.spaces;
    // All start out used; a list of one page is looked at only at the last priority.
    world.directReclaim();
    expect([process.mm.residentPages, frames.has(pfn, PG_REFERENCED)]).toEqual([1, true]);
    process.read(start);
    const activated = world.vmstat.pgactivate;
    world.directReclaim();
    expect([process.mm.residentPages, world.vmstat.pgactivate]).toEqual([1, activated + 1]);
    for (let round = 0; process.mm.residentPages > 0 && round < 5; round++) world.directReclaim();
    expect(process.mm.rss[RSS.swap]).toBe(1);
    expect(process.read(start)).toBe(1);
    world.verify();
  });

  it('the active list is made shorter when it is longer than the inactive one', () => {
    make(64);
    const { process, start } = mapped(600);
    for (let page = 0; page < 600; page++) process.write(start + page, page);
    const { lru, frames } = world.spaces;
    lru.drain();
    for (let page = 0; page < 600; page++) {
      const pfn = process.frame(start + page, false);
      frames.set(pfn, PG_REFERENCED);
      lru.markAccessed(pfn);
    }
    lru.drain();
    expect(sizes()[LRU.activeAnon]).toBe(600);
    const before = world.vmstat.pgdeactivate;
    world.directReclaim();
    expect(world.vmstat.pgdeactivate).toBeGreaterThan(before);
    expect(world.vmstat.pgrefill).toBeGreaterThanOrEqual(world.vmstat.pgdeactivate);
    world.verify();
  });
});

describe('anonymous pages', () => {
  it('stay without swap, and nothing ages them', () => {
    const { process, start } = mapped(500);
    for (let page = 0; page < 500; page++) process.write(start + page, page);
    world.spaces.lru.drain();
    const before = sizes();
    expect(world.directReclaim()).toBe(0);
    expect(sizes()).toEqual(before);
    expect(world.vmstat.pgscan_direct).toBe(0);
    expect(world.vmstat.allocstall).toBe(1);
  });

  it('stay where the request may start no I/O', () => {
    make(16);
    const { process, start } = mapped(500);
    for (let page = 0; page < 500; page++) process.write(start + page, page);
    world.directReclaim(GFP_HIGHUSER_MOVABLE & ~(__GFP_IO | __GFP_FS));
    expect([world.vmstat.pswpout, process.mm.residentPages]).toEqual([0, 500]);
  });

  it('in locked memory are not even looked at: they are on no list', () => {
    make(16);
    const { process, start } = mapped(300);
    for (let page = 0; page < 300; page++) process.write(start + page, page);
    world.run(mlock(world.spaces, process.mm, { start, pageCount: 300 }, process.access));
    for (let round = 0; round < 10; round++) world.directReclaim();
    expect([process.mm.residentPages, sizes()[LRU.unevictable]]).toEqual([300, 300]);
    world.verify();
  });

  it('of a huge page go one by one, after it was split', () => {
    world = new ReclaimWorld(96, { swapMib: 64, noKswapd: true, thp: 'always' });
    const { process, start } = mapped(1024);
    for (let page = 0; page < 1024; page++) process.write(start + page, page + 1);
    expect(world.vmstat.thp_fault_alloc).toBe(2);
    for (let round = 0; process.mm.residentPages > 0 && round < 80; round++) {
      world.directReclaim();
      world.verify();
    }
    expect(world.vmstat.thp_swpout_fallback).toBe(2);
    expect(process.mm.residentPages).toBe(0);
    for (let page = 0; page < 1024; page++) expect(process.read(start + page)).toBe(page + 1);
    world.verify();
  });
});

describe('direct reclaim', () => {
  it('is all a process needs that uses twice the memory there is: nobody is killed', () => {
    make(128);
    world.killWorst = () => expect.fail('swap has room');
    const pages = 2 * world.freeFrames;
    const { process, start } = mapped(pages);
    for (let page = 0; page < pages; page++) process.write(start + page, page + 1);
    world.verify();
    for (let page = 0; page < pages; page += 7) expect(process.read(start + page)).toBe(page + 1);
    expect(world.vmstat.allocstall).toBeGreaterThan(0);
    expect(world.vmstat.pgmajfault).toBeGreaterThan(0);
    world.verify();
  });

  it('spares pages of a file that was written with fsync no more than others', () => {
    const file = files.create('f', 'disk');
    for (let index = 0; index < 100; index++) {
      world.run(writeFile(world.spaces, file, { index, tag: index + 1 }));
    }
    expect(world.run(fsync(world.spaces, file))).toBe(100);
    world.spaces.lru.drain();
    for (let round = 0; file.nrPages > 0 && round < 20; round++) world.directReclaim();
    expect(file.nrPages).toBe(0);
  });

  it.each([
    ['stops where it may enter file systems', GFP_HIGHUSER_MOVABLE, false],
    ['goes on where it may not', GFP_HIGHUSER_MOVABLE & ~__GFP_FS, true],
  ])('with more than an eighth of a list isolated by others %s', (_, gfp, goesOn) => {
    const file = cached('a', 800);
    const taken: number[] = [];
    const { lru } = world.spaces;
    lru.isolateFromEnd(LRU.inactiveFile, 100, ZONE.normal, taken);
    const reclaimed = world.directReclaim(gfp);
    expect([reclaimed > 0, file.nrPages]).toEqual([goesOn, 800 - reclaimed]);
    lru.putbackAll(taken);
    world.verify();
  });

  it.each([
    ['leaves a huge page to compaction where there is memory enough', GFP_KERNEL, false],
    ['does not where no page may be moved, since that takes I/O', GFP_KERNEL & ~__GFP_IO, true],
  ])('%s', (_, gfp, reclaims) => {
    cached('a', 500);
    const request = { order: HPAGE_PMD_ORDER, gfp, asking: { killed: false } };
    expect(world.run(world.reclaim.tryToFreePages(request))).toBeGreaterThanOrEqual(1);
    expect(world.vmstat.pgscan_direct > 0).toBe(reclaims);
  });
});
