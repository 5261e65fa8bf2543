import type { Waiting } from '../../sched/scheduler.ts';
import { __GFP_IO, gfpZone } from '../page/gfp.ts';
import { PAGE_ALLOC_COSTLY_ORDER } from '../page/per-cpu-pages.ts';
import type { Asking } from '../space/alloc-pages.ts';
import type { ReclaimNode } from './reclaim-node.ts';
import { DEF_PRIORITY, ScanControl } from './scan-control.ts';
import type { NodeShrinker } from './shrink-node.ts';
import { reclaimThrottle } from './throttle.ts';

/** A request for which a task reclaims by itself. */
export interface ReclaimFor {
  readonly order: number;
  readonly gfp: number;
  /** The process that asks; undefined for tasks of the kernel. */
  readonly asking: Asking | undefined;
}

/**
 * try_to_free_pages: reclaims 32 pages on behalf of a request, looking at more and more of the
 * lists until it has them. Returns the pages it reclaimed; 1 where it left that to compaction.
 *
 * Not emulated: throttling while the reserves are nearly gone (pfmemalloc_wait).
 */
export function* directReclaim(shrinker: NodeShrinker, request: ReclaimFor): Waiting<number> {
  const { vmstat } = shrinker.node.spaces;
  const sc = new ScanControl({ ...request, highestZone: gfpZone(request.gfp), isKswapd: false });
  yield 0;
  for (;;) {
    vmstat.allocstall++;
    for (sc.priority = DEF_PRIORITY; sc.priority >= 0; sc.priority--) {
      sc.nrScanned = 0;
      yield* shrinkZones(shrinker, sc);
      if (sc.nrReclaimed >= sc.nrToReclaim || sc.compactionReady) break;
    }
    if (sc.nrReclaimed > 0) return sc.nrReclaimed;
    if (sc.compactionReady) return 1;
    if (!sc.skippedDeactivate) return 0;
    // What was spared on active lists is not spared before something is killed.
    sc.forceDeactivate = true;
    sc.skippedDeactivate = false;
  }
}

/** shrink_zones: the node once, but for zones that are ready to be compacted for a costly order. */
function* shrinkZones(shrinker: NodeShrinker, sc: ScanControl): Waiting {
  const { node } = shrinker;
  let isShrunk = false;
  for (let index = sc.highestZone; index >= 0; index--) {
    const zone = node.zones[index];
    if (!zone.populated) continue;
    const mayCompact = sc.order > PAGE_ALLOC_COSTLY_ORDER && (sc.gfp & __GFP_IO) !== 0;
    if (mayCompact && node.compaction.isReady(zone, sc.order, sc.highestZone)) {
      sc.compactionReady = true;
      continue;
    }
    if (isShrunk) continue;
    isShrunk = true;
    yield* shrinker.shrink(sc);
  }
  if (isShrunk) yield* considerThrottle(node, sc);
}

/** consider_reclaim_throttle: waits for those who write when nothing at all was to be had. */
function* considerThrottle(node: ReclaimNode, sc: ScanControl): Waiting {
  if (sc.nrReclaimed > sc.nrScanned >> 3) {
    node.scheduler.wake(node.throttled);
    return;
  }
  if (sc.priority === 1 && sc.nrReclaimed === 0) yield* reclaimThrottle(node, sc, 'noProgress');
}
