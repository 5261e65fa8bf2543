import type { Frame } from '../../../shared/lifecycle/procedure.ts';
import { YES_NO } from '../../../shared/lifecycle/procedure.ts';
import type { BalloonWorld } from './book.ts';

/**
 * What both generations of isolation do to a page in the same way: how it is pinned, locked and let
 * go of. What they look at in between is their own. Slot 1 of the frame is the PFN.
 */
const PFN = 1;
const { yes, no } = YES_NO;

export const isolateEffects = {
  /** Atomic by itself: get_page_unless_zero. */
  pin: (frame: Frame, world: BalloonWorld) => (world.pages.getUnlessZero(frame[PFN]) ? yes : no),
  /** Atomic by itself: trylock_page. Held by enqueue, dequeue, migration or another isolation. */
  lock: (frame: Frame, world: BalloonWorld) => (world.pages.tryLock(frame[PFN]) ? yes : no),
  release: (frame: Frame, world: BalloonWorld) => {
    world.pages.unlock(frame[PFN]);
    return yes;
  },
  unlock: (frame: Frame, world: BalloonWorld) => {
    world.pages.unlock(frame[PFN]);
    return yes;
  },
  /** Atomic by itself: put_page, which frees a page that was deflated meanwhile. */
  unpin: (frame: Frame, world: BalloonWorld) => {
    world.allocator.putPage(frame[PFN]);
    return yes;
  },
} as const;
