import { canStealFallback, findSuitableFallback } from '../page/fallback.ts';
import { isFreeAreaEmpty } from '../page/free-area.ts';
import { MAX_ORDER } from '../page/page-map.ts';
import type { Zone } from '../page/zone.ts';
import type { CompactControl } from './compact-control.ts';
import type { CompactionTrace } from './compaction-trace.ts';
import { COMPACT, type CompactResult } from './constants.ts';
import type { Proactiveness } from './proactiveness.ts';
import { isPageblockAligned, resetCachedPositions } from './skip-hints.ts';
import { fragmentationScore } from './suitability.ts';

/** What a run asks about the world around it. */
export interface FinishedWorld {
  readonly trace: CompactionTrace;
  /** kswapd_is_running: reclaim and proactive compaction get in each other's way. */
  readonly kswapdIsRunning: () => boolean;
  readonly proactiveness: Proactiveness;
}

/** compact_finished: `continue` while there is more to do. */
export function compactFinished(cc: CompactControl, world: FinishedWorld): CompactResult {
  const result = finished(cc, world);
  world.trace.finished(cc.zone, cc.order, result);
  return result === COMPACT.noSuitablePage ? COMPACT.continue : result;
}

function finished(cc: CompactControl, world: FinishedWorld): CompactResult {
  if (cc.scannersMet) {
    resetCachedPositions(cc.zone);
    if (cc.direct) cc.zone.compact.blockSkipFlush = true;
    return cc.wholeZone ? COMPACT.complete : COMPACT.partialSkipped;
  }
  if (cc.proactive) {
    if (world.kswapdIsRunning()) return COMPACT.partialSkipped;
    const isFragmented = fragmentationScore(cc.zone) > world.proactiveness.lowMark;
    return isFragmented ? COMPACT.continue : COMPACT.success;
  }
  if (cc.isWholeNode || !isPageblockAligned(cc.migratePfn)) return COMPACT.continue;
  for (let order = cc.order; order < MAX_ORDER; order++) {
    if (!isFreeAreaEmpty(cc.zone, order, cc.migratetype)) return COMPACT.success;
    if (isStealable(cc.zone, order, cc.migratetype)) return COMPACT.success;
  }
  return COMPACT.noSuitablePage;
}

/** find_suitable_fallback with only_stealable. */
function isStealable(zone: Zone, order: number, migratetype: number): boolean {
  if (!canStealFallback(order, migratetype)) return false;
  return findSuitableFallback(zone, order, migratetype) >= 0;
}
