import { beforeEach, describe, expect, it } from 'vitest';
import { BalloonPages } from '../../../../guest/mm/balloon/balloon-pages.ts';
import type { CompactControl } from '../../../../guest/mm/move/compact-control.ts';
import { FreeScanner } from '../../../../guest/mm/move/free-scanner.ts';
import { PageMigration } from '../../../../guest/mm/move/migrate-pages.ts';
import { MovablePages } from '../../../../guest/mm/move/movable-pages.ts';
import { FIRST } from '../test-zone.ts';
import { MoveWorld } from './move-world.ts';

const TOP = 15_872;
const PAGES = [0, 1, 2, 3].map((at) => FIRST + at);

let world: MoveWorld;
let migration: PageMigration;
let cc: CompactControl;

/** Four isolated pages, the last on top, and eight free pages to move them to. */
beforeEach(() => {
  world = new MoveWorld();
  const { test, lru, balloons, trace } = world;
  const movable = new MovablePages(test.allocator, lru, new BalloonPages(balloons));
  const targets = new FreeScanner(trace);
  migration = new PageMigration({ movable, targets, trace, reason: 'compaction' });
  test.free(FIRST + 5120, 9);
  test.free(TOP, 3);
  cc = world.control();
  cc.freePfn = TOP;
  lru.place(...PAGES);
  for (const pfn of PAGES) lru.isolate(pfn);
  cc.migratePages.set(PAGES);
  cc.nrMigratePages = PAGES.length;
});

function left(count: number): number[] {
  return [...cc.migratePages.subarray(0, count)].reverse();
}

describe('migrate_pages', () => {
  it('moves the page isolated last first, to the highest free page', () => {
    const outcome = world.run(migration.migrate(cc));
    expect(outcome).toEqual({ succeeded: 4, left: 0, noTarget: false });
    expect(world.lru.moved).toEqual([
      [FIRST + 3, TOP + 7],
      [FIRST + 2, TOP + 6],
      [FIRST + 1, TOP + 5],
      [FIRST, TOP + 4],
    ]);
    expect(world.traced.at(-1)).toBe(
      'mm_migrate_pages: nr_succeeded=4 nr_failed=0 nr_thp_succeeded=0 nr_thp_failed=0 ' +
        'nr_thp_split=0 mode=MIGRATE_SYNC reason=compaction',
    );
  });

  it('tries again what is busy, behind the others, and uses the same page for it', () => {
    world.lru.busy.set(FIRST + 3, 1);
    world.run(migration.migrate(cc));
    expect(world.lru.moved).toEqual([
      [FIRST + 2, TOP + 7],
      [FIRST + 1, TOP + 6],
      [FIRST, TOP + 5],
      [FIRST + 3, TOP + 4],
    ]);
  });

  it('gives up after ten passes', () => {
    world.lru.busy.set(FIRST + 1, 9);
    world.lru.busy.set(FIRST + 2, 10);
    const outcome = world.run(migration.migrate(cc));
    expect(outcome).toEqual({ succeeded: 3, left: 1, noTarget: false });
    expect(left(1)).toEqual([FIRST + 2]);
    expect(migration.takeCounts()).toMatchObject({ succeeded: 3, failed: 1 });
    expect(migration.takeCounts()).toMatchObject({ succeeded: 0, failed: 0 });
  });

  it('does not try again what can never be moved; it is put back first', () => {
    world.lru.stuck.add(FIRST + 1);
    world.lru.busy.set(FIRST + 3, Number.POSITIVE_INFINITY);
    const outcome = world.run(migration.migrate(cc));
    expect(outcome).toEqual({ succeeded: 2, left: 2, noTarget: false });
    expect(left(2)).toEqual([FIRST + 1, FIRST + 3]);
  });

  it('stops where there is nothing to move to: what was not tried counts as not failed', () => {
    cc.nrFreePages = 0;
    cc.freePfn = FIRST;
    const outcome = world.run(migration.migrate(cc));
    expect(outcome).toEqual({ succeeded: 0, left: 4, noTarget: true });
    expect(left(4)).toEqual([...PAGES].reverse());
    expect(migration.takeCounts()).toMatchObject({ succeeded: 0, failed: 1 });
  });

  it('takes the page lock from its fourth pass on, where it may wait', () => {
    const { pages } = world.test;
    expect(pages.tryLock(FIRST)).toBe(true);
    const running = migration.migrate(cc);
    // It waits for a page of the LRU for a while at a time.
    expect(running.next()).toEqual({ done: false, value: 1 });
    expect(world.lru.moved).toHaveLength(3);
    pages.unlock(FIRST);
    expect(running.next().done).toBe(true);
    expect(world.lru.moved).toHaveLength(4);
  });

  it('never waits for it on behalf of a task that reclaims', () => {
    world.test.pages.tryLock(FIRST);
    const { freePfn, migratePfn } = cc;
    cc = world.control({ direct: true });
    Object.assign(cc, { freePfn, migratePfn, nrMigratePages: 4 });
    cc.migratePages.set(PAGES);
    const outcome = world.run(migration.migrate(cc));
    expect([outcome.succeeded, left(1)]).toEqual([3, [FIRST]]);
  });
});
