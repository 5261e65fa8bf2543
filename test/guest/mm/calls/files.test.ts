import { describe, expect, it } from 'vitest';
import {
  closeFile,
  FileSystem,
  fsync,
  readFile,
  truncateFile,
  writeFile,
} from '../../../../guest/mm/calls/files.ts';
import { mmap, munmap } from '../../../../guest/mm/calls/mmap.ts';
import { __GFP_WRITE } from '../../../../guest/mm/page/gfp.ts';
import type { FileMapping } from '../../../../guest/mm/space/address-spaces.ts';
import { Errno } from '../../../../guest/mm/space/errno.ts';
import { PG_WRITEBACK } from '../../../../guest/mm/space/frames.ts';
import { GFP_FILE } from '../../../../guest/mm/space/page-io.ts';
import { World } from '../space/support.ts';

function newFile(world: World, kind: 'disk' | 'tmpfs', pageCount = 0): FileMapping {
  const file = world.spaces.files.create(kind);
  file.uses = 1;
  for (let index = 0; index < pageCount; index++) {
    world.run(writeFile(world.spaces, file, { index, tag: 1 + index }));
  }
  return file;
}

describe('names', () => {
  it('are made once, and a file lives until its last name, user and mapping is gone', () => {
    const world = new World();
    const names = new FileSystem(world.spaces);
    const file = names.create('a', 'tmpfs');
    expect(() => names.create('a', 'tmpfs')).toThrow(Errno);
    world.run(writeFile(world.spaces, file, { index: 0, tag: 5 }));
    const process = world.newProcess();
    const start = world.run(mmap(world.spaces, process.mm, { pageCount: 1, file, shared: true }));
    world.run(names.unlink('a'));
    expect(() => names.open('a')).toThrow('ENOENT');
    world.run(closeFile(world.spaces, file));
    expect(process.read(start)).toBe(5);
    world.verify();
    world.run(munmap(world.spaces, process.mm, start, 1));
    expect(world.spaces.files.get(file.id)).toBeUndefined();
    expect(file.nrPages).toBe(0);
    world.verify();
  });
});

describe('a file on disk', () => {
  it('is dirty in memory until it is written back, and under write-back meanwhile', () => {
    const world = new World(64, { diskMs: 20 });
    const file = newFile(world, 'disk', 3);
    expect(world.vmstat.nr_dirty).toBe(3);
    world.scheduler.spawn(
      'sync',
      (function* () {
        yield* fsync(world.spaces, file);
      })(),
    );
    world.scheduler.run();
    expect(world.vmstat.nr_writeback).toBe(3);
    expect(world.spaces.frames.has(file.page(0), PG_WRITEBACK)).toBe(true);
    world.verify();
    world.settle();
    expect(world.vmstat.nr_writeback).toBe(0);
    expect(world.vmstat.nr_dirty).toBe(0);
    expect(world.vmstat.pgpgout).toBe(12);
    world.verify();
  });

  it('is truncated only when its write-back is done', () => {
    const world = new World(64, { diskMs: 20 });
    const file = newFile(world, 'disk', 3);
    const order: string[] = [];
    const tasks = {
      sync: fsync(world.spaces, file),
      truncate: truncateFile(world.spaces, file, 0),
    };
    for (const [name, body] of Object.entries(tasks)) {
      world.scheduler.spawn(
        name,
        (function* () {
          yield* body;
          order.push(name);
        })(),
      );
    }
    world.scheduler.run();
    expect([...world.scheduler.tasks()].map(({ at }) => at)).toContain('write-back');
    world.settle();
    expect(order).toEqual(['sync', 'truncate']);
    expect(file.nrPages).toBe(0);
    expect(file.disk?.read(0)).toBe(0);
    world.verify();
  });

  it('lets readers wait for a page that another reads in', () => {
    const world = new World(64, { diskMs: 20 });
    const file = newFile(world, 'disk');
    file.sizePages = 40;
    file.disk?.write(7, 70);
    const tags: number[] = [];
    for (const name of ['first', 'second']) {
      world.scheduler.spawn(
        name,
        (function* () {
          tags.push(yield* readFile(world.spaces, file, 7));
        })(),
      );
    }
    world.scheduler.run();
    expect([...world.scheduler.tasks()].map(({ at }) => at)).toContain('page lock');
    world.settle();
    expect(tags).toEqual([70, 70]);
    expect(world.clock.now()).toBe(20);
    expect(world.vmstat.pgpgin).toBe(32 * 4);
    world.verify();
  });

  it('keeps what is written while the same file is being cut', () => {
    const world = new World(64, { diskMs: 20 });
    const file = newFile(world, 'disk', 40);
    const cut = truncateFile(world.spaces, file, 0);
    const write = writeFile(world.spaces, file, { index: 30, tag: 99 });
    for (const body of [fsync(world.spaces, file), cut, write]) {
      world.scheduler.spawn(
        'task',
        (function* () {
          yield* body;
        })(),
      );
    }
    world.settle();
    expect(world.run(readFile(world.spaces, file, 30))).toBe(99);
    expect(file.nrPages).toBe(1);
    world.verify();
  });

  it('asks for pages as Linux does: write says so', () => {
    const world = new World();
    const gfps: number[] = [];
    const file = newFile(world, 'disk');
    world.memory.allocator.traceSink = {
      mm_page_alloc: (_pfn, _order, _migratetype, gfp) => gfps.push(gfp),
      mm_page_free() {},
      mm_page_free_batched() {},
      mm_page_alloc_zone_locked() {},
      mm_page_pcpu_drain() {},
      mm_page_alloc_extfrag() {},
    };
    world.run(writeFile(world.spaces, file, { index: 0, tag: 1 }));
    world.run(writeFile(world.spaces, newFile(world, 'tmpfs'), { index: 0, tag: 1 }));
    expect(gfps).toEqual([GFP_FILE | __GFP_WRITE, GFP_FILE]);
  });
});

describe('a file of tmpfs', () => {
  it('is freed in batches of 15, each reversed (exact-workload, rm)', () => {
    const world = new World();
    const file = newFile(world, 'tmpfs', 64);
    const pfns = Array.from({ length: 64 }, (_, index) => file.page(index));
    const freed: number[] = [];
    const events: string[] = [];
    world.memory.allocator.traceSink = {
      mm_page_alloc() {},
      mm_page_free: (pfn) => {
        freed.push(pfn);
        events.push('F');
      },
      mm_page_free_batched: () => events.push('B'),
      mm_page_alloc_zone_locked() {},
      mm_page_pcpu_drain() {},
      mm_page_alloc_extfrag() {},
    };
    world.run(closeFile(world.spaces, file));
    const batches = [15, 15, 15, 15, 4];
    expect(events.join('')).toBe(batches.map((n) => 'F'.repeat(n) + 'B'.repeat(n)).join(''));
    expect(freed.slice(0, 15)).toEqual(pfns.slice(0, 15).reverse());
    expect(freed.slice(60)).toEqual(pfns.slice(60).reverse());
  });

  it('reads as zero where it was never written, without a page', () => {
    const world = new World();
    const file = newFile(world, 'tmpfs');
    file.sizePages = 10;
    expect(world.run(readFile(world.spaces, file, 5))).toBe(0);
    expect(file.nrPages).toBe(0);
    expect(() => world.run(readFile(world.spaces, file, 10))).toThrow('EINVAL');
  });

  it('grows with what is written and shrinks when it is cut', () => {
    const world = new World();
    const file = newFile(world, 'tmpfs', 10);
    world.run(truncateFile(world.spaces, file, 4));
    world.run(truncateFile(world.spaces, file, 10));
    expect(world.run(readFile(world.spaces, file, 3))).toBe(4);
    expect(world.run(readFile(world.spaces, file, 4))).toBe(0);
    world.verify();
  });
});
