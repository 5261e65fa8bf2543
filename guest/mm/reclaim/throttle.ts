import { HZ, timerWaitMs } from '../../sched/jiffies.ts';
import type { Waiting } from '../../sched/scheduler.ts';
import type { ReclaimNode } from './reclaim-node.ts';
import { MAX_RECLAIM_RETRIES } from './reclaimable.ts';
import type { ScanControl } from './scan-control.ts';

/** Why a task that reclaims has to wait: enum vmscan_throttle_state, with the longest wait. */
export const THROTTLE_JIFFIES = {
  /** Pages come round before they are written. */
  writeback: HZ / 10,
  isolated: HZ / 50,
  noProgress: 1,
  congested: 1,
} as const;
export type ThrottleReason = keyof typeof THROTTLE_JIFFIES;

/**
 * reclaim_throttle: a task that gets nowhere waits for what has to happen first. Tasks of the
 * kernel are only made to step aside, but for kswapd.
 *
 * Not emulated: being woken before the time is over, by progress of others; the counts of
 * throttled tasks.
 */
export function* reclaimThrottle(
  node: ReclaimNode,
  sc: ScanControl,
  reason: ThrottleReason,
): Waiting {
  const isKernelTask = !sc.isKswapd && sc.asking === undefined;
  const isPointless = reason !== 'writeback' && reason !== 'isolated' && skipNoProgress(node);
  if (isKernelTask || isPointless) {
    yield 0;
    return;
  }
  yield* node.sleep(
    node.throttled,
    timerWaitMs(node.scheduler.clock.now(), THROTTLE_JIFFIES[reason]),
  );
}

/** skip_throttle_noprogress: waiting helps where most of what could be reclaimed is written now. */
function skipNoProgress(node: ReclaimNode): boolean {
  if (node.kswapdFailures >= MAX_RECLAIM_RETRIES) return true;
  let reclaimable = 0;
  for (const zone of node.zones)
    if (zone.managedPages > 0) reclaimable += node.reclaimablePages(zone);
  const { nr_dirty: dirty, nr_writeback: writeback } = node.spaces.vmstat;
  return 2 * (dirty + writeback) <= reclaimable;
}
