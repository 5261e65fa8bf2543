import { beforeEach, describe, expect, it } from 'vitest';
import { fsync, readFile, writeFile } from '../../../../guest/mm/calls/files.ts';
import { fork } from '../../../../guest/mm/calls/fork.ts';
import { mlock } from '../../../../guest/mm/calls/mlock.ts';
import { mmap, munmap } from '../../../../guest/mm/calls/mmap.ts';
import { MIGRATE_MODE } from '../../../../guest/mm/move/constants.ts';
import { MOVE } from '../../../../guest/mm/move/lru-pages.ts';
import { lruPageMigrate } from '../../../../guest/mm/move/lru-procedure.ts';
import { SpacePages } from '../../../../guest/mm/move/space-pages.ts';
import { GFP_HIGHUSER_MOVABLE } from '../../../../guest/mm/page/gfp.ts';
import { PG_WRITEBACK } from '../../../../guest/mm/space/frames.ts';
import { TestProcess, World } from '../space/support.ts';

const WHENEVER = { async: false, mayEnterFs: true };

let world: World;
let process: TestProcess;
let pages: SpacePages;
let start: number;
let pfn: number;

beforeEach(() => {
  world = new World();
  process = world.newProcess();
  pages = new SpacePages(world.spaces);
  start = world.run(mmap(world.spaces, process.mm, { pageCount: 4, huge: 'no' }));
  process.write(start, 42);
  pages.drain();
  pfn = process.frame(start, false);
});

function newPage(): number {
  return world.memory.allocator.alloc(0, GFP_HIGHUSER_MOVABLE);
}

/** Migrates an isolated page as far as it goes; the name of the step it stands in. */
function migrate(newPfn: number, mayWait = false, mode: number = MIGRATE_MODE.sync): string {
  const frame = lruPageMigrate.newFrame(pfn, newPfn, mode, mayWait ? 1 : 0, 0);
  lruPageMigrate.proceed(frame, pages);
  return lruPageMigrate.stateName(frame);
}

function finish(newPfn: number): void {
  pages.put(newPfn);
  pages.release(pfn);
}

describe('a page of a process', () => {
  it('moves with its content, and its frame is free afterwards', () => {
    pages.isolate(pfn);
    const target = newPage();
    expect(migrate(target)).toBe('migrated');
    finish(target);
    expect(process.frame(start, false)).toBe(target);
    expect(process.read(start)).toBe(42);
    expect(world.spaces.frames.refcount(pfn)).toBe(0);
    pages.drain();
    world.verify();
  });

  it('that several share moves for all of them', () => {
    const child = new TestProcess(world, world.run(fork(world.spaces, process.mm)));
    pages.isolate(pfn);
    const target = newPage();
    expect(migrate(target)).toBe('migrated');
    finish(target);
    expect([process.frame(start, false), child.frame(start, false)]).toEqual([target, target]);
    child.write(start, 43);
    expect([process.read(start), child.read(start)]).toEqual([42, 43]);
    world.verify();
  });

  it('that is locked in memory moves, and is locked there', () => {
    const range = { start, pageCount: 4 };
    world.run(mlock(world.spaces, process.mm, range, process.access));
    pages.drain();
    pfn = process.frame(start, false);
    expect(pages.canIsolate(pfn, WHENEVER)).toBe(true);
    pages.isolate(pfn);
    const target = newPage();
    expect(migrate(target)).toBe('migrated');
    finish(target);
    pages.drain();
    world.verify();
  });

  it('that somebody else holds is not isolated', () => {
    world.spaces.frames.get(pfn);
    expect(pages.canIsolate(pfn, WHENEVER)).toBe(false);
  });

  it('that somebody takes hold of meanwhile stays, mapped as it was', () => {
    pages.isolate(pfn);
    const target = newPage();
    world.spaces.frames.get(pfn);
    expect(migrate(target)).toBe('again');
    expect(process.read(start)).toBe(42);
    world.spaces.refs.put(pfn);
    pages.putback(pfn);
    world.memory.allocator.putPage(target);
    world.verify();
  });

  it('that goes away while it is isolated is freed by whoever has it', () => {
    pages.isolate(pfn);
    expect(pages.isForgotten(pfn)).toBe(false);
    world.run(munmap(world.spaces, process.mm, start, 4));
    expect(pages.isForgotten(pfn)).toBe(true);
    pages.release(pfn);
    expect(world.spaces.frames.refcount(pfn)).toBe(0);
    world.verify();
  });

  it('makes its users wait while it is on its way', () => {
    pages.isolate(pfn);
    world.spaces.waits.tryLock(pfn);
    pages.unmap(pfn);
    expect(process.access.tryFrame(start, false)).toBe(-1);
    const seen: number[] = [];
    const task = world.scheduler.spawn(
      'reader',
      (function* () {
        seen.push(yield* process.access.frame(start, false));
      })(),
    );
    world.settle();
    expect(task.waitingAt).toBe('page lock');
    const target = newPage();
    world.spaces.waits.tryLock(target);
    expect(pages.move(pfn, target)).toBe(MOVE.done);
    pages.addToLru(target, true);
    pages.remap(pfn, target);
    pages.unlock(target);
    pages.unlock(pfn);
    finish(target);
    world.settle();
    expect(seen).toEqual([target]);
    world.verify();
  });
});

describe('locks and write-back', () => {
  it('a locked page is tried again, or waited for', () => {
    pages.isolate(pfn);
    const target = newPage();
    world.spaces.waits.tryLock(pfn);
    expect(migrate(target, false)).toBe('again');
    expect(migrate(target, true)).toBe('lockOld');
    world.spaces.waits.unlock(pfn);
    pages.putback(pfn);
  });

  it.each([
    ['fails where nothing is waited for', MIGRATE_MODE.async, false, 'failed'],
    ['fails in sync-light mode', MIGRATE_MODE.syncLight, true, 'failed'],
    ['is tried again at first', MIGRATE_MODE.sync, false, 'again'],
    ['is waited for in the end', MIGRATE_MODE.sync, true, 'written'],
  ])('a page that is being written %s', (_what, mode, mayWait, expected) => {
    pages.isolate(pfn);
    world.spaces.frames.set(pfn, PG_WRITEBACK);
    expect(migrate(newPage(), mayWait, mode)).toBe(expected);
  });

  it('asynchronous compaction does not isolate what is being written', () => {
    world.spaces.frames.set(pfn, PG_WRITEBACK);
    expect(pages.canIsolate(pfn, { async: true, mayEnterFs: true })).toBe(false);
    expect(pages.canIsolate(pfn, WHENEVER)).toBe(true);
  });
});

describe('a page of a file', () => {
  it.each(['disk', 'tmpfs'] as const)('of %s moves, mapped or not', (kind) => {
    const file = world.spaces.files.create(kind);
    file.uses = 1;
    for (const index of [0, 1]) {
      world.run(writeFile(world.spaces, file, { index, tag: 7 + index }));
    }
    const mapping = { pageCount: 2, file, shared: true };
    const at = world.run(mmap(world.spaces, process.mm, mapping));
    expect(process.read(at)).toBe(7);
    pages.drain();
    for (const index of [0, 1]) {
      pfn = file.page(index);
      expect(pages.canIsolate(pfn, WHENEVER)).toBe(true);
      expect(pages.canIsolate(pfn, { async: false, mayEnterFs: false })).toBe(false);
      pages.isolate(pfn);
      const target = newPage();
      expect(migrate(target)).toBe('migrated');
      finish(target);
      expect(file.page(index)).toBe(target);
      expect(world.run(readFile(world.spaces, file, index))).toBe(7 + index);
      expect(process.read(at + index)).toBe(7 + index);
    }
    pages.drain();
    world.verify();
    world.run(fsync(world.spaces, file));
    world.verify();
  });
});

describe('what is isolated', () => {
  it('is too much when it is more than half of what is left on the lists', () => {
    const start = world.run(mmap(world.spaces, process.mm, { pageCount: 200, huge: 'no' }));
    for (let page = 0; page < 200; page++) process.write(start + page, 1);
    pages.drain();
    const before = world.vmstat.nr_inactive_anon;
    const isolated: number[] = [];
    while (!pages.tooManyIsolated()) {
      pfn = process.frame(start + isolated.length, false);
      pages.isolate(pfn);
      isolated.push(pfn);
    }
    expect(isolated).toHaveLength(Math.floor(before / 3) + 1);
    for (const frame of isolated) pages.putback(frame);
    expect(pages.tooManyIsolated()).toBe(false);
    world.verify();
  });
});
