import { setup } from 'xstate';
import { fail } from '../../../shared/lib/assert.ts';
import { procedure, WAIT, YES_NO } from '../../../shared/lifecycle/procedure.ts';
import { PAGE_STATE } from '../page/page-lifecycle.ts';
import type { BalloonWorld } from './book.ts';
import { isolateEffects } from './isolate-effects.ts';

/**
 * What happens to one balloon page, as stepped procedures: enqueue, dequeue, free, isolate and put
 * back of Linux 6.1 (mm/balloon_compaction.c and the movable-page part of mm/migrate.c; 4.3 of the
 * facts). Each effect names the lock that makes it atomic. Slot 1 of the frame is the PFN.
 */

const PFN = 1;
const { yes, no } = YES_NO;
/** A procedure that cannot be refused has one event. */
const YES = { yes: 0 } as const;

const enqueueMachine = setup({}).createMachine({
  id: 'balloon_page_enqueue',
  initial: 'lock',
  states: {
    lock: { on: { yes: 'insert' } },
    insert: { on: { yes: 'unlock' } },
    unlock: { on: { yes: 'enqueued' } },
    enqueued: { type: 'final' },
  },
});

/** Slot 2 of the frame is the number of the book that takes the page in. */
export const balloonPageEnqueue = procedure(enqueueMachine, YES, {
  /** pages_lock. Nobody else can have a new page: if somebody does, memory is corrupt. */
  lock: (frame, world: BalloonWorld) => {
    if (!world.pages.tryLock(frame[PFN])) fail('a page to enqueue is locked by someone else');
    return yes;
  },
  /** pages_lock and page lock: balloon_page_insert. */
  insert: (frame, world) => {
    world.bookNumbered(frame[2]).insertPage(frame[PFN]);
    return yes;
  },
  /** pages_lock. */
  unlock: (frame, world) => {
    world.pages.unlock(frame[PFN]);
    return yes;
  },
});

/** balloonPageEnqueue as one function. */
export const enqueueBalloonPage = balloonPageEnqueue.inline((step) => (frame, world) => {
  step.lock(frame, world);
  step.insert(frame, world);
  step.unlock(frame, world);
  return 'enqueued';
});

const dequeueMachine = setup({}).createMachine({
  id: 'balloon_page_dequeue',
  initial: 'lock',
  states: {
    lock: { on: { yes: 'recheck', no: 'skipped' } },
    recheck: { on: { yes: 'remove', no: 'giveUp' } },
    remove: { on: { yes: 'unlock' } },
    unlock: { on: { yes: 'dequeued' } },
    giveUp: { on: { yes: 'skipped' } },
    dequeued: { type: 'final' },
    skipped: { type: 'final' },
  },
});

export const balloonPageDequeue = procedure(dequeueMachine, YES_NO, {
  /** pages_lock. A locked page is being migrated: the walk goes on to the next. */
  lock: (frame, world: BalloonWorld) => (world.pages.tryLock(frame[PFN]) ? yes : no),
  /** pages_lock and page lock: not isolated meanwhile. */
  recheck: (frame, world) =>
    world.pages.states.stateOf(frame[PFN]) === PAGE_STATE.balloon ? yes : no,
  /** pages_lock and page lock: balloon_page_delete. */
  remove: (frame, world) => {
    world.bookOf(frame[PFN]).deletePage(frame[PFN]);
    return yes;
  },
  /** pages_lock. */
  unlock: (frame, world) => {
    world.pages.unlock(frame[PFN]);
    return yes;
  },
  /** pages_lock. */
  giveUp: (frame, world) => {
    world.pages.unlock(frame[PFN]);
    return yes;
  },
});

/** balloonPageDequeue as one function. */
export const dequeueBalloonPage = balloonPageDequeue.inline((step) => (frame, world) => {
  if (step.lock(frame, world) === no) return 'skipped';
  if (step.recheck(frame, world) === no) {
    step.giveUp(frame, world);
    return 'skipped';
  }
  step.remove(frame, world);
  step.unlock(frame, world);
  return 'dequeued';
});

const freeMachine = setup({}).createMachine({
  id: 'balloon_page_free',
  initial: 'account',
  states: {
    account: { on: { yes: 'put' } },
    put: { on: { yes: 'free', no: 'kept' } },
    free: { on: { yes: 'freed' } },
    freed: { type: 'final' },
    kept: { type: 'final' },
  },
});

/**
 * Gives a page back that has left its balloon: after deflation (slot 2 of the frame is 1 where it
 * was out of the managed pages) or after another page has taken its place (0).
 */
export const balloonPageFree = procedure(freeMachine, YES_NO, {
  /** managed_page_count_lock. */
  account: (frame, world: BalloonWorld) => {
    if (frame[2] === 1) world.adjustManagedPageCount(frame[PFN], 1);
    return yes;
  },
  /** Atomic by itself: put_page_testzero. Whoever pinned the page meanwhile frees it instead. */
  put: (frame, world) => (world.allocator.putPageTestZero(frame[PFN]) ? yes : no),
  /** The lock of the per-CPU lists. Nobody can get hold of the page any more. */
  free: (frame, world) => {
    world.allocator.freeUnreferenced(frame[PFN]);
    return yes;
  },
});

/**
 * balloonPageFree as one function but for the effect of `free`: who lets go of a batch frees those
 * pages together that ended in `freed`.
 */
export const letGoBalloonPage = procedure<typeof freeMachine, typeof YES_NO, BalloonWorld>(
  freeMachine,
  YES_NO,
  { ...balloonPageFree.effects, free: () => yes },
).inline((step) => (frame, world) => {
  step.account(frame, world);
  if (step.put(frame, world) === no) return 'kept';
  step.free(frame, world);
  return 'freed';
});

const isolateMachine = setup({}).createMachine({
  id: 'balloon_page_isolate',
  initial: 'pin',
  states: {
    pin: { on: { yes: 'look', no: 'refused' } },
    look: { on: { yes: 'lock', no: 'unpin' } },
    lock: { on: { yes: 'recheck', no: 'unpin' } },
    recheck: { on: { yes: 'unlink', no: 'unlock' } },
    unlink: { on: { yes: 'release' } },
    release: { on: { yes: 'isolated' } },
    unlock: { on: { yes: 'unpin' } },
    unpin: { on: { yes: 'refused' } },
    isolated: { type: 'final' },
    refused: { type: 'final' },
  },
});

/** isolate_movable_page on a balloon page. Isolated, the page keeps the isolator's reference. */
export const balloonPageIsolate = procedure<typeof isolateMachine, typeof YES_NO, BalloonWorld>(
  isolateMachine,
  YES_NO,
  {
    ...isolateEffects,
    /** No lock: a page that is no balloon's must not have its lock touched. */
    look: (frame, world) => (world.pages.isMovable(frame[PFN]) ? yes : no),
    /** Page lock: still in a balloon and not isolated by another. */
    recheck: (frame, world) =>
      world.pages.states.stateOf(frame[PFN]) === PAGE_STATE.balloon ? yes : no,
    /** Page lock and pages_lock: balloon_page_isolate. */
    unlink: (frame, world) => {
      world.bookOf(frame[PFN]).unlinkPage(frame[PFN]);
      return yes;
    },
  },
);

const putbackMachine = setup({}).createMachine({
  id: 'balloon_page_putback',
  initial: 'lock',
  states: {
    lock: { on: { yes: 'recheck' } },
    recheck: { on: { yes: 'relink', no: 'unlock' } },
    relink: { on: { yes: 'unlock' } },
    unlock: { on: { yes: 'put' } },
    put: { on: { yes: 'done' } },
    done: { type: 'final' },
  },
});

/** The movable-page part of putback_movable_pages for one isolated page. */
export const balloonPagePutback = procedure(putbackMachine, YES_NO, {
  /** Waits: lock_page. */
  lock: (frame, world: BalloonWorld) => (world.pages.tryLock(frame[PFN]) ? yes : WAIT),
  /** Page lock: still the balloon's. */
  recheck: (frame, world) => (world.pages.isMovable(frame[PFN]) ? yes : no),
  /** Page lock and pages_lock: balloon_page_putback. */
  relink: (frame, world) => {
    world.bookOf(frame[PFN]).relinkPage(frame[PFN]);
    return yes;
  },
  unlock: (frame, world) => {
    world.pages.unlock(frame[PFN]);
    return yes;
  },
  /** Atomic by itself: drops the isolator's reference. */
  put: (frame, world) => {
    world.allocator.putPage(frame[PFN]);
    return yes;
  },
});
