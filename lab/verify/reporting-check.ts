import { compareItems } from './compare.ts';
import type { Traffic } from './traffic.ts';
import type { Check } from './types.ts';

/** A pass reports at once; the next one is at least two seconds later. */
const PASS_GAP_MS = 1000;

/** One free page report: which pass it belongs to, how many blocks it names. */
interface Report {
  readonly pass: number;
  /** Since the last report of the pass before, to the whole second; null in the first pass. */
  readonly afterSeconds: number | null;
  readonly ranges: number;
}

/**
 * Free page reporting: blocks per report, in order, and which reports came together. Which blocks
 * they were is not compared, since nobody recorded where free memory was.
 */
export function checkReporting(expected: readonly Traffic[], observed: readonly Traffic[]): Check {
  return compareItems('reporting', reports(expected), reports(observed), (a, b) => {
    return a.pass === b.pass && a.afterSeconds === b.afterSeconds && a.ranges === b.ranges;
  });
}

function reports(traffic: readonly Traffic[]): Report[] {
  const items: Report[] = [];
  let lastMs: number | undefined;
  let pass = 1;
  let afterSeconds: number | null = null;
  for (const item of traffic) {
    if (item.kind !== 'buffer' || item.queue !== 'reporting') continue;
    if (lastMs !== undefined && item.timeMs - lastMs > PASS_GAP_MS) {
      pass++;
      afterSeconds = Math.round((item.timeMs - lastMs) / 1000);
    }
    lastMs = item.timeMs;
    items.push({ pass, afterSeconds, ranges: item.ranges });
  }
  return items;
}
