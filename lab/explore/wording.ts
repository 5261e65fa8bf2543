import type { Frame } from '../../shared/lifecycle/procedure.ts';

/**
 * The steps of the product's procedures in words, for schedules. $1 and $2 are the pages in the
 * procedure's frame. A step that has no words here is printed under its own name.
 */
const ISOLATE: Readonly<Record<string, string>> = {
  pin: 'pin page $1 (get_page_unless_zero)',
  look: 'look whether page $1 is movable',
  lock: 'lock page $1 (trylock_page)',
  recheck: 'look at page $1 again',
  count: 'count two references of page $1',
  unlink: 'take page $1 off the list, isolated_pages + 1',
  release: 'unlock page $1, it is isolated',
  unlock: 'unlock page $1',
  unpin: 'drop the reference of page $1 (put_page)',
};

const PUTBACK: Readonly<Record<string, string>> = {
  lock: 'lock page $1 to put it back (lock_page)',
  recheck: 'look whether page $1 is still movable',
  relink: 'put page $1 back on the list, isolated_pages - 1',
  unlock: 'unlock page $1, it is put back',
  put: 'drop the reference of page $1 that was put back (put_page)',
};

const MIGRATE: Readonly<Record<string, string>> = {
  lockOld: 'lock page $1 to migrate it',
  lockNew: 'lock page $2 to migrate to it',
  recheck: 'look whether page $1 is still movable',
  lockBalloon: 'take balloon_lock to migrate (mutex_trylock)',
  insert: 'put page $2 on the list in place of page $1, isolated_pages - 1',
  tellInflate: 'tell inflate of page $2',
  ackInflate: 'see the inflate of page $2 acknowledged',
  remove: 'take page $1 out of the balloon',
  tellDeflate: 'tell deflate of page $1',
  ackDeflate: 'see the deflate of page $1 acknowledged',
  unlockBalloon: 'give balloon_lock back',
  put: "drop the balloon's reference of page $1",
  unlock: 'unlock pages $2 and $1',
  unlockNew: 'unlock page $2',
  unlockOld: 'unlock page $1',
  unlockBoth: 'unlock pages $2 and $1, to try again',
  backOff: 'unlock pages $2 and $1, to try again',
};

const WORDS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  balloon_page_enqueue: {
    lock: 'lock page $1 to enqueue it',
    insert: 'put page $1 on the list',
    unlock: 'unlock page $1, it is enqueued',
  },
  balloon_page_dequeue: {
    lock: 'lock page $1 to dequeue it (trylock_page)',
    recheck: 'look whether page $1 is isolated',
    remove: 'take page $1 off the list and out of the balloon',
    unlock: 'unlock page $1, it is dequeued',
    giveUp: 'unlock page $1, which is isolated',
  },
  balloon_page_free: {
    account: 'add page $1 to the managed pages, if it was taken out',
    put: 'drop a reference of page $1 (put_page_testzero)',
    free: 'give page $1 to the allocator',
  },
  balloon_page_isolate: ISOLATE,
  balloon_page_putback: PUTBACK,
  balloon_page_migrate: MIGRATE,
};

/** One step of a procedure in words. */
export function wordingOf(procedureId: string, step: string, frame: Frame): string {
  // What the 2012 generation does its own way has the steps' names in common with 6.1.
  const words =
    WORDS[procedureId.replace(/\W*2012\W*$|_2012$/, '')]?.[step] ??
    `${procedureId}: ${step} of page $1`;
  return words.replace(/\$([12])/g, (_, slot: string) => String(frame[Number(slot)]));
}
