import { PAGE_STATE } from '../../guest/mm/page/page-lifecycle.ts';
import { listNext, listPrevious } from '../../guest/mm/page/page-list.ts';
import { BUFFER, inLedger } from './host-side.ts';
import { CELL, type ExploredWorld } from './world.ts';

/**
 * What holds after every step, and what holds when nobody can move any more. Each has a name. The
 * product's own assertions, the lifecycles of pages and of the host's frames, and what the host
 * refuses are checked by the steps themselves.
 */
export interface Violation {
  readonly invariant: string;
  readonly detail: string;
}

/** Somebody waits, and there is no move that anybody could do. */
export const DEADLOCK: Violation = {
  invariant: 'no wait that nothing can end',
  detail: 'nobody can move any more',
};

/** Rules that the lifecycle of pages keeps, by what it says of a step that it refuses. */
const LIFECYCLE_RULES: readonly (readonly [refusal: RegExp, invariant: string])[] = [
  [/: isolate in balloonIsolated$/, 'no page is isolated twice'],
  [/: cache in pcp$/, 'no page is freed twice'],
  [/: cache in balloon/, 'no page of the balloon is freed'],
];

/** An assertion of the product that failed in a step. */
export function failedStep(message: string): Violation {
  const rule = LIFECYCLE_RULES.find(([refusal]) => refusal.test(message));
  const detail = message.replace(/^population step is illegal: /, '');
  return { invariant: rule?.[1] ?? 'no step of the product fails', detail };
}

type Check = (world: ExploredWorld) => string | undefined;

/** Every page of the balloon stands once on the one list, and nothing else does. */
const oneList: Check = ({ pages, frameCount }) => {
  const { words, list, stateBytes } = pages;
  let seen = 0;
  let previous = list;
  for (let node = listNext(words, list); node !== list; node = listNext(words, node)) {
    if (node < 0 || node >= frameCount) return 'the list leads to what is no page';
    if (listPrevious(words, node) !== previous) return `the links of page ${node} disagree`;
    if (stateBytes[node] !== PAGE_STATE.balloon) return `page ${node} is on the list`;
    if (((seen >>> node) & 1) === 1) return `page ${node} is on the list twice`;
    seen |= 1 << node;
    previous = node;
  }
  if (listPrevious(words, list) !== previous) return 'the list does not end with its last page';
  for (let pfn = 0; pfn < frameCount; pfn++) {
    const state = stateBytes[pfn];
    if (state === PAGE_STATE.lru) return `page ${pfn} is on the LRU list`;
    if (state === PAGE_STATE.balloon && ((seen >>> pfn) & 1) === 0) return `page ${pfn} is lost`;
  }
  return undefined;
};

/** page_private: without it a page can be neither isolated nor migrated again. */
const namesBook: Check = ({ pages, frameCount }) => {
  for (let pfn = 0; pfn < frameCount; pfn++) {
    const isBallooned = isInBalloon(pages.stateBytes[pfn]);
    if (isBallooned !== (pages.book(pfn) === 1)) return `page ${pfn}`;
  }
  return undefined;
};

const counts: Check = ({ pages, book }) => {
  let listed = 0;
  let isolated = 0;
  for (const state of pages.stateBytes) {
    if (state === PAGE_STATE.balloon) listed++;
    else if (state === PAGE_STATE.balloonIsolated) isolated++;
  }
  if (book.length !== listed) return `${book.length} pages on the list, not ${listed}`;
  if (book.isolatedPages === isolated) return undefined;
  return `isolated_pages is ${book.isolatedPages}, not ${isolated}`;
};

/** The balloon's own reference: without it a page could be handed out while it is ballooned. */
const references: Check = ({ pages, frameCount }) => {
  for (let pfn = 0; pfn < frameCount; pfn++) {
    if (isInBalloon(pages.stateBytes[pfn]) && pages.refcount(pfn) === 0) {
      return `page ${pfn} of the balloon has no reference`;
    }
  }
  return undefined;
};

/** I3: who has balloon_lock can be between two views; with nobody in it both are the same. */
const sameView: Check = (world) => {
  const isBusy = world.cells[CELL.balloonLock] !== 0;
  for (let pfn = 0; pfn < world.frameCount; pfn++) {
    const state = world.pages.stateBytes[pfn];
    const isHosts = inLedger(world.ledger[pfn]);
    if (state === PAGE_STATE.pcp && isHosts) return `page ${pfn} is free, and the host has it`;
    if (isBusy) continue;
    if (isHosts && !isInBalloon(state)) return `the host has page ${pfn}, the balloon has not`;
    if (!isHosts && isInBalloon(state)) return `the balloon has page ${pfn}, the host has not`;
  }
  return undefined;
};

/** I4: while the host is told that a page leaves, it knows every page of the balloon. */
const toldInOrder: Check = ({ pages, ledger, inflate, deflate, frameCount }) => {
  if (deflate.words[0] === BUFFER.none) return undefined;
  for (let pfn = 0; pfn < frameCount; pfn++) {
    const isBallooned = isInBalloon(pages.stateBytes[pfn]);
    if (isBallooned && !inLedger(ledger[pfn])) return `page ${pfn} was not told before`;
    if (inflate.holds(pfn)) return `page ${pfn} was not acknowledged before`;
  }
  return undefined;
};

/** N14: what a deflate buffer names is the driver's alone until the buffer is back. */
const usedWhenAcked: Check = ({ pages, deflate, frameCount }) => {
  for (let pfn = 0; pfn < frameCount; pfn++) {
    const isDrivers = pages.stateBytes[pfn] === PAGE_STATE.allocated;
    if (!isDrivers && deflate.holds(pfn)) return `page ${pfn}`;
  }
  return undefined;
};

const AFTER_STEPS: readonly (readonly [name: string, check: Check])[] = [
  ['every page of the balloon is on one list, once', oneList],
  ['a page names its balloon exactly while it is in it', namesBook],
  ['the counts of the book are right', counts],
  ['a page of the balloon is referred to', references],
  ['the host and the guest explain each other (I3)', sameView],
  ['a page leaves after what replaces it has come (I4)', toldInOrder],
  ['no page is used before its deflate is acknowledged (N14)', usedWhenAcked],
];

/** I1, I6: nobody is between two numbers. */
const restingCounts: Check = ({ book, cells }) => {
  const held = book.length + book.isolatedPages;
  if (cells[CELL.numPages] !== held) return `num_pages is ${cells[CELL.numPages]}, not ${held}`;
  if (cells[CELL.actual] !== held) return `actual is ${cells[CELL.actual]}, not ${held}`;
  return cells[CELL.adjusted] === held
    ? undefined
    : `${cells[CELL.adjusted]} pages are out of the managed ones, not ${held}`;
};

/** Every page is in the balloon with one reference, or free with none. */
const nothingLost: Check = ({ pages, frameCount }) => {
  for (let pfn = 0; pfn < frameCount; pfn++) {
    const state = pages.stateBytes[pfn];
    const expected = state === PAGE_STATE.balloon ? 1 : 0;
    if (state !== PAGE_STATE.balloon && state !== PAGE_STATE.pcp) return `page ${pfn} is lost`;
    if (pages.refcount(pfn) !== expected)
      return `page ${pfn} has ${pages.refcount(pfn)} references`;
  }
  return undefined;
};

const nothingHeld: Check = ({ pages, cells, inflate, deflate, frameCount }) => {
  if (cells[CELL.balloonLock] !== 0) return 'balloon_lock';
  if (cells[CELL.pagesLock] !== 0) return 'pages_lock';
  for (let pfn = 0; pfn < frameCount; pfn++) if (pages.isLocked(pfn)) return `page ${pfn}`;
  return inflate.words[0] === BUFFER.none && deflate.words[0] === BUFFER.none
    ? undefined
    : 'a buffer';
};

/** Where only the resize work changes the size, it has not missed a change of the target. */
const reachedTarget: Check = (world) => {
  const { numPages, target, stopped } = CELL;
  const { cells, shape } = world;
  if (!shape.followsTarget || cells[stopped] === 1 || !world.canResize()) return undefined;
  return `num_pages is ${cells[numPages]}, not ${cells[target]}`;
};

const AT_REST: readonly (readonly [name: string, check: Check])[] = [
  ['no lock or buffer is left held', nothingHeld],
  ['no page is lost', nothingLost],
  ['num_pages, actual and the managed pages agree (I1, I6)', restingCounts],
  ['the balloon has the size that the host wants', reachedTarget],
];

export function checkStep(world: ExploredWorld): Violation | undefined {
  return firstOf(AFTER_STEPS, world);
}

/** For a state in which everybody is done or has nothing to do. */
export function checkRest(world: ExploredWorld): Violation | undefined {
  return firstOf(AT_REST, world);
}

/**
 * A page that enters or leaves a list is locked (VM_BUG_ON_PAGE(!PageLocked(page)) of the kernel's
 * callers), and whoever changes the list has pages_lock: `hasPagesLock`. Weak rules: what breaks
 * them need not do harm, so that harm is looked for first.
 */
export function checkLocks(
  world: ExploredWorld,
  before: Uint8Array,
  hasPagesLock: boolean,
): Violation | undefined {
  const { pages } = world;
  for (let pfn = 0; pfn < world.frameCount; pfn++) {
    const [was, is] = [before[pfn], pages.stateBytes[pfn]];
    if (was === is || !(isInBalloon(was) || isInBalloon(is))) continue;
    const detail = `page ${pfn}`;
    if (!pages.isLocked(pfn)) return { invariant: 'a page changes lists under its lock', detail };
    const isListed = was === PAGE_STATE.balloon || is === PAGE_STATE.balloon;
    if (isListed && !hasPagesLock)
      return { invariant: 'the list changes under pages_lock', detail };
  }
  return undefined;
}

function firstOf(
  checks: readonly (readonly [name: string, check: Check])[],
  world: ExploredWorld,
): Violation | undefined {
  for (const [invariant, check] of checks) {
    const detail = check(world);
    if (detail !== undefined) return { invariant, detail };
  }
  return undefined;
}

function isInBalloon(state: number): boolean {
  return (
    state === PAGE_STATE.balloon ||
    state === PAGE_STATE.balloonIsolated ||
    state === PAGE_STATE.balloonReplaced
  );
}
