import { compareItems } from './compare.ts';
import type { Traffic } from './traffic.ts';
import type { Check } from './types.ts';

/**
 * Free page hinting: the sequence of commands (a round's id, STOP) and blocks on the free page
 * queue. Payloads were not recorded, so that only a buffer's direction tells them apart.
 */
export function checkHinting(expected: readonly Traffic[], observed: readonly Traffic[]): Check {
  return compareItems('hinting', hints(expected), hints(observed), Object.is);
}

function hints(traffic: readonly Traffic[]): string[] {
  return traffic.flatMap((item) => {
    if (item.kind !== 'buffer' || item.queue !== 'free_page') return [];
    return [item.readable ? 'command' : 'block'];
  });
}
