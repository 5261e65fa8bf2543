import { beforeEach, describe, expect, it } from 'vitest';
import type { BalloonDevInfo } from '../../../../guest/mm/balloon/balloon-dev-info.ts';
import { BalloonPages } from '../../../../guest/mm/balloon/balloon-pages.ts';
import { balloonDevinfoFree } from '../../../../guest/mm/balloon/devinfo-holder.ts';
import { BALLOON_GENERATIONS, MIGRATEPAGE } from '../../../../guest/mm/balloon/generations.ts';
import { GuestMemory } from '../../../../guest/mm/memory.ts';
import { MIB } from '../../../../shared/lib/units.ts';
import { FakeDriver } from './fake-driver.ts';

for (const balloonCompaction of ['movable', 'v2012'] as const) {
  describe(`two balloon devices, ${balloonCompaction}`, () => {
    let memory: GuestMemory;
    let pages: BalloonPages;
    let drivers: readonly FakeDriver[];
    let books: readonly BalloonDevInfo[];
    /** Pages of either balloon, oldest first; their frames alternate. */
    let lists: readonly [number[], number[]];

    beforeEach(() => {
      memory = GuestMemory.boot({ memoryBytes: 64 * MIB, balloonCompaction });
      pages = new BalloonPages(memory.balloons);
      drivers = [new FakeDriver(), new FakeDriver()];
      books = drivers.map((migration, index) => {
        return memory.newBalloon({ adjustManagedPageCount: index === 0, migration });
      });
      lists = [[], []];
      for (let page = 0; page < 8; page++) {
        const pfn = memory.allocator.allocBalloonPage();
        books[page % 2].enqueue(pfn);
        lists[page % 2].push(pfn);
      }
    });

    const listed = (): number[][] => books.map((book) => [...book.pfns()]);
    const isolated = (): number[] => books.map((book) => book.isolatedPages);

    /** What unmap_and_move does with one isolated page. */
    function migrate(oldPfn: number): number {
      const newPfn = memory.allocator.allocBalloonPage();
      const { value } = pages.migrate(oldPfn, newPfn, false).next();
      if (value === MIGRATEPAGE.balloonSuccess) {
        pages.release(oldPfn);
      } else {
        expect(value).toBe(MIGRATEPAGE.success);
        memory.allocator.putPage(newPfn);
        pages.free(oldPfn);
      }
      return newPfn;
    }

    it('each has its own list, and counts its own pages', () => {
      expect(listed()).toEqual(lists);
      expect(memory.balloons.bound()).toEqual(books);
      expect(memory.balloons.adjustedPages).toBe(4);
      expect(memory.verify()).toEqual([]);
    });

    it('isolation and putback find the book that a page is in', () => {
      expect([pages.isolate(lists[0][1]), pages.isolate(lists[1][2])]).toEqual([true, true]);
      expect(pages.isolate(lists[1][0])).toBe(true);
      expect(isolated()).toEqual([1, 2]);
      pages.putback(lists[1][2]);
      expect(isolated()).toEqual([1, 1]);
      expect([...books[1].pfns()]).toEqual([lists[1][1], lists[1][3], lists[1][2]]);
      expect(memory.verify()).toEqual([]);
    });

    it('a page migrates through the driver of its own device', () => {
      const old = lists[1][1];
      pages.isolate(old);
      const newPfn = migrate(old);
      expect(drivers[0].told).toEqual([]);
      expect(drivers[1].told).toEqual([`inflate ${newPfn}`, `deflate ${old}`]);
      expect(listed()[0]).toEqual(lists[0]);
      expect(books[1].dequeue()).toBe(newPfn);
      expect(isolated()).toEqual([0, 0]);
    });

    it('a batch under way on one device holds no page of the other', () => {
      drivers[0].locked = true;
      pages.isolate(lists[0][0]);
      pages.isolate(lists[1][0]);
      const refused = memory.allocator.allocBalloonPage();
      expect(pages.migrate(lists[0][0], refused, false).next().value).toBe(MIGRATEPAGE.again);
      migrate(lists[1][0]);
      expect(isolated()).toEqual([1, 0]);
      pages.putback(lists[0][0]);
      memory.allocator.putPage(refused);
      expect(memory.verify()).toEqual([]);
    });

    it('one that is removed leaves the other as it was', () => {
      const holder = { vbDevInfo: books[0] as BalloonDevInfo | undefined };
      pages.isolate(lists[1][3]);
      while (books[0].length > 0) books[0].releaseEach(Int32Array.of(books[0].dequeue()));
      balloonDevinfoFree(holder);
      expect(holder.vbDevInfo).toBeUndefined();
      expect(memory.balloons.bound()).toEqual([books[1]]);
      expect(memory.balloons.adjustedPages).toBe(0);
      expect([books[1].length, books[1].isolatedPages]).toEqual([3, 1]);
      migrate(lists[1][3]);
      expect(books[1].length).toBe(4);
      expect(memory.verify()).toEqual([]);
    });

    it('one that comes back has an empty list of its own', () => {
      while (books[0].length > 0) books[0].releaseEach(Int32Array.of(books[0].dequeue()));
      const next = memory.newBalloon({ adjustManagedPageCount: true });
      expect([...next.pfns()]).toEqual([]);
      const pfn = memory.allocator.allocBalloonPage();
      next.enqueue(pfn);
      expect([[...next.pfns()], [...books[1].pfns()]]).toEqual([[pfn], lists[1]]);
      expect(memory.verify()).toEqual([]);
    });

    it('R: a page of one is isolated while another of the other is on its way', () => {
      const { isolate, migrate: move } = BALLOON_GENERATIONS[balloonCompaction];
      for (let before = 0; before < move.table.stateNames.length; before++) {
        const [mine, theirs] = [lists[0][0], lists[1][0]];
        expect(pages.isolate(mine)).toBe(true);
        const newPfn = memory.allocator.allocBalloonPage();
        const frame = move.newFrame(mine, newPfn, 0);
        for (let step = 0; step < before; step++) move.step(frame, memory.balloons);
        expect(isolate.run(isolate.newFrame(theirs), memory.balloons)).toBe('isolated');
        expect(books[1].isolatedPages).toBe(1);
        pages.putback(theirs);
        expect(move.run(frame, memory.balloons)).toBe('migrated');
        expect([books[0].length, books[1].length]).toEqual([4, 4]);
        lists[0][0] = newPfn;
        if (balloonCompaction === 'v2012') {
          pages.release(mine);
        } else {
          memory.allocator.putPage(newPfn);
          pages.free(mine);
        }
      }
      expect(memory.verify()).toEqual([]);
    });
  });
}
