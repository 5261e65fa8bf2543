import { setup } from 'xstate';
import { fail } from '../../../shared/lib/assert.ts';
import { procedure, YES_NO } from '../../../shared/lifecycle/procedure.ts';
import { migrateEffects, migrationOf, NEW, OLD, unlockPages } from './migrate-effects.ts';
import { isMovableBalloonPage } from './page-mapping.ts';
import type { BalloonWorld2012 } from './procedures-2012.ts';

/**
 * Migration of one isolated balloon page in the 2012 postings as a stepped procedure:
 * __unmap_and_move, in it balloon_page_migrate, in it the driver's migratepage (4.1 of the facts).
 * Slot 1 of the frame is the isolated page, slot 2 a free page that nobody else knows, slot 3 is 1
 * where the task may wait for the page lock.
 *
 * `migrated` stands for MIGRATEPAGE_BALLOON_SUCCESS. Then the one reference of the new page is the
 * balloon's and not the caller's any more: the page may be deflated at once. Of the old page the
 * caller owns both references, the isolator's and the one the list had. After `again` (-EAGAIN)
 * nothing has changed.
 */

const { yes, no } = YES_NO;

const migrateMachine = setup({}).createMachine({
  id: 'balloon_page_migrate_2012',
  initial: 'lockOld',
  states: {
    lockOld: { on: { yes: 'lockNew', no: 'again' } },
    lockNew: { on: { yes: 'recheck' } },
    recheck: { on: { yes: 'lockBalloon', no: 'backOff' } },
    lockBalloon: { on: { yes: 'insert', no: 'backOff' } },
    insert: { on: { yes: 'tellInflate' } },
    tellInflate: { on: { yes: 'ackInflate' } },
    ackInflate: { on: { yes: 'remove' } },
    remove: { on: { yes: 'tellDeflate' } },
    tellDeflate: { on: { yes: 'ackDeflate' } },
    ackDeflate: { on: { yes: 'unlockBalloon' } },
    unlockBalloon: { on: { yes: 'unlockNew' } },
    unlockNew: { on: { yes: 'unlockOld' } },
    unlockOld: { on: { yes: 'migrated' } },
    backOff: { on: { yes: 'again' } },
    migrated: { type: 'final' },
    again: { type: 'final' },
  },
});

type M = typeof migrateMachine;

export const balloonPageMigrate2012 = procedure<M, typeof YES_NO, BalloonWorld2012>(
  migrateMachine,
  YES_NO,
  {
    ...migrateEffects,
    /** Atomic by itself. Nobody else knows the page: BUG_ON(!trylock_page(newpage)). */
    lockNew: (frame, world) => {
      if (!world.pages.tryLock(frame[NEW])) fail('a page to migrate to is locked by someone else');
      return yes;
    },
    /** Both page locks. A page without a balloon's mapping is -EAGAIN, with a warning. */
    recheck: (frame, world) => (isMovableBalloonPage(world.pages, frame[OLD]) ? yes : no),
    /** Both page locks, balloon_lock and pages_lock: balloon_page_insert, isolated_pages - 1. */
    insert: (frame, world) => {
      world.bookOf(frame[OLD]).replacePage(frame[OLD], frame[NEW]);
      return yes;
    },
    unlockBalloon: (frame, world) => {
      migrationOf(world, frame[NEW]).unlock();
      world.compactBalloon.compact_balloon_migrated++;
      return yes;
    },
    /** From here on the new page may be deflated. */
    unlockNew: (frame, world) => {
      world.pages.unlock(frame[NEW]);
      return yes;
    },
    unlockOld: (frame, world) => {
      world.pages.unlock(frame[OLD]);
      return yes;
    },
    backOff: (frame, world) => unlockPages(frame, world),
  },
);
