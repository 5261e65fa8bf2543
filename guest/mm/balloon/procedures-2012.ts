import { setup } from 'xstate';
import { fail } from '../../../shared/lib/assert.ts';
import { procedure, WAIT, YES_NO } from '../../../shared/lifecycle/procedure.ts';
import type { BalloonWorld, Book } from './book.ts';
import type { CompactBalloonEvents } from './compact-balloon-events.ts';
import { isolateEffects } from './isolate-effects.ts';
import { balloonPageDevice, balloonPageMovable, isMovableBalloonPage } from './page-mapping.ts';

/**
 * Isolation and putting back of one balloon page as the 2012 postings do it (v11; 4.1 of the
 * facts), as stepped procedures. Slot 1 of the frame is the PFN. Enqueue, dequeue and the final
 * free take the same steps as in Linux 6.1 and are in procedures.ts.
 *
 * Not emulated: the posting's dequeue, which walks the list without pages_lock, does not look again
 * under the page lock. A page isolated between its walk and its trylock_page would leave the book
 * twice; here dequeue looks again, as Linux does since 2014.
 */

const PFN = 1;
const { yes, no } = YES_NO;
const YES = { yes: 0 } as const;

/** What the procedures of 2012 act on. */
export interface BalloonWorld2012 extends BalloonWorld {
  readonly compactBalloon: CompactBalloonEvents;
}

/** The book of a page that is known to be in one: its page lock is held. */
function deviceOf(world: BalloonWorld2012, pfn: number): Book {
  return balloonPageDevice(world, pfn) ?? fail('a balloon page under its lock has a balloon');
}

const isolateMachine = setup({}).createMachine({
  id: 'balloon_page_isolate_2012',
  initial: 'look',
  states: {
    look: { on: { yes: 'pin', no: 'refused' } },
    pin: { on: { yes: 'lock', no: 'refused' } },
    lock: { on: { yes: 'recheck', no: 'unpin' } },
    recheck: { on: { yes: 'count', no: 'unlock' } },
    count: { on: { yes: 'unlink', no: 'unlock' } },
    unlink: { on: { yes: 'release' } },
    release: { on: { yes: 'isolated' } },
    unlock: { on: { yes: 'unpin' } },
    unpin: { on: { yes: 'refused' } },
    isolated: { type: 'final' },
    refused: { type: 'final' },
  },
});

/**
 * balloon_page_movable and balloon_page_isolate. The look comes first and holds nothing, so that
 * the page may be anybody's by the time it is pinned. An isolated page keeps the isolator's
 * reference. Of two isolators that meet, each may see the other's reference and both give up.
 */
export const balloonPageIsolate2012 = procedure<
  typeof isolateMachine,
  typeof YES_NO,
  BalloonWorld2012
>(isolateMachine, YES_NO, {
  ...isolateEffects,
  /** No lock and no reference. */
  look: (frame, world) => (balloonPageMovable(world.pages, frame[PFN]) ? yes : no),
  /** Page lock: its mapping is a balloon's still. */
  recheck: (frame, world) => (isMovableBalloonPage(world.pages, frame[PFN]) ? yes : no),
  /** Page lock: the list's reference and ours. An isolated page has one more. */
  count: (frame, world) => (world.pages.refcount(frame[PFN]) === 2 ? yes : no),
  /** Page lock and pages_lock: __isolate_balloon_page. */
  unlink: (frame, world) => {
    deviceOf(world, frame[PFN]).unlinkPage(frame[PFN]);
    world.compactBalloon.compact_balloon_isolated++;
    return yes;
  },
});

const putbackMachine = setup({}).createMachine({
  id: 'balloon_page_putback_2012',
  initial: 'lock',
  states: {
    lock: { on: { yes: 'recheck' } },
    recheck: { on: { yes: 'relink' } },
    relink: { on: { yes: 'put' } },
    put: { on: { yes: 'unlock' } },
    unlock: { on: { yes: 'done' } },
    done: { type: 'final' },
  },
});

/** balloon_page_putback: the page becomes the first of its list (list_add). */
export const balloonPagePutback2012 = procedure(putbackMachine, YES, {
  /** Waits: lock_page. */
  lock: (frame, world: BalloonWorld2012) => (world.pages.tryLock(frame[PFN]) ? yes : WAIT),
  /** Page lock. Where the posting warns and dumps the page something was lost: a bug. */
  recheck: (frame, world) => {
    if (!isMovableBalloonPage(world.pages, frame[PFN]))
      fail('a page put back has lost its mapping');
    return yes;
  },
  /** Page lock and pages_lock: __putback_balloon_page. */
  relink: (frame, world) => {
    deviceOf(world, frame[PFN]).relinkPage(frame[PFN]);
    world.compactBalloon.compact_balloon_returned++;
    return yes;
  },
  /** Page lock: drops the isolator's reference; the list's is left. */
  put: (frame, world) => {
    world.allocator.putPage(frame[PFN]);
    return yes;
  },
  unlock: (frame, world) => {
    world.pages.unlock(frame[PFN]);
    return yes;
  },
});
