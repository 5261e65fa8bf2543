import type { Zone } from '../page/zone.ts';
import type { CompactionTrace } from './compaction-trace.ts';
import { COMPACT_MAX_DEFER_SHIFT } from './constants.ts';
import { resetSkipHints } from './skip-hints.ts';

/** Compaction that failed is left out for a while: for up to 64 requests (5.5 of the facts). */

/** defer_compaction. */
export function deferCompaction(zone: Zone, order: number, trace: CompactionTrace): void {
  const { compact } = zone;
  compact.considered = 0;
  compact.deferShift = Math.min(compact.deferShift + 1, COMPACT_MAX_DEFER_SHIFT);
  compact.orderFailed = Math.min(compact.orderFailed, order);
  trace.deferCompaction(zone, order);
}

/** compaction_deferred: true when this request goes without compaction. */
export function compactionDeferred(zone: Zone, order: number, trace: CompactionTrace): boolean {
  const { compact } = zone;
  if (order < compact.orderFailed) return false;
  compact.considered = Math.min(compact.considered + 1, 1 << compact.deferShift);
  if (compact.considered === 1 << compact.deferShift) return false;
  trace.deferred(zone, order);
  return true;
}

/** compaction_defer_reset: an allocation of this order has succeeded, or is expected to. */
export function compactionDeferReset(
  zone: Zone,
  order: number,
  allocated: boolean,
  trace: CompactionTrace,
): void {
  const { compact } = zone;
  if (allocated) {
    compact.considered = 0;
    compact.deferShift = 0;
  }
  if (order >= compact.orderFailed) compact.orderFailed = order + 1;
  trace.deferReset(zone, order);
}

/** compaction_restarting: after 64 requests were left out all pageblocks are looked at again. */
export function restartAfterDeferral(zone: Zone, order: number): void {
  const { considered, deferShift, orderFailed } = zone.compact;
  const isLast = deferShift === COMPACT_MAX_DEFER_SHIFT && considered >= 1 << deferShift;
  if (order >= orderFailed && isLast) resetSkipHints(zone);
}
