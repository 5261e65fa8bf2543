import { beforeEach, describe, expect, it } from 'vitest';
import { MIGRATE_MODE } from '../../../../guest/mm/move/constants.ts';
import { MOVE } from '../../../../guest/mm/move/lru-pages.ts';
import { lruPageMigrate } from '../../../../guest/mm/move/lru-procedure.ts';
import { RecordedPages } from '../../../../guest/mm/move/recorded-pages.ts';
import { GFP_HIGHUSER_MOVABLE } from '../../../../guest/mm/page/gfp.ts';
import { FRAME } from '../../../../guest/mm/page/page-dump.ts';
import { PAGE_STATE } from '../../../../guest/mm/page/page-lifecycle.ts';
import { FIRST, TestZone } from '../test-zone.ts';

const { lru, file, pinned, writeback, swapbacked } = FRAME;
/** What was recorded of the first frames, which are in use; the others are free. */
const KNOWN = [
  lru,
  lru | pinned,
  lru | file,
  lru | file | writeback,
  lru | file | swapbacked,
  lru | file | pinned,
  0,
];
const [ANON, PINNED, FILE, WRITTEN, TMPFS, PINNED_FILE, KERNELS] = KNOWN.map((_, at) => FIRST + at);

let test: TestZone;
let recorded: RecordedPages;

beforeEach(() => {
  test = new TestZone();
  test.free(FIRST, 4);
  for (const _ of KNOWN) test.allocator.alloc(0, GFP_HIGHUSER_MOVABLE);
  recorded = new RecordedPages(test.allocator, {
    pageCount: FIRST + KNOWN.length,
    describe: (pfn) => KNOWN[pfn - FIRST] ?? 0,
    compoundOrder: () => 0,
  });
});

const canIsolate = (async: boolean, mayEnterFs: boolean): number[] => {
  const pfns = KNOWN.map((_, at) => FIRST + at);
  return pfns.filter((pfn) => recorded.canIsolate(pfn, { async, mayEnterFs }));
};

/** Takes a page off the LRU and moves it to a new one; the end it came to, and the new page. */
function migrate(pfn: number): { outcome: string; target: number } {
  const target = test.allocator.alloc(0, GFP_HIGHUSER_MOVABLE);
  recorded.isolate(pfn);
  const frame = lruPageMigrate.newFrame(pfn, target, MIGRATE_MODE.sync, 0, 0);
  return { outcome: lruPageMigrate.run(frame, recorded), target };
}

describe('pages of a recorded guest', () => {
  it('are on the LRU where the recording has them there', () => {
    const { states } = test.pages;
    expect(KNOWN.map((_, at) => states.stateOf(FIRST + at) === PAGE_STATE.lru)).toEqual(
      KNOWN.map((known) => (known & lru) !== 0),
    );
  });

  it('are isolated unless they are pinned, or are of a file that must not be entered', () => {
    expect(canIsolate(false, true)).toEqual([ANON, FILE, WRITTEN, TMPFS, PINNED_FILE, KERNELS]);
    expect(canIsolate(true, true)).toEqual([ANON, FILE, TMPFS, PINNED_FILE, KERNELS]);
    expect(canIsolate(false, false)).toEqual([ANON, KERNELS]);
  });

  it('could be reclaimed where they are of files, but not of tmpfs', () => {
    expect(recorded.reclaimablePages(test.zone)).toBe(3);
    recorded.isolate(FILE);
    expect(recorded.reclaimablePages(test.zone)).toBe(2);
  });

  it('are too many isolated ones when more are than half of what is left', () => {
    recorded.isolate(ANON);
    recorded.isolate(FILE);
    expect(recorded.tooManyIsolated()).toBe(false);
    recorded.isolate(TMPFS);
    expect(recorded.tooManyIsolated()).toBe(true);
    recorded.putback(TMPFS);
    recorded.drain();
    expect(recorded.tooManyIsolated()).toBe(false);
  });

  it('move with their content and what is known of them, and whoever watches is told', () => {
    const moved: number[][] = [];
    recorded.onMoved = (from, to) => moved.push([from, to]);
    test.pages.tags[FILE] = 4711;
    const { outcome, target } = migrate(FILE);
    expect([outcome, moved, test.pages.tags[target]]).toEqual(['migrated', [[FILE, target]], 4711]);
    expect([test.pages.refcount(FILE), test.pages.refcount(target)]).toEqual([1, 2]);
    recorded.put(target);
    recorded.release(FILE);
    recorded.drain();
    expect(recorded.canIsolate(target, { async: false, mayEnterFs: false })).toBe(false);
    expect(test.pages.states.stateOf(target)).toBe(PAGE_STATE.lru);
    expect(recorded.tooManyIsolated()).toBe(false);
  });

  it('are tried again when somebody unknown holds them, and stay as they were', () => {
    const { outcome, target } = migrate(PINNED);
    expect([outcome, recorded.move(PINNED, target)]).toEqual(['again', MOVE.again]);
    expect(recorded.canIsolate(PINNED, { async: false, mayEnterFs: true })).toBe(false);
  });

  it('do not move while they are written', () => {
    expect(migrate(WRITTEN).outcome).toBe('again');
  });

  it('are written when somebody waits for it: until when was not recorded', () => {
    expect(recorded.isUnderWriteback(WRITTEN)).toBe(true);
    const wait = recorded.untilReady(WRITTEN);
    while (wait.next().done !== true);
    expect(recorded.isUnderWriteback(WRITTEN)).toBe(false);
    expect(recorded.canIsolate(WRITTEN, { async: true, mayEnterFs: true })).toBe(true);
  });

  it('are forgotten when their frames are allocated anew', () => {
    recorded.forget(PINNED, 2);
    expect(canIsolate(false, false)).toEqual([ANON, PINNED, FILE, KERNELS]);
    expect(recorded.unmap(PINNED)).toBe(true);
    expect(recorded.unmap(ANON)).toBe(false);
  });
});
