import { beforeEach, describe, expect, it } from 'vitest';
import type { BalloonDevInfo } from '../../../../guest/mm/balloon/balloon-dev-info.ts';
import { BalloonPages } from '../../../../guest/mm/balloon/balloon-pages.ts';
import { MIGRATEPAGE } from '../../../../guest/mm/balloon/generations.ts';
import { balloonPageMigrate2012 } from '../../../../guest/mm/balloon/migrate-procedure-2012.ts';
import {
  balloonPageDevice,
  balloonPageMovable,
} from '../../../../guest/mm/balloon/page-mapping.ts';
import { balloonPageDequeue } from '../../../../guest/mm/balloon/procedures.ts';
import {
  balloonPageIsolate2012,
  balloonPagePutback2012,
} from '../../../../guest/mm/balloon/procedures-2012.ts';
import { GuestMemory } from '../../../../guest/mm/memory.ts';
import { PAGE_STATE } from '../../../../guest/mm/page/page-lifecycle.ts';
import { MIB } from '../../../../shared/lib/units.ts';
import { FakeDriver } from './fake-driver.ts';
import { pagesOf } from './pages-of.ts';

/** What the 2012 postings do that Linux 6.1 does otherwise. */
let memory: GuestMemory;
let driver: FakeDriver;
let book: BalloonDevInfo;
/** A page of the balloon, neither the first nor the last of its list. */
let pfn: number;

beforeEach(() => {
  memory = GuestMemory.boot({ memoryBytes: 64 * MIB, balloonCompaction: 'v2012' });
  driver = new FakeDriver();
  book = memory.newBalloon({ adjustManagedPageCount: true, migration: driver });
  const pages = [0, 1, 2].map(() => memory.allocator.allocBalloonPage());
  for (const page of pages) book.enqueue(page);
  pfn = pages[1];
});

/** Everything of the list above `page` goes, so that it is the first, and then itself. */
function deflate(page: number): void {
  for (let got = -1; got !== page; ) {
    got = book.dequeue();
    if (got !== page) book.releaseEach(Int32Array.of(got));
  }
}

function isolation(page = pfn): { step(): string; run(): string } {
  const frame = balloonPageIsolate2012.newFrame(page);
  return {
    step: () => balloonPageIsolate2012.step(frame, memory.balloons),
    run: () => balloonPageIsolate2012.run(frame, memory.balloons),
  };
}

/** Steps of a migration of `pfn`, which is isolated for it. */
function migration(newPfn: number): { stepTo(state: string): void; readonly stands: string } {
  expect(pagesOf(memory).isolate(pfn)).toBe(true);
  const frame = balloonPageMigrate2012.newFrame(pfn, newPfn, 0);
  const stands = (): string => balloonPageMigrate2012.stateName(frame);
  return {
    stepTo: (state) => {
      while (stands() !== state) {
        expect(balloonPageMigrate2012.step(frame, memory.balloons)).not.toBe('waiting');
      }
    },
    get stands() {
      return stands();
    },
  };
}

const refcount = (page: number): number => memory.pages.refcount(page);
const stateOf = (page: number): number => memory.pages.states.stateOf(page);
const movable = (page: number): boolean => balloonPageMovable(memory.pages, page);

describe('page->mapping, which nothing stores', () => {
  it('is that of the book from insert to delete, isolated or not', () => {
    const { balloons } = memory;
    const newPfn = memory.allocator.allocBalloonPage();
    expect([balloonPageDevice(balloons, pfn), balloonPageDevice(balloons, newPfn)]).toEqual([
      book,
      undefined,
    ]);
    const steps = migration(newPfn);
    steps.stepTo('insert');
    expect([movable(pfn), movable(newPfn)]).toEqual([true, false]);
    steps.stepTo('remove');
    expect(balloonPageDevice(balloons, pfn)).toBe(book);
    expect(balloonPageDevice(balloons, newPfn)).toBe(book);
    steps.stepTo('tellDeflate');
    expect([movable(pfn), movable(newPfn)]).toEqual([false, true]);
  });

  it('is not a balloon’s on pages of others', () => {
    const held = memory.allocator.allocBalloonPage();
    const { startPfn, endPfn } = memory.allocator.zones[1];
    for (const other of [held, 0, startPfn, endPfn - 1]) expect(movable(other)).toBe(false);
  });
});

describe('balloon_page_movable may be wrong, and isolation under the page lock is not', () => {
  it('a page that is freed behind the look has no reference to be had', () => {
    const walk = isolation();
    walk.step();
    deflate(pfn);
    book.releaseEach(Int32Array.of(pfn));
    expect(walk.run()).toBe('refused');
    expect([refcount(pfn), stateOf(pfn)]).toEqual([0, PAGE_STATE.pcp]);
  });

  it('a page that is somebody else’s behind the look is pinned, refused and let go', () => {
    const walk = isolation();
    walk.step();
    deflate(pfn);
    book.releaseEach(Int32Array.of(pfn));
    expect(memory.allocator.allocBalloonPage()).toBe(pfn);
    expect(walk.run()).toBe('refused');
    expect([refcount(pfn), stateOf(pfn)]).toEqual([1, PAGE_STATE.allocated]);
    expect(memory.pages.tryLock(pfn)).toBe(true);
  });

  it('a page that is deflated behind the look is refused for its mapping', () => {
    const walk = isolation();
    walk.step();
    deflate(pfn);
    expect(walk.run()).toBe('refused');
    expect(refcount(pfn)).toBe(1);
    book.releaseEach(Int32Array.of(pfn));
    expect(memory.verify()).toEqual([]);
  });

  it('an isolated page looks movable and is refused for its reference count', () => {
    pagesOf(memory).isolate(pfn);
    expect(movable(pfn)).toBe(true);
    expect(isolation().run()).toBe('refused');
    expect([refcount(pfn), book.isolatedPages]).toEqual([2, 1]);
  });

  it('a page on the list that anybody else has a reference of is refused as well', () => {
    memory.pages.getUnlessZero(pfn);
    expect(movable(pfn)).toBe(true);
    expect(isolation().run()).toBe('refused');
    expect([refcount(pfn), book.isolatedPages]).toEqual([2, 0]);
    memory.allocator.putPage(pfn);
    expect(isolation().run()).toBe('isolated');
  });

  it('both pages of a migration under way look movable and are locked', () => {
    const newPfn = memory.allocator.allocBalloonPage();
    migration(newPfn).stepTo('remove');
    expect([movable(pfn), movable(newPfn)]).toEqual([true, true]);
    expect([isolation(pfn).run(), isolation(newPfn).run()]).toEqual(['refused', 'refused']);
    expect([refcount(pfn), refcount(newPfn)]).toEqual([2, 1]);
  });

  it('a free page and one of others are not even pinned', () => {
    const held = memory.allocator.allocBalloonPage();
    expect(isolation(held).run()).toBe('refused');
    expect(isolation(memory.allocator.zones[1].endPfn - 1).run()).toBe('refused');
    expect(refcount(held)).toBe(1);
  });
});

describe('MIGRATEPAGE_BALLOON_SUCCESS', () => {
  it('leaves the old page to the caller, with both references, and nothing of the new', () => {
    const pages = new BalloonPages(memory.balloons);
    const newPfn = memory.allocator.allocBalloonPage();
    expect(pages.isolate(pfn)).toBe(true);
    const result = pages.migrate(pfn, newPfn, false).next();
    expect(result).toEqual({ done: true, value: MIGRATEPAGE.balloonSuccess });
    expect([refcount(pfn), refcount(newPfn)]).toEqual([2, 1]);
    expect(driver.told).toEqual([`inflate ${newPfn}`, `deflate ${pfn}`]);
    pages.release(pfn);
    expect([refcount(pfn), stateOf(pfn)]).toEqual([0, PAGE_STATE.pcp]);
    expect(memory.verify()).toEqual([]);
  });

  it('R: the new page may be deflated before the caller is done, and neither page leaks', () => {
    const newPfn = memory.allocator.allocBalloonPage();
    const steps = migration(newPfn);
    steps.stepTo('unlockOld');
    expect(book.dequeue()).toBe(newPfn);
    book.releaseEach(Int32Array.of(newPfn));
    expect(stateOf(newPfn)).toBe(PAGE_STATE.pcp);
    steps.stepTo('migrated');
    new BalloonPages(memory.balloons).release(pfn);
    expect([stateOf(pfn), stateOf(newPfn)]).toEqual([PAGE_STATE.pcp, PAGE_STATE.pcp]);
    expect(memory.verify()).toEqual([]);
  });

  it('R: who has the old page pinned meanwhile frees it instead', () => {
    const newPfn = memory.allocator.allocBalloonPage();
    const steps = migration(newPfn);
    const walk = isolation();
    walk.step();
    walk.step();
    steps.stepTo('migrated');
    new BalloonPages(memory.balloons).release(pfn);
    expect([refcount(pfn), stateOf(pfn)]).toEqual([1, PAGE_STATE.allocated]);
    expect(walk.run()).toBe('refused');
    expect([refcount(pfn), stateOf(pfn)]).toEqual([0, PAGE_STATE.pcp]);
  });

  it('is not what a page without a balloon’s mapping comes to: both locks are released', () => {
    const [held, newPfn] = [0, 1].map(() => memory.allocator.allocBalloonPage());
    const frame = balloonPageMigrate2012.newFrame(held, newPfn, 0);
    expect(balloonPageMigrate2012.run(frame, memory.balloons)).toBe('again');
    expect([memory.pages.tryLock(held), memory.pages.tryLock(newPfn)]).toEqual([true, true]);
    expect([refcount(held), refcount(newPfn)]).toEqual([1, 1]);
  });
});

describe('what the postings take for bugs', () => {
  it('a new page that somebody has locked', () => {
    const newPfn = memory.allocator.allocBalloonPage();
    memory.pages.tryLock(newPfn);
    const steps = migration(newPfn);
    expect(() => steps.stepTo('migrated')).toThrow('a page to migrate to is locked');
  });

  it('a page to put back that is in no balloon', () => {
    const held = memory.allocator.allocBalloonPage();
    const frame = balloonPagePutback2012.newFrame(held);
    expect(() => balloonPagePutback2012.run(frame, memory.balloons)).toThrow(
      'a page put back has lost its mapping',
    );
  });
});

describe('dequeue, whose walk has come to a page before it is isolated', () => {
  it('R: passes it over; to delete it without another look, as posted, would be wrong', () => {
    const walked = [...book.pfns()];
    expect(walked).toContain(pfn);
    expect(isolation().run()).toBe('isolated');
    const frame = balloonPageDequeue.newFrame(pfn);
    expect(balloonPageDequeue.run(frame, memory.balloons)).toBe('skipped');
    expect(memory.pages.tryLock(pfn)).toBe(true);
    expect(() => book.deletePage(pfn)).toThrow('population step is illegal');
  });
});

describe('COMPACTBALLOON events', () => {
  it('count pages isolated, returned, migrated and released', () => {
    const { compactBalloon } = memory.balloons;
    const pages = new BalloonPages(memory.balloons);
    pages.isolate(pfn);
    expect(compactBalloon.isolatedPages).toBe(1);
    pages.putback(pfn);
    expect([...book.pfns()].at(-1)).toBe(pfn);
    expect(compactBalloon).toEqual({
      compact_balloon_isolated: 1,
      compact_balloon_migrated: 0,
      compact_balloon_released: 0,
      compact_balloon_returned: 1,
    });
    pages.isolate(pfn);
    pages.migrate(pfn, memory.allocator.allocBalloonPage(), false).next();
    expect([compactBalloon.compact_balloon_migrated, compactBalloon.isolatedPages]).toEqual([1, 1]);
    pages.release(pfn);
    expect(compactBalloon).toMatchObject({ compact_balloon_isolated: 2 });
    expect(compactBalloon).toMatchObject({ compact_balloon_released: 1 });
    expect(compactBalloon.isolatedPages).toBe(0);
  });

  it('count no page that was refused, and none of a migration to be tried again', () => {
    const pages = new BalloonPages(memory.balloons);
    pages.isolate(pfn);
    pages.isolate(pfn);
    driver.locked = true;
    const newPfn = memory.allocator.allocBalloonPage();
    expect(pages.migrate(pfn, newPfn, false).next().value).toBe(MIGRATEPAGE.again);
    expect(memory.balloons.vmstat()).toMatchObject({
      compact_balloon_isolated: 1,
      compact_balloon_migrated: 0,
      compact_balloon_released: 0,
      balloon_migrate: 0,
    });
  });
});
