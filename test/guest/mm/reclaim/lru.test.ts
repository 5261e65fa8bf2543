import { describe, expect, it } from 'vitest';
import { exitMmap } from '../../../../guest/mm/calls/exit.ts';
import { readFile, writeFile } from '../../../../guest/mm/calls/files.ts';
import { fork } from '../../../../guest/mm/calls/fork.ts';
import { mlock, munlock } from '../../../../guest/mm/calls/mlock.ts';
import { mmap } from '../../../../guest/mm/calls/mmap.ts';
import { GFP_HIGHUSER_MOVABLE } from '../../../../guest/mm/page/gfp.ts';
import { listNodes } from '../../../../guest/mm/page/page-list.ts';
import { LRU } from '../../../../guest/mm/reclaim/lru-lists.ts';
import { PAGEVEC_SIZE } from '../../../../guest/mm/reclaim/page-vec.ts';
import { PG_UNEVICTABLE } from '../../../../guest/mm/space/frames.ts';
import { TestProcess, World } from '../space/support.ts';

function mapped(pageCount: number): { world: World; process: TestProcess; start: number } {
  const world = new World();
  const process = world.newProcess();
  const start = world.run(mmap(world.spaces, process.mm, { pageCount, huge: 'no' }));
  return { world, process, start };
}

function nodes(world: World, list: number): number[] {
  const { lru, frames } = world.spaces;
  return [...listNodes(frames.words, lru.lists.head(list))];
}

describe('new pages', () => {
  it('reach the inactive list in batches of 15, the last one first', () => {
    const { world, process, start } = mapped(40);
    const before = world.spaces.lru.lists.sizes[LRU.inactiveAnon];
    const pfns: number[] = [];
    for (let page = 0; page < PAGEVEC_SIZE - 1; page++) {
      pfns.push(process.frame(start + page, true));
    }
    expect(world.spaces.lru.lists.sizes[LRU.inactiveAnon]).toBe(before);
    expect(world.spaces.frames.refcount(pfns[0] as number)).toBe(2);
    pfns.push(process.frame(start + PAGEVEC_SIZE, true));
    expect(world.spaces.lru.lists.sizes[LRU.inactiveAnon]).toBe(before + PAGEVEC_SIZE);
    expect(world.spaces.frames.refcount(pfns[0] as number)).toBe(1);
    const listed = nodes(world, LRU.inactiveAnon).slice(0, PAGEVEC_SIZE);
    expect(listed).toEqual(pfns.toReversed());
    world.verify();
  });

  it('wait in no batch while somebody wants none to (lru_cache_disable)', () => {
    const { world, process, start } = mapped(4);
    const { lru } = world.spaces;
    const waiting = process.frame(start, true);
    for (let times = 0; times < 2; times++) lru.disableCache();
    expect(lru.has(waiting)).toBe(true);
    expect(lru.has(process.frame(start + 1, true))).toBe(true);
    lru.enableCache();
    expect(lru.has(process.frame(start + 2, true))).toBe(true);
    lru.enableCache();
    expect(lru.has(process.frame(start + 3, true))).toBe(false);
    world.verify();
  });

  it('that are unmapped while in the batch are freed when it is drained', () => {
    const { world, process, start } = mapped(4);
    const pfn = process.frame(start, true);
    world.run(exitMmap(world.spaces, process.mm));
    expect(world.spaces.lru.pending).toBe(false);
    expect(world.spaces.frames.refcount(pfn)).toBe(0);
    world.verify();
  });
});

describe('page cache pages', () => {
  it('become active at the second access', () => {
    const world = new World();
    const file = world.spaces.files.create('disk');
    file.uses = 1;
    file.sizePages = 64;
    world.run(readFile(world.spaces, file, 0));
    world.spaces.lru.drain();
    expect(world.spaces.lru.lists.sizes[LRU.activeFile]).toBe(0);
    expect(world.spaces.lru.lists.sizes[LRU.inactiveFile]).toBe(32);
    world.run(readFile(world.spaces, file, 0));
    world.spaces.lru.drain();
    expect(world.spaces.lru.lists.sizes[LRU.activeFile]).toBe(1);
    expect(world.vmstat.pgactivate).toBe(1);
    expect(nodes(world, LRU.activeFile)).toEqual([file.page(0)]);
    expect(world.memory.allocator.levels.fileLru).toBe(32);
    world.verify();
  });

  it('of tmpfs are on the anonymous lists', () => {
    const world = new World();
    const before = world.spaces.lru.lists.sizes[LRU.inactiveAnon];
    const file = world.spaces.files.create('tmpfs');
    file.uses = 1;
    for (let index = 0; index < 15; index++) {
      world.run(writeFile(world.spaces, file, { index, tag: 1 }));
    }
    expect(world.spaces.lru.lists.sizes[LRU.inactiveAnon]).toBe(before + 15);
    expect(world.spaces.lru.lists.sizes[LRU.inactiveFile]).toBe(0);
    world.verify();
  });
});

describe('pages locked in memory', () => {
  it('are brought in, unevictable, and on no list', () => {
    const { world, process, start } = mapped(20);
    const pfn = process.frame(start, true);
    world.run(mlock(world.spaces, process.mm, { start, pageCount: 20 }, process.access));
    world.spaces.lru.drain();
    expect(process.mm.residentPages).toBe(20);
    expect(world.spaces.lru.lists.sizes[LRU.unevictable]).toBe(20);
    expect(world.spaces.frames.has(pfn, PG_UNEVICTABLE)).toBe(true);
    expect(nodes(world, LRU.inactiveAnon)).not.toContain(pfn);
    expect(world.vmstat.nr_mlock).toBe(20);
    expect(world.vmstat.unevictable_pgs_mlocked).toBe(20);
    world.verify();
    munlock(world.spaces, process.mm, start, 20);
    expect(world.spaces.lru.lists.sizes[LRU.unevictable]).toBe(0);
    expect(world.vmstat.nr_mlock).toBe(0);
    expect(world.vmstat.unevictable_pgs_munlocked).toBe(20);
    expect(world.vmstat.unevictable_pgs_rescued).toBe(20);
    world.verify();
  });

  it('stay locked until the last process that locked them unlocks', () => {
    const { world, process, start } = mapped(2);
    const range = { start, pageCount: 2 };
    process.write(start, 1);
    const child = new TestProcess(world, world.run(fork(world.spaces, process.mm)));
    expect(child.mm.lockedPages).toBe(0);
    const file = world.spaces.files.create('tmpfs');
    file.uses = 1;
    file.sizePages = 2;
    const request = { pageCount: 2, file, shared: true };
    const both = [process, child].map((each) => {
      const at = world.run(mmap(world.spaces, each.mm, request));
      world.run(mlock(world.spaces, each.mm, { ...range, start: at }, each.access));
      return { each, at };
    });
    world.spaces.lru.drain();
    expect(world.spaces.lru.lists.sizes[LRU.unevictable]).toBe(2);
    for (const { each, at } of both) {
      expect(world.vmstat.nr_mlock).toBe(2);
      munlock(world.spaces, each.mm, at, 2);
    }
    expect(world.vmstat.nr_mlock).toBe(0);
    world.verify();
  });

  it('that nobody refers to any more are counted as unlocked', () => {
    const { world } = mapped(1);
    const pfn = world.memory.allocator.alloc(0, GFP_HIGHUSER_MOVABLE);
    world.spaces.lru.mlock(pfn);
    expect(world.vmstat.nr_mlock).toBe(1);
    world.spaces.refs.put(pfn);
    expect([world.vmstat.nr_mlock, world.vmstat.unevictable_pgs_munlocked]).toEqual([0, 1]);
    world.verify();
  });

  it('are unlocked by the end of their process', () => {
    const { world, process, start } = mapped(30);
    world.run(mlock(world.spaces, process.mm, { start, pageCount: 30 }, process.access));
    world.run(exitMmap(world.spaces, process.mm));
    expect(world.vmstat.nr_mlock).toBe(0);
    expect(world.vmstat.unevictable_pgs_munlocked).toBe(30);
    expect(world.vmstat.nr_unevictable).toBe(0);
    world.verify();
  });
});

describe('isolation from the LRU', () => {
  it('takes the page and a reference, and is refused while the page is in a batch', () => {
    const { world, process, start } = mapped(20);
    const { lru, frames } = world.spaces;
    const pfn = process.frame(start, true);
    expect(lru.isolate(pfn)).toBe(false);
    lru.drain();
    expect(lru.isolate(pfn)).toBe(true);
    expect(lru.isolate(pfn)).toBe(false);
    expect(frames.refcount(pfn)).toBe(2);
    expect(world.vmstat.nr_isolated_anon).toBe(1);
    world.verify();
    lru.putback(pfn);
    expect(world.vmstat.nr_isolated_anon).toBe(0);
    lru.drain();
    expect(nodes(world, LRU.inactiveAnon)[0]).toBe(pfn);
    world.verify();
  });

  it('keeps a page alive that its process gives up', () => {
    const { world, process, start } = mapped(1);
    const { lru, frames } = world.spaces;
    const pfn = process.frame(start, true);
    lru.drain();
    lru.isolate(pfn);
    world.run(exitMmap(world.spaces, process.mm));
    expect(frames.refcount(pfn)).toBe(1);
    lru.putback(pfn);
    lru.drain();
    expect(frames.refcount(pfn)).toBe(0);
    world.verify();
  });
});
