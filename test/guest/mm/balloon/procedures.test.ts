import { describe, expect, it } from 'vitest';
import type { BalloonDevInfo } from '../../../../guest/mm/balloon/balloon-dev-info.ts';
import type { Balloons } from '../../../../guest/mm/balloon/balloons.ts';
import {
  balloonPageDequeue,
  balloonPageEnqueue,
  balloonPageIsolate,
  balloonPagePutback,
} from '../../../../guest/mm/balloon/procedures.ts';
import { GuestMemory } from '../../../../guest/mm/memory.ts';
import { PAGE_STATE } from '../../../../guest/mm/page/page-lifecycle.ts';
import { MIB } from '../../../../shared/lib/units.ts';

/** One procedure on its way, whichever it is. */
interface Walker {
  readonly name: string;
  step(): 'waiting' | 'moved' | 'done';
  end(): string;
}

type AnyProcedure =
  | typeof balloonPageIsolate
  | typeof balloonPageDequeue
  | typeof balloonPagePutback;

function walker(procedure: AnyProcedure, pfn: number, world: Balloons): Walker {
  const frame = procedure.newFrame(pfn);
  return {
    name: procedure.id,
    step: () => procedure.step(frame, world),
    end: () => procedure.stateName(frame),
  };
}

interface World {
  readonly memory: GuestMemory;
  readonly book: BalloonDevInfo;
  readonly pfn: number;
}

/** A balloon of two pages; `pfn` is the one that was taken in last. */
function newWorld(): World {
  const memory = GuestMemory.boot({ memoryBytes: 64 * MIB });
  const book = memory.newBalloon({ adjustManagedPageCount: true });
  book.enqueue(memory.allocator.allocBalloonPage());
  const pfn = memory.allocator.allocBalloonPage();
  book.enqueue(pfn);
  return { memory, book, pfn };
}

/**
 * Runs two procedures in every order their steps can take, each order from a new world, and calls
 * `check` with the final states. `choices` is the schedule: which of the two steps at each turn.
 */
function everyOrder(
  start: (world: World) => readonly Walker[],
  check: (world: World, ends: string[]) => void,
): number {
  const schedules: number[][] = [[]];
  let orders = 0;
  for (let schedule = schedules.pop(); schedule !== undefined; schedule = schedules.pop()) {
    const world = newWorld();
    const walkers = start(world);
    const done = walkers.map(() => false);
    let turn = 0;
    while (done.includes(false)) {
      const open = walkers.map((_, index) => index).filter((index) => !done[index]);
      if (turn === schedule.length) {
        for (const other of open.slice(1)) schedules.push([...schedule, other]);
        schedule.push(open[0]);
      }
      const index = schedule[turn++];
      done[index] = walkers[index].step() === 'done';
    }
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
    expect(balloonPageEnqueue.table.stateNames).toEqual(['lock', 'insert', 'unlock', 'enqueued']);
    expect(balloonPageDequeue.table.stateNames).toContain('recheck');
    expect(balloonPageIsolate.table.stateNames.slice(0, 5)).toEqual([
      'pin',
      'look',
      'lock',
      'recheck',
      'unlink',
    ]);
    expect(balloonPagePutback.table.stateNames).toContain('relink');
  });

  it('R: isolation against deflation, in every order: exactly one of them gets the page', () => {
    const seen = new Set<string>();
    const orders = everyOrder(
      ({ memory, pfn }) => [
        walker(balloonPageIsolate, pfn, memory.balloons),
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

  it('R: two isolations, in every order: one wins, the other leaves no trace', () => {
    everyOrder(
      ({ memory, pfn }) => [
        walker(balloonPageIsolate, pfn, memory.balloons),
        walker(balloonPageIsolate, pfn, memory.balloons),
      ],
      ({ memory, book, pfn }, ends) => {
        expect(ends.sort()).toEqual(['isolated', 'refused']);
        expect(book.isolatedPages).toBe(1);
        expect(memory.pages.refcount(pfn)).toBe(2);
        expect(memory.verify()).toEqual([]);
      },
    );
  });

  it('R: a page deflated and put while an isolator has it pinned is freed by the isolator', () => {
    const { memory, book, pfn } = newWorld();
    const isolation = walker(balloonPageIsolate, pfn, memory.balloons);
    isolation.step();
    expect(book.dequeue()).toBe(pfn);
    book.release(pfn);
    expect(memory.pages.states.stateOf(pfn)).toBe(PAGE_STATE.allocated);
    while (isolation.step() !== 'done');
    expect(isolation.end()).toBe('refused');
    expect(memory.pages.states.stateOf(pfn)).toBe(PAGE_STATE.pcp);
    expect(memory.verify()).toEqual([]);
  });

  it('put back waits for the page lock and changes nothing meanwhile', () => {
    const { memory, book, pfn } = newWorld();
    book.isolate(pfn);
    memory.pages.tryLock(pfn);
    const putback = walker(balloonPagePutback, pfn, memory.balloons);
    expect([putback.step(), putback.step()]).toEqual(['waiting', 'waiting']);
    expect(book.isolatedPages).toBe(1);
    memory.pages.unlock(pfn);
    while (putback.step() !== 'done');
    expect([book.length, book.isolatedPages]).toEqual([2, 0]);
    expect(memory.verify()).toEqual([]);
  });
});
