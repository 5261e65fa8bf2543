import { ARRAY_PFNS_MAX } from '../../shared/limits.ts';
import { compareItems } from './compare.ts';
import type { Traffic } from './traffic.ts';
import type { Check } from './types.ts';

/** The sizes at which the balloon stops are within 1 % of the recorded ones. */
const SIZE_TOLERANCE = 0.01;
/** A single pause may be longer by what the allocation after it took; their median may not. */
const PAUSE_TOLERANCE = 0.05;
const PERIOD_TOLERANCE = 0.01;

/** A figure with the share it may differ by. */
interface Figure {
  readonly what: 'first stop' | 'last stop' | 'pause' | 'period';
  /** Pages, or milliseconds. */
  readonly value: number;
}

const TOLERANCES: Readonly<Record<Figure['what'], number>> = {
  'first stop': SIZE_TOLERANCE,
  'last stop': SIZE_TOLERANCE,
  pause: PAUSE_TOLERANCE,
  period: PERIOD_TOLERANCE,
};

/**
 * A target that the guest cannot reach: where the balloon stops at first and in the end, and every
 * pause between two attempts until the host wants another size. Without items where the recorded
 * guest was never out of puff.
 */
export function checkOutOfPuff(expected: readonly Traffic[], observed: readonly Traffic[]): Check {
  const recorded = figures(expected);
  const puffs = recorded.length === 0 ? [] : figures(observed);
  return compareItems('oom', recorded, puffs, (a, b) => {
    return a.what === b.what && Math.abs(a.value - b.value) <= a.value * TOLERANCES[a.what];
  });
}

function figures(traffic: readonly Traffic[]): Figure[] {
  const writes = attempts(traffic);
  const first = writes.at(1);
  const last = writes.at(-1);
  if (first === undefined || last === undefined) return [];
  const pauses = writes.slice(1).map(({ timeMs }, index) => timeMs - writes[index].timeMs);
  return [
    { what: 'first stop', value: first.pages },
    { what: 'last stop', value: last.pages },
    ...pauses.map((value): Figure => ({ what: 'pause', value })),
    { what: 'period', value: median(pauses) },
  ];
}

interface Attempt {
  readonly timeMs: number;
  readonly pages: number;
}

/**
 * The last write of `actual` after a full batch, and all that follow for the same target: a batch
 * that is not full and does not reach the target was told after a pause.
 */
function attempts(traffic: readonly Traffic[]): Attempt[] {
  const found: Attempt[] = [];
  let target = 0;
  let before: Attempt = { timeMs: 0, pages: 0 };
  for (const item of traffic) {
    if (item.kind === 'target') {
      if (found.length > 0) break;
      target = item.pages;
    } else if (item.kind === 'actual') {
      const gained = item.pages - before.pages;
      const isShort = item.pages < target && gained >= 0 && gained < ARRAY_PFNS_MAX;
      if (isShort && found.length === 0) found.push(before);
      before = { timeMs: item.timeMs, pages: item.pages };
      if (isShort) found.push(before);
    }
  }
  return found;
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1];
}
