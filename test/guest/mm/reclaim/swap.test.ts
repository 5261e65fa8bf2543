import { beforeEach, describe, expect, it } from 'vitest';
import { exitMmap } from '../../../../guest/mm/calls/exit.ts';
import { FileSystem, readFile, truncateFile, writeFile } from '../../../../guest/mm/calls/files.ts';
import { fork } from '../../../../guest/mm/calls/fork.ts';
import { madviseDontneed } from '../../../../guest/mm/calls/madvise.ts';
import { mlock } from '../../../../guest/mm/calls/mlock.ts';
import { mmap } from '../../../../guest/mm/calls/mmap.ts';
import { GFP_KERNEL, ZONE } from '../../../../guest/mm/page/gfp.ts';
import { ScanControl } from '../../../../guest/mm/reclaim/scan-control.ts';
import { PageShrinker, ReclaimStat } from '../../../../guest/mm/reclaim/shrink-pages.ts';
import type { Swap } from '../../../../guest/mm/reclaim/swap.ts';
import {
  PG_ACTIVE,
  PG_REFERENCED,
  PG_SWAPBACKED,
  PG_SWAPCACHE,
  PG_UNEVICTABLE,
  PG_WRITEBACK,
} from '../../../../guest/mm/space/frames.ts';
import { RSS, VM_LOCKED } from '../../../../guest/mm/space/mm-types.ts';
import { isSwapEntry, ptePfn, swapOffset } from '../../../../guest/mm/space/pte.ts';
import { TestProcess } from '../space/support.ts';
import { ReclaimWorld } from './reclaim-world.ts';

const PAGES = 64;

let world: ReclaimWorld;
let swap: Swap;
let process: TestProcess;
let start: number;

beforeEach(() => {
  world = new ReclaimWorld(64, { swapMib: 8, noKswapd: true, thp: 'never' });
  swap = world.reclaim.swap ?? expect.fail('there is a swap device');
  // The RAM disk of boot is tmpfs: it goes first and is out of the way.
  while (world.vmstat.nr_file_pages > 0) world.directReclaim();
  process = world.newProcess();
  start = world.run(mmap(world.spaces, process.mm, { pageCount: PAGES }));
  for (let page = 0; page < PAGES; page++) process.write(start + page, 1000 + page);
});

function entryOf(page: number, mm = process.mm): number {
  const { tables } = world.spaces;
  return tables.entries[tables.pteAt(mm.pgdBase, start + page)];
}

/** Reclaims until no process has a page; the last ones may still be in the swap cache. */
function unmap(): void {
  for (let round = 0; world.vmstat.nr_anon_pages > 0; round++) {
    expect(round).toBeLessThan(50);
    world.directReclaim();
  }
}

/** Reclaims until nothing of the processes is in memory. */
function swapOut(): void {
  unmap();
  for (let round = 0; world.vmstat.nr_swapcached > 0; round++) {
    expect(round).toBeLessThan(50);
    world.directReclaim();
  }
}

/** shrink_folio_list for one isolated page. */
function shrinkIsolated(pfn: number): { kept: readonly number[]; activated: number } {
  const request = { gfp: GFP_KERNEL, order: 0, highestZone: ZONE.normal, isKswapd: true };
  const stat = new ReclaimStat();
  const shrinker = new PageShrinker(world.reclaim.node);
  const { kept } = shrinker.shrink([pfn], new ScanControl(request), stat);
  return { kept, activated: stat.activated };
}

describe('swap-out', () => {
  it('leaves swap entries in the page tables, and content in slots', () => {
    swapOut();
    expect([...process.mm.rss]).toEqual([0, 0, PAGES, 0]);
    for (let page = 0; page < PAGES; page++) {
      expect(isSwapEntry(entryOf(page))).toBe(true);
      expect(swap.slots.tags[swapOffset(entryOf(page))]).toBe(1000 + page);
    }
    expect(world.vmstat.pswpout).toBeGreaterThanOrEqual(PAGES);
    world.verify();
  });

  it('takes time: meanwhile the page is unmapped, under write-back and not free', () => {
    const pfn = ptePfn(entryOf(0));
    const request = { order: 0, gfp: 0x1400cca, asking: undefined };
    world.scheduler.spawn('reclaims', discard(world.reclaim.tryToFreePages(request)));
    const { frames } = world.spaces;
    for (let step = 0; step < 40 && !frames.has(pfn, PG_WRITEBACK); step++) {
      world.scheduler.run();
      world.clock.advanceBy(0);
    }
    expect(frames.has(pfn, PG_WRITEBACK) && frames.has(pfn, PG_SWAPCACHE)).toBe(true);
    expect([isSwapEntry(entryOf(0)), frames.refcount(pfn)]).toEqual([true, 1]);
    expect(swap.device.writingPages).toBeGreaterThan(0);
    world.verify();
    world.settle();
    expect([frames.has(pfn, PG_WRITEBACK), swap.device.writingPages]).toEqual([false, 0]);
    world.verify();
  });

  it('goes to the device in requests of 32 pages, and the rest when it is unplugged', () => {
    const written: number[] = [];
    for (let page = 0; page < 40; page++) {
      const pfn = ptePfn(entryOf(page));
      expect(world.spaces.waits.tryLock(pfn) && swap.add(pfn)).toBe(true);
      swap.duplicate(swap.cache.slotOf(pfn));
      swap.writePage(pfn);
      written.push(swap.device.writingPages);
    }
    expect(written).toEqual(written.map((_, page) => (page < 31 ? 0 : 32)));
    swap.unplug();
    expect(swap.device.writingPages).toBe(40);
  });

  it('spares what is locked in memory', () => {
    world.run(mlock(world.spaces, process.mm, { start, pageCount: 8 }, process.access));
    for (let round = 0; round < 20; round++) world.directReclaim();
    expect(process.mm.rss[RSS.anon]).toBe(8);
    world.verify();
  });

  it('does not activate a page that was locked in memory while it was isolated', () => {
    const { frames, lru } = world.spaces;
    const pfn = process.frame(start, true);
    lru.drain();
    expect(lru.isolate(pfn)).toBe(true);
    lru.mlock(pfn);
    const { kept, activated } = shrinkIsolated(pfn);
    expect([kept, activated]).toEqual([[pfn], 0]);
    expect([frames.has(pfn, PG_ACTIVE), frames.isLocked(pfn)]).toEqual([false, false]);
    lru.putbackAll(kept);
    lru.drain();
    expect(frames.has(pfn, PG_UNEVICTABLE)).toBe(true);
  });

  it('ends when the device is full: the rest stays', () => {
    while (swap.freePages > 10) swap.slots.take(0);
    for (let round = 0; round < 20; round++) world.directReclaim();
    expect(swap.freePages).toBe(0);
    expect(process.mm.rss[RSS.swap]).toBe(10);
    for (let page = 0; page < PAGES; page++) expect(process.read(start + page)).toBe(1000 + page);
  });
});

describe('the check of swap', () => {
  it('tells of slots, counts and cached pages that disagree', () => {
    unmap();
    const { frames, files } = world.spaces;
    const ofFiles = [...files].flatMap((file) => [...file.swapOffsets()]);
    const ofProcess = Array.from({ length: PAGES }, (_, page) => swapOffset(entryOf(page)));
    const entries = new Map([...ofFiles, ...ofProcess].map((slot) => [slot, 1]));
    expect(swap.verify(entries)).toEqual([]);
    const slot = ofProcess.find((each) => swap.slots.cachedPage(each) >= 0) ?? 0;
    const pfn = swap.slots.cachedPage(slot);
    expect(swap.verify(new Map([...entries, [slot, 2]])).join()).toContain('counts the entries');
    frames.clear(pfn, PG_SWAPBACKED);
    expect(swap.verify(entries).join()).toContain('small and backed by swap');
    frames.set(pfn, PG_SWAPBACKED);
    frames.clear(pfn, PG_SWAPCACHE);
    const lines = swap.verify(entries).join();
    expect(lines).toContain('knows its slot');
    expect(lines).toContain('nr_swapcached');
  });
});

describe('swap-in', () => {
  it('reads a page from the device: a major fault', () => {
    swapOut();
    const before = world.vmstat.snapshot();
    expect(process.read(start + 3)).toBe(1003);
    expect(world.vmstat.pswpin - before.pswpin).toBe(1);
    expect(world.vmstat.pgmajfault - before.pgmajfault).toBe(1);
    expect(world.clock.now()).toBeGreaterThan(0);
    expect([process.mm.rss[RSS.anon], process.mm.rss[RSS.swap]]).toEqual([1, PAGES - 1]);
    world.verify();
  });

  it('finds a page that has not left the swap cache without reading: a minor fault', () => {
    unmap();
    const { frames } = world.spaces;
    const page = Array.from({ length: PAGES }, (_, at) => at).find((at) => {
      const entry = entryOf(at);
      return isSwapEntry(entry) && swap.slots.cachedPage(swapOffset(entry)) >= 0;
    });
    if (page === undefined) return expect.fail('a page waits in the swap cache');
    const cached = swap.slots.cachedPage(swapOffset(entryOf(page)));
    const before = world.vmstat.snapshot();
    expect(process.frame(start + page, false)).toBe(cached);
    expect(frames.has(cached, PG_SWAPCACHE)).toBe(true);
    expect(world.vmstat.pswpin).toBe(before.pswpin);
    expect(world.vmstat.pgmajfault).toBe(before.pgmajfault);
    world.verify();
  });

  it('keeps the slot of a page that is only read: it need not be written again', () => {
    swapOut();
    const written = world.vmstat.pswpout;
    for (let page = 0; page < PAGES; page++) process.read(start + page);
    swapOut();
    expect(world.vmstat.pswpout).toBe(written);
    expect(process.read(start + 5)).toBe(1005);
  });

  it('gives the slot up for a write, and writes what is new the next time', () => {
    swapOut();
    const free = swap.freePages;
    process.write(start + 5, 4711);
    expect(swap.freePages).toBe(free + 1);
    swapOut();
    expect(process.read(start + 5)).toBe(4711);
    world.verify();
  });

  it('keeps no slot of a page that a read brings back to locked memory', () => {
    swapOut();
    const vma = process.mm.vmas.find(start) ?? expect.fail('it is mapped');
    vma.flags |= VM_LOCKED;
    const free = swap.freePages;
    process.read(start + 5);
    expect(swap.freePages).toBe(free + 1);
    process.read(start + 6);
    expect(swap.freePages).toBe(free + 2);
  });

  it('keeps no slot once more than half of the device is used', () => {
    swapOut();
    const free = swap.freePages;
    while (swap.freePages * 2 >= swap.totalPages) swap.slots.take(0);
    const used = swap.freePages;
    process.read(start + 5);
    expect(swap.freePages).toBe(used + 1);
    expect(free).toBeGreaterThan(used);
  });

  it.each([
    ['loses it when it is activated while swap is full', true],
    ['keeps it otherwise', false],
  ])('a page that has its slot still %s', (_what, isFull) => {
    swapOut();
    const pfn = process.frame(start + 5, false);
    const { frames, lru } = world.spaces;
    lru.drain();
    while (isFull && !swap.slots.isFull) swap.slots.take(0);
    frames.set(pfn, PG_REFERENCED);
    expect(lru.isolate(pfn)).toBe(true);
    const { kept, activated } = shrinkIsolated(pfn);
    expect([kept, activated, frames.has(pfn, PG_ACTIVE)]).toEqual([[pfn], 1, true]);
    expect(frames.has(pfn, PG_SWAPCACHE)).toBe(!isFull);
    lru.putbackAll(kept);
    expect(process.read(start + 5)).toBe(1005);
  });

  it('serves two processes that wait for the same page with one read', () => {
    swapOut();
    const mm = world.run(fork(world.spaces, process.mm));
    const child = new TestProcess(world, mm);
    const before = world.vmstat.pswpin;
    const seen: number[] = [];
    for (const { access } of [process, child]) {
      expect(access.tryFrame(start, false)).toBe(-1);
      const body = function* () {
        seen.push(world.memory.pages.tags[yield* access.frame(start, false)]);
      };
      world.scheduler.spawn('reads', body());
    }
    world.settle();
    expect(seen).toEqual([1000, 1000]);
    expect(world.vmstat.pswpin).toBe(before + 1);
    world.verify();
  });
});

describe('sharing', () => {
  it('parent and child share slots; each writes its own copy', () => {
    swapOut();
    const child = new TestProcess(world, world.run(fork(world.spaces, process.mm)));
    expect(swap.slots.counts[swapOffset(entryOf(7))]).toBe(2);
    child.write(start + 7, 1);
    process.write(start + 8, 2);
    expect([process.read(start + 7), child.read(start + 8)]).toEqual([1007, 1008]);
    expect([child.read(start + 7), process.read(start + 8)]).toEqual([1, 2]);
    world.verify();
    world.run(exitMmap(world.spaces, child.mm));
    swapOut();
    expect(process.read(start + 7)).toBe(1007);
    world.verify();
  });

  it('a page shared before it went out is one page when it is back', () => {
    const child = new TestProcess(world, world.run(fork(world.spaces, process.mm)));
    swapOut();
    expect(child.mm.residentPages).toBe(0);
    expect(process.frame(start, false)).toBe(child.frame(start, false));
    world.verify();
    child.write(start, 9);
    expect([process.read(start), child.read(start)]).toEqual([1000, 9]);
    world.verify();
  });
});

describe('the end of what was swapped', () => {
  it('frees the slots: dropped, or with the process', () => {
    const free = swap.freePages;
    swapOut();
    expect(swap.freePages).toBe(free - PAGES);
    madviseDontneed(world.spaces, process.mm, start, 10);
    expect(swap.freePages).toBe(free - PAGES + 10);
    expect(process.read(start)).toBe(0);
    world.run(exitMmap(world.spaces, process.mm));
    expect(swap.freePages).toBe(free);
    world.verify();
  });

  it('frees page and slot of what was back in memory as well', () => {
    const free = swap.freePages;
    swapOut();
    for (let page = 0; page < PAGES; page++) process.read(start + page);
    expect(world.vmstat.nr_swapcached).toBeGreaterThanOrEqual(PAGES);
    world.run(exitMmap(world.spaces, process.mm));
    expect(swap.freePages).toBe(free);
    world.verify();
  });
});

describe('tmpfs', () => {
  const swappedPages = (name: string): [FileSystem, number] => {
    const files = new FileSystem(world.spaces);
    const file = files.create(name, 'tmpfs');
    for (let index = 0; index < 40; index++) {
      world.run(writeFile(world.spaces, file, { index, tag: 500 + index }));
    }
    for (let round = 0; file.nrPages > 0 && round < 50; round++) world.directReclaim();
    return [files, [...file.swapOffsets()].length];
  };

  it('goes to swap, which takes the place of the page in the file', () => {
    const [files, swapped] = swappedPages('a');
    expect(swapped).toBe(40);
    world.verify();
    const file = files.open('a');
    for (let index = 0; index < 40; index++) {
      expect(world.run(readFile(world.spaces, file, index))).toBe(500 + index);
    }
    expect([...file.swapOffsets()]).toEqual([]);
    world.verify();
  });

  it('comes back for a fault, and is written again', () => {
    const [files] = swappedPages('b');
    const file = files.open('b');
    swapOut();
    const at = world.run(mmap(world.spaces, process.mm, { pageCount: 40, shared: true, file }));
    const majors = world.vmstat.pgmajfault;
    expect(process.read(at + 3)).toBe(503);
    expect(world.vmstat.pgmajfault).toBe(majors + 1);
    process.write(at + 3, 77);
    for (let round = 0; file.page(3) >= 0 && round < 50; round++) world.directReclaim();
    expect(world.run(readFile(world.spaces, file, 3))).toBe(77);
    world.verify();
  });

  it('frees its slots when it is cut', () => {
    const [files] = swappedPages('c');
    const free = swap.freePages;
    world.run(truncateFile(world.spaces, files.open('c'), 10));
    expect(swap.freePages).toBe(free + 30);
    world.verify();
  });
});

function* discard(body: Generator<unknown, unknown, void>): Generator<never, void, void> {
  yield* body as Generator<never, unknown, void>;
}
