import { setup } from 'xstate';
import { fail } from '../../../shared/lib/assert.ts';
import { procedure, YES_NO } from '../../../shared/lifecycle/procedure.ts';
import type { BalloonWorld } from './book.ts';
import { migrateEffects, migrationOf, NEW, OLD, unlockPages } from './migrate-effects.ts';

/**
 * Migration of one isolated balloon page as a stepped procedure: what unmap_and_move does with a
 * page that has movable operations, with virtballoon_migratepage (3.9 of the facts) in its middle.
 * Slot 1 of the frame is the isolated page, slot 2 a free page that nobody else knows, slot 3 is 1
 * where the task may wait for the page lock. Whoever ran it to `migrated` owns one reference of
 * either page and drops both, the new page's first; after `again` nothing has changed.
 */

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

type M = typeof migrateMachine;

export const balloonPageMigrate = procedure<M, typeof YES_NO, BalloonWorld>(
  migrateMachine,
  YES_NO,
  {
    ...migrateEffects,
    /** Atomic by itself: trylock_page on a page that nobody else should know. */
    lockNew: (frame, world) => (world.pages.tryLock(frame[NEW]) ? yes : no),
    /** Both page locks, balloon_lock and pages_lock; the new page gets the balloon's reference. */
    insert: (frame, world) => {
      if (!world.pages.getUnlessZero(frame[NEW])) fail('a page to migrate to has a reference');
      world.bookOf(frame[OLD]).replacePage(frame[OLD], frame[NEW]);
      return yes;
    },
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
  },
);
