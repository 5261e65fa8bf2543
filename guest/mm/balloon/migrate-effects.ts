import { fail } from '../../../shared/lib/assert.ts';
import { type Frame, WAIT, YES_NO } from '../../../shared/lifecycle/procedure.ts';
import type { BalloonMigration, BalloonWorld } from './book.ts';

/**
 * What both generations of migration do to a balloon page in the same way: the steps of
 * virtballoon_migratepage (3.9 of the facts) once the new page is in the book. Slot 1 of the frame
 * is the isolated page, slot 2 a free page that nobody else knows, slot 3 is 1 where the task may
 * wait for the page lock.
 */
export const OLD = 1;
export const NEW = 2;
const MAY_WAIT = 3;
const { yes, no } = YES_NO;

/** The driver of the book that the old or, once it has left, the new page is in. */
export function migrationOf(world: BalloonWorld, pfn: number): BalloonMigration {
  const { migration } = world.bookOf(pfn);
  return migration ?? fail('only a driver that can migrate has pages isolated');
}

export const migrateEffects = {
  /** Atomic by itself: trylock_page, or lock_page where the task may wait. */
  lockOld: (frame: Frame, world: BalloonWorld) => {
    if (world.pages.tryLock(frame[OLD])) return yes;
    return frame[MAY_WAIT] === 1 ? WAIT : no;
  },
  /** Atomic by itself: mutex_trylock. A batch that is under way is not waited for. */
  lockBalloon: (frame: Frame, world: BalloonWorld) =>
    migrationOf(world, frame[OLD]).tryLock() ? yes : no,
  /** balloon_lock. */
  tellInflate: (frame: Frame, world: BalloonWorld) => {
    migrationOf(world, frame[NEW]).tellInflate(frame[NEW]);
    return yes;
  },
  /** balloon_lock. Waits: the host has to know the new page before the old one leaves (I4). */
  ackInflate: (frame: Frame, world: BalloonWorld) =>
    migrationOf(world, frame[NEW]).inflateAcked() ? yes : WAIT,
  /** Both page locks, balloon_lock and pages_lock: balloon_page_delete. */
  remove: (frame: Frame, world: BalloonWorld) => {
    world.bookOf(frame[OLD]).deletePage(frame[OLD]);
    return yes;
  },
  /** balloon_lock. */
  tellDeflate: (frame: Frame, world: BalloonWorld) => {
    migrationOf(world, frame[NEW]).tellDeflate(frame[OLD]);
    return yes;
  },
  /** balloon_lock. Waits: what the host still counts as ballooned must not be used. */
  ackDeflate: (frame: Frame, world: BalloonWorld) =>
    migrationOf(world, frame[NEW]).deflateAcked() ? yes : WAIT,
} as const;

/** Gives both page locks back. */
export function unlockPages(frame: Frame, world: BalloonWorld): 0 {
  world.pages.unlock(frame[NEW]);
  world.pages.unlock(frame[OLD]);
  return yes;
}
