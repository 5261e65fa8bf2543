import { setup } from 'xstate';
import { procedure, WAIT } from '../../../shared/lifecycle/procedure.ts';
import type { MigrateMode } from './constants.ts';
import { MIGRATE_MODE } from './constants.ts';
import { type LruPages, MOVE } from './lru-pages.ts';

/**
 * Migration of one isolated page of a process or a file as a stepped procedure: unmap, move, map
 * again (__unmap_and_move of Linux 6.1). Slot 1 of the frame is the isolated page, slot 2 a free
 * page that nobody else knows, slot 3 the mode, slot 4 is 1 where the task may wait for locks and
 * write-back, slot 5 says whether the page was mapped. After `again` and `failed` nothing has
 * changed.
 */

const OLD = 1;
const NEW = 2;
const MODE = 3;
const MAY_WAIT = 4;
const WAS_MAPPED = 5;

const EVENTS = { yes: 0, no: 1, again: 2 } as const;
const { yes, no, again } = EVENTS;

const migrateMachine = setup({}).createMachine({
  id: 'lru_page_migrate',
  initial: 'lockOld',
  states: {
    lockOld: { on: { yes: 'written', no: 'again' } },
    written: { on: { yes: 'lockNew', no: 'busy', again: 'backOff' } },
    lockNew: { on: { yes: 'unmap', no: 'backOff' } },
    unmap: { on: { yes: 'recheck' } },
    recheck: { on: { yes: 'move', no: 'undo' } },
    move: { on: { yes: 'publish', no: 'giveUp', again: 'undo' } },
    publish: { on: { yes: 'remap' } },
    remap: { on: { yes: 'unlock' } },
    unlock: { on: { yes: 'migrated' } },
    undo: { on: { yes: 'again' } },
    giveUp: { on: { yes: 'failed' } },
    backOff: { on: { yes: 'again' } },
    busy: { on: { yes: 'failed' } },
    migrated: { type: 'final' },
    again: { type: 'final' },
    failed: { type: 'final' },
  },
});

/** What both ends of a failed attempt do: mappings back, both locks released. */
function undo(lru: LruPages, frame: Int32Array): 0 {
  if (frame[WAS_MAPPED] === 1) lru.remap(frame[OLD], frame[OLD]);
  lru.unlock(frame[NEW]);
  lru.unlock(frame[OLD]);
  return yes;
}

export const lruPageMigrate = procedure(migrateMachine, EVENTS, {
  /** Atomic by itself: trylock_page, or lock_page where the task may wait. */
  lockOld: (frame, lru: LruPages) => {
    if (lru.tryLock(frame[OLD])) return yes;
    return frame[MAY_WAIT] === 1 ? WAIT : no;
  },
  /** Page lock. Only a full synchronous migration waits for write-back, and not at first. */
  written: (frame, lru) => {
    if (!lru.isUnderWriteback(frame[OLD])) return yes;
    if (frame[MODE] !== MIGRATE_MODE.sync) return no;
    return frame[MAY_WAIT] === 1 ? WAIT : again;
  },
  /** Atomic by itself: trylock_page on a page that nobody else should know. */
  lockNew: (frame, lru) => (lru.tryLock(frame[NEW]) ? yes : no),
  /** Both page locks and the locks of the page tables. */
  unmap: (frame, lru) => {
    frame[WAS_MAPPED] = lru.unmap(frame[OLD]) ? 1 : 0;
    return yes;
  },
  /** Both page locks: nobody has mapped it again. */
  recheck: (frame, lru) => (lru.isMapped(frame[OLD]) ? no : yes),
  /** Both page locks and the lock of the mapping, under which the references are frozen. */
  move: (frame, lru) => {
    const result = lru.move(frame[OLD], frame[NEW], frame[MODE] as MigrateMode);
    if (result === MOVE.done) return yes;
    return result === MOVE.again ? again : no;
  },
  /** Both page locks. */
  publish: (frame, lru) => {
    lru.addToLru(frame[NEW], frame[WAS_MAPPED] === 1);
    return yes;
  },
  /** Both page locks and the locks of the page tables. */
  remap: (frame, lru) => {
    if (frame[WAS_MAPPED] === 1) lru.remap(frame[OLD], frame[NEW]);
    return yes;
  },
  unlock: (frame, lru) => {
    lru.unlock(frame[NEW]);
    lru.unlock(frame[OLD]);
    return yes;
  },
  undo: (frame, lru) => undo(lru, frame),
  giveUp: (frame, lru) => undo(lru, frame),
  backOff: (frame, lru) => {
    lru.unlock(frame[OLD]);
    return yes;
  },
  busy: (frame, lru) => {
    lru.unlock(frame[OLD]);
    return yes;
  },
});
