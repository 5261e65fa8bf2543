import { describe, expect, it } from 'vitest';
import type { BalloonDevInfo } from '../../../../guest/mm/balloon/balloon-dev-info.ts';
import type { Balloons } from '../../../../guest/mm/balloon/balloons.ts';
import { BALLOON_GENERATIONS } from '../../../../guest/mm/balloon/generations.ts';
import { balloonPageDequeue, balloonPageEnqueue } from '../../../../guest/mm/balloon/procedures.ts';
import type { BalloonWorld2012 } from '../../../../guest/mm/balloon/procedures-2012.ts';
import { GuestMemory } from '../../../../guest/mm/memory.ts';
import { PAGE_STATE } from '../../../../guest/mm/page/page-lifecycle.ts';
import { MIB } from '../../../../shared/lib/units.ts';
import type { Procedure } from '../../../../shared/lifecycle/procedure.ts';
import { pagesOf } from './pages-of.ts';

/** One procedure on its way, whichever it is. */
interface Walker {
  readonly name: string;
  step(): 'waiting' | 'moved' | 'done';
  end(): string;
}

function walker(procedure: Procedure<BalloonWorld2012>, pfn: number, world: Balloons): Walker {
  const frame = procedure.newFrame(pfn);
  return {
    name: procedure.id,
    step: () => procedure.step(frame, world),
    end: () => procedure.stateName(frame),
  };
}

/** What both generations of balloon compaction promise, each by its own steps. */
for (const balloonCompaction of ['movable', 'v2012'] as const) {
  describe(`the procedures of ${balloonCompaction}`, () => {
    const { isolate, putback } = BALLOON_GENERATIONS[balloonCompaction];

    interface World {
      readonly memory: GuestMemory;
      readonly book: BalloonDevInfo;
      readonly pfn: number;
    }

    /** A balloon of two pages; `pfn` is the one that was taken in last. */
    function newWorld(): World {
      const memory = GuestMemory.boot({ memoryBytes: 64 * MIB, balloonCompaction });
      const book = memory.newBalloon({ adjustManagedPageCount: true });
      book.enqueue(memory.allocator.allocBalloonPage());
      const pfn = memory.allocator.allocBalloonPage();
      book.enqueue(pfn);
      return { memory, book, pfn };
    }

    /**
     * Runs two procedures in every order their steps can take, each order from the world that
     * `begin` gives, and calls `check` with the final states. A schedule says which of the two
     * steps at each turn. Where that one has to wait the schedule does nothing that others do not
     * and is dropped.
     */
    function everyOrder(
      start: (world: World) => readonly Walker[],
      check: (world: World, ends: string[]) => void,
      begin: () => World = newWorld,
    ): number {
      const schedules: number[][] = [[]];
      let orders = 0;
      for (let schedule = schedules.pop(); schedule !== undefined; schedule = schedules.pop()) {
        const world = begin();
        const walkers = start(world);
        const done = walkers.map(() => false);
        let turn = 0;
        let isDropped = false;
        while (done.includes(false) && !isDropped) {
          const open = walkers.map((_, index) => index).filter((index) => !done[index]);
          if (turn === schedule.length) {
            for (const other of open.slice(1)) schedules.push([...schedule, other]);
            schedule.push(open[0]);
          }
          const index = schedule[turn++];
          const outcome = walkers[index].step();
          done[index] = outcome === 'done';
          isDropped = outcome === 'waiting';
        }
        if (isDropped) continue;
        orders++;
        check(
          world,
          walkers.map(({ end }) => end()),
        );
      }
      return orders;
    }

    describe('the stepped procedures of a balloon page', () => {
      it('name their steps', () => {
        expect(balloonPageEnqueue.table.stateNames).toEqual([
          'lock',
          'insert',
          'unlock',
          'enqueued',
        ]);
        expect(balloonPageDequeue.table.stateNames).toContain('recheck');
        const first = { movable: ['pin', 'look', 'lock'], v2012: ['look', 'pin', 'lock'] };
        expect(isolate.table.stateNames.slice(0, 3)).toEqual(first[balloonCompaction]);
        expect(putback.table.stateNames).toContain('relink');
      });

      it('R: isolation against deflation, in every order: exactly one gets the page', () => {
        const seen = new Set<string>();
        const orders = everyOrder(
          ({ memory, pfn }) => [
            walker(isolate, pfn, memory.balloons),
            walker(balloonPageDequeue, pfn, memory.balloons),
          ],
          ({ memory, book, pfn }, ends) => {
            seen.add(ends.join(' '));
            const isolated = ends[0] === 'isolated';
            const dequeued = ends[1] === 'dequeued';
            expect(isolated && dequeued).toBe(false);
            const state = memory.pages.states.stateOf(pfn);
            if (isolated) expect(state).toBe(PAGE_STATE.balloonIsolated);
            else expect(state).toBe(dequeued ? PAGE_STATE.allocated : PAGE_STATE.balloon);
            expect(book.length + book.isolatedPages).toBe(dequeued ? 1 : 2);
            expect(memory.pages.refcount(pfn)).toBe(isolated ? 2 : 1);
            expect(memory.pages.tryLock(pfn)).toBe(true);
          },
        );
        expect(orders).toBeGreaterThan(50);
        expect([...seen].sort()).toEqual(['isolated skipped', 'refused dequeued']);
      });

      it('R: two isolations, in every order: at most one wins, who loses leaves no trace', () => {
        const seen = new Set<string>();
        const world = newWorld();
        everyOrder(
          ({ memory, pfn }) => [
            walker(isolate, pfn, memory.balloons),
            walker(isolate, pfn, memory.balloons),
          ],
          ({ memory, book, pfn }, ends) => {
            seen.add(ends.sort().join(' '));
            const won = ends.includes('isolated') ? 1 : 0;
            expect(book.isolatedPages).toBe(won);
            expect(memory.pages.refcount(pfn)).toBe(1 + won);
            if (won > 0) pagesOf(memory).putback(pfn);
            expect([...book.pfns()].at(-1)).toBe(pfn);
            expect([book.length, memory.pages.refcount(pfn)]).toEqual([2, 1]);
          },
          () => world,
        );
        expect(world.memory.verify()).toEqual([]);
        // By reference count each of two can see the other's; by the page's state one always wins.
        const ends = { movable: [], v2012: ['refused refused'] };
        expect([...seen].sort()).toEqual(['isolated refused', ...ends[balloonCompaction]]);
      });

      it('R: putback against isolation, in every order: isolated again or not', () => {
        const seen = new Set<string>();
        everyOrder(
          ({ memory, pfn }) => {
            expect(pagesOf(memory).isolate(pfn)).toBe(true);
            return [walker(isolate, pfn, memory.balloons), walker(putback, pfn, memory.balloons)];
          },
          ({ memory, book, pfn }, ends) => {
            seen.add(ends.join(' '));
            const again = ends[0] === 'isolated' ? 1 : 0;
            expect([book.length, book.isolatedPages]).toEqual([2 - again, again]);
            expect(memory.pages.refcount(pfn)).toBe(1 + again);
            expect(memory.pages.tryLock(pfn)).toBe(true);
          },
        );
        expect([...seen].sort()).toEqual(['isolated done', 'refused done']);
      });

      it('R: a page deflated and put while an isolator has it pinned is freed by him', () => {
        const { memory, book, pfn } = newWorld();
        const isolation = walker(isolate, pfn, memory.balloons);
        while (memory.pages.refcount(pfn) === 1) isolation.step();
        expect(book.dequeue()).toBe(pfn);
        book.releaseEach(Int32Array.of(pfn));
        expect(memory.pages.states.stateOf(pfn)).toBe(PAGE_STATE.allocated);
        while (isolation.step() !== 'done');
        expect(isolation.end()).toBe('refused');
        expect(memory.pages.states.stateOf(pfn)).toBe(PAGE_STATE.pcp);
        expect(memory.verify()).toEqual([]);
      });

      it('put back waits for the page lock and changes nothing meanwhile', () => {
        const { memory, book, pfn } = newWorld();
        pagesOf(memory).isolate(pfn);
        memory.pages.tryLock(pfn);
        const walk = walker(putback, pfn, memory.balloons);
        expect([walk.step(), walk.step()]).toEqual(['waiting', 'waiting']);
        expect(book.isolatedPages).toBe(1);
        memory.pages.unlock(pfn);
        while (walk.step() !== 'done');
        expect([book.length, book.isolatedPages]).toEqual([2, 0]);
        expect(memory.verify()).toEqual([]);
      });
    });
  });
}
