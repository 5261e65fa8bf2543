import { setup } from 'xstate';
import { fail } from '../../../shared/lib/assert.ts';
import { type Frame, procedure, WAIT, YES_NO } from '../../../shared/lifecycle/procedure.ts';
import type { BalloonMigration, BalloonWorld } from './book.ts';

/**
 * Migration of one isolated balloon page as a stepped procedure: what unmap_and_move does with a
 * page that has movable operations, with virtballoon_migratepage (3.9 of the facts) in its middle.
 * Slot 1 of the frame is the isolated page, slot 2 a free page that nobody else knows, slot 3 is 1
 * where the task may wait for the page lock. Whoever ran it to `migrated` owns one reference of
 * either page and drops both, the new page's first; after `again` nothing has changed.
 */

const OLD = 1;
const NEW = 2;
const MAY_WAIT = 3;
const { yes, no } = YES_NO;

const migrateMachine = setup({}).createMachine({
  id: 'balloon_page_migrate',
  initial: 'lockOld',
  states: {
    lockOld: { on: { yes: 'lockNew', no: 'again' } },
    lockNew: { on: { yes: 'lockBalloon', no: 'unlockOld' } },
    lockBalloon: { on: { yes: 'insert', no: 'unlockBoth' } },
    insert: { on: { yes: 'tellInflate' } },
    tellInflate: { on: { yes: 'ackInflate' } },
    ackInflate: { on: { yes: 'remove' } },
    remove: { on: { yes: 'tellDeflate' } },
    tellDeflate: { on: { yes: 'ackDeflate' } },
    ackDeflate: { on: { yes: 'unlockBalloon' } },
    unlockBalloon: { on: { yes: 'put' } },
    put: { on: { yes: 'unlock' } },
    unlock: { on: { yes: 'migrated' } },
    unlockBoth: { on: { yes: 'again' } },
    unlockOld: { on: { yes: 'again' } },
    migrated: { type: 'final' },
    again: { type: 'final' },
  },
});

/** The driver of the book that the old or, once it has left, the new page is in. */
function migrationOf(world: BalloonWorld, pfn: number): BalloonMigration {
  const { migration } = world.bookOf(pfn);
  return migration ?? fail('only a driver that can migrate has pages isolated');
}

function unlockPages(frame: Frame, world: BalloonWorld): 0 {
  world.pages.unlock(frame[NEW]);
  world.pages.unlock(frame[OLD]);
  return yes;
}

export const balloonPageMigrate = procedure(migrateMachine, YES_NO, {
  /** Atomic by itself: trylock_page, or lock_page where the task may wait. */
  lockOld: (frame, world: BalloonWorld) => {
    if (world.pages.tryLock(frame[OLD])) return yes;
    return frame[MAY_WAIT] === 1 ? WAIT : no;
  },
  /** Atomic by itself: trylock_page on a page that nobody else should know. */
  lockNew: (frame, world) => (world.pages.tryLock(frame[NEW]) ? yes : no),
  /** Atomic by itself. A batch that is under way is not waited for: it may wait for this page. */
  lockBalloon: (frame, world) => (migrationOf(world, frame[OLD]).tryLock() ? yes : no),
  /** Both page locks, balloon_lock and pages_lock; the new page gets the balloon's reference. */
  insert: (frame, world) => {
    if (!world.pages.getUnlessZero(frame[NEW])) fail('a page to migrate to has a reference');
    world.bookOf(frame[OLD]).replacePage(frame[OLD], frame[NEW]);
    return yes;
  },
  /** balloon_lock. */
  tellInflate: (frame, world) => {
    migrationOf(world, frame[NEW]).tellInflate(frame[NEW]);
    return yes;
  },
  /** balloon_lock. Waits: the host has to know the new page before the old one leaves (I4). */
  ackInflate: (frame, world) => (migrationOf(world, frame[NEW]).inflateAcked() ? yes : WAIT),
  /** Both page locks, balloon_lock and pages_lock: balloon_page_delete. */
  remove: (frame, world) => {
    world.bookOf(frame[OLD]).deletePage(frame[OLD]);
    return yes;
  },
  /** balloon_lock. */
  tellDeflate: (frame, world) => {
    migrationOf(world, frame[NEW]).tellDeflate(frame[OLD]);
    return yes;
  },
  /** balloon_lock. Waits: what the host still counts as ballooned must not be used. */
  ackDeflate: (frame, world) => (migrationOf(world, frame[NEW]).deflateAcked() ? yes : WAIT),
  unlockBalloon: (frame, world) => {
    migrationOf(world, frame[NEW]).unlock();
    return yes;
  },
  /** Atomic by itself: the balloon's reference of the old page. */
  put: (frame, world) => {
    world.allocator.putPage(frame[OLD]);
    return yes;
  },
  unlock: (frame, world) => unlockPages(frame, world),
  unlockBoth: (frame, world) => unlockPages(frame, world),
  unlockOld: (frame, world) => {
    world.pages.unlock(frame[OLD]);
    return yes;
  },
});
