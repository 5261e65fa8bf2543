import { compareItems } from './compare.ts';
import type { Traffic } from './traffic.ts';
import type { Check } from './types.ts';

/**
 * How far the number of give-backs may be from the recorded one: it follows from what else ran in
 * the guest and from what kswapd reclaimed, which is only modelled.
 */
const COUNT_TOLERANCE = 0.05;

/** What happened in the balloon from the first give-back on until the host wanted another size. */
type OomItem =
  /** Give-backs in all, compared within the tolerance. */
  | { readonly giveBacks: number }
  /** One give-back, and by how much `actual` fell right after it; null if it was not written. */
  | { readonly gaveBack: number; readonly actualFellBy: number | null }
  | { readonly inflated: number };

/**
 * Deflation on OOM: every give-back in order with the `actual` written after it, how many there
 * were, and that the balloon did not grow again by itself. Without items where the recorded guest
 * gave nothing back.
 */
export function checkDeflateOnOom(
  expected: readonly Traffic[],
  observed: readonly Traffic[],
): Check {
  const recorded = giveBacks(expected);
  const puffs = recorded.count === 0 ? recorded : giveBacks(observed);
  // The count is an item of its own: beyond the shorter list there is nothing to compare.
  const isNear = Math.abs(puffs.count - recorded.count) <= recorded.count * COUNT_TOLERANCE;
  const length = isNear ? Math.min(recorded.count, puffs.count) : Number.POSITIVE_INFINITY;
  const items = ({ count, steps, growth }: GiveBacks): OomItem[] => {
    if (count === 0) return [];
    return [{ giveBacks: count }, ...steps.slice(0, length), ...growth];
  };
  return compareItems('oom', items(recorded), items(puffs), (a, b) => {
    if ('giveBacks' in a && 'giveBacks' in b) return isNear;
    return JSON.stringify(a) === JSON.stringify(b);
  });
}

interface GiveBacks {
  readonly count: number;
  readonly steps: readonly OomItem[];
  /** Inflations after the first give-back. */
  readonly growth: readonly OomItem[];
}

function giveBacks(traffic: readonly Traffic[]): GiveBacks {
  const steps: { gaveBack: number; actualFellBy: number | null }[] = [];
  const growth: OomItem[] = [];
  let target = 0;
  let actual = 0;
  for (const item of traffic) {
    if (item.kind === 'target') {
      if (steps.length > 0) break;
      target = item.pages;
    } else if (item.kind === 'actual') {
      const last = steps.at(-1);
      if (last?.actualFellBy === null) last.actualFellBy = actual - item.pages;
      actual = item.pages;
    } else if (item.queue === 'deflate' && actual <= target) {
      steps.push({ gaveBack: item.pfnCount, actualFellBy: null });
    } else if (item.queue === 'inflate' && steps.length > 0) {
      growth.push({ inflated: item.pfnCount });
    }
  }
  return { count: steps.length, steps, growth };
}
