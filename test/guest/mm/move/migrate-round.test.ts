import { beforeEach, describe, expect, it } from 'vitest';
import { CompactControl } from '../../../../guest/mm/move/compact-control.ts';
import { MIGRATE_MODE, WHOLE_NODE } from '../../../../guest/mm/move/constants.ts';
import { MOVE } from '../../../../guest/mm/move/lru-pages.ts';
import { NO_TARGET, Round } from '../../../../guest/mm/move/migrate-round.ts';
import { __GFP_COMP, GFP_HIGHUSER_MOVABLE, GFP_KERNEL } from '../../../../guest/mm/page/gfp.ts';
import { FIRST, TestZone } from '../test-zone.ts';

let cc: CompactControl;
/** A huge page and single ones. */
let huge: number;
let a: number;
let b: number;

beforeEach(() => {
  const test = new TestZone();
  test.free(FIRST, 10);
  huge = test.allocator.alloc(9, GFP_HIGHUSER_MOVABLE | __GFP_COMP);
  a = test.allocator.alloc(0, GFP_HIGHUSER_MOVABLE);
  b = test.allocator.alloc(0, GFP_HIGHUSER_MOVABLE);
  cc = new CompactControl(test.zone, {
    order: WHOLE_NODE,
    mode: MIGRATE_MODE.sync,
    gfp: GFP_KERNEL,
  });
});

/** A round over these pages, the first of them to be tried first. */
function roundOf(...pfns: readonly number[]): Round {
  cc.migratePages.set([...pfns].reverse());
  cc.nrMigratePages = pfns.length;
  const round = new Round(cc);
  round.startPass();
  return round;
}

/** The pages that are left, the first one to be put back first. */
function leftOf(round: Round): number[] {
  const count = round.left(cc);
  return [...cc.migratePages.subarray(0, count)].reverse();
}

const NOTHING = { succeeded: 0, failed: 0, thpSucceeded: 0, thpFailed: 0, thpSplit: 0 };

describe('what migrate_pages counts: frames, and huge pages by number', () => {
  it('a huge page that was moved', () => {
    const round = roundOf(huge, a);
    round.ended(round.next(), MOVE.done, 512);
    round.ended(round.next(), MOVE.done, 1);
    expect(round.turnToSplit()).toBe(false);
    expect(round.counts).toEqual({ ...NOTHING, succeeded: 513, thpSucceeded: 1 });
    expect(leftOf(round)).toEqual([]);
  });

  it('one that cannot be moved, and one that was tried in every pass', () => {
    const round = roundOf(huge, a);
    round.ended(round.next(), MOVE.failed, 512);
    round.ended(round.next(), MOVE.again, 1);
    round.turnToSplit();
    expect(round.counts).toEqual({ ...NOTHING, failed: 513, thpFailed: 1 });
    expect(leftOf(round)).toEqual([huge, a]);
    const patient = roundOf(huge);
    patient.ended(patient.next(), MOVE.again, 512);
    patient.turnToSplit();
    expect(patient.counts).toEqual({ ...NOTHING, failed: 512, thpFailed: 1 });
  });

  it('one that was split counts as failed once; its frames come when all others were tried', () => {
    const round = roundOf(huge, a, b);
    expect(round.next()).toBe(huge);
    round.split([7001, 7000]);
    round.ended(round.next(), MOVE.done, 1);
    round.ended(round.next(), MOVE.again, 1);
    expect(round.counts).toEqual({ ...NOTHING, succeeded: 1, thpFailed: 1, thpSplit: 1 });
    expect(round.turnToSplit()).toBe(true);
    round.startPass();
    expect([round.next(), round.next(), round.next()]).toEqual([7001, 7000, -1]);
    round.ended(7001, MOVE.done, 1);
    round.ended(7000, MOVE.failed, 1);
    expect(round.turnToSplit()).toBe(false);
    expect(round.counts).toEqual({
      ...{ succeeded: 2, failed: 2 },
      ...{ thpSucceeded: 0, thpFailed: 1, thpSplit: 1 },
    });
    expect(leftOf(round)).toEqual([b, 7000]);
  });

  it('-ENOMEM: what was tried so far failed, and nothing is lost of what was split', () => {
    const round = roundOf(huge, a, b, 7100);
    round.next();
    round.split([7001, 7000]);
    round.ended(round.next(), MOVE.again, 1);
    round.ended(round.next(), NO_TARGET, 1);
    expect([round.noTarget, round.next(), round.turnToSplit()]).toEqual([true, -1, false]);
    expect(round.counts).toEqual({ ...NOTHING, failed: 2, thpFailed: 1, thpSplit: 1 });
    expect(leftOf(round)).toEqual([7001, 7000, a, b, 7100]);
  });

  it('-ENOMEM for a huge page that cannot be split, after one that has to be tried again', () => {
    const round = roundOf(huge, huge, a);
    round.ended(round.next(), MOVE.again, 512);
    round.ended(round.next(), NO_TARGET, 512);
    expect(round.counts).toEqual({ ...NOTHING, failed: 1024, thpFailed: 2 });
    expect(leftOf(round)).toEqual([huge, huge, a]);
  });
});
