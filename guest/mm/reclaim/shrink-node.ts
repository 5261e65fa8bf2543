import type { Waiting } from '../../sched/scheduler.ts';
import { __GFP_IO } from '../page/gfp.ts';
import { PAGE_ALLOC_COSTLY_ORDER } from '../page/per-cpu-pages.ts';
import { LRU } from './lru-lists.ts';
import type { ReclaimNode } from './reclaim-node.ts';
import { DEF_PRIORITY, type ScanControl, ScanCounts, SWAP_CLUSTER_MAX } from './scan-control.ts';
import { getScanCount, inactiveIsLow, prepareScanCount } from './scan-count.ts';
import { ListShrinker } from './shrink-lists.ts';
import { reclaimThrottle } from './throttle.ts';

/** The lists that can be scanned: all but the unevictable one. */
const LISTS = 4;
/** Pages scanned between two looks at the rest of the guest (cond_resched). */
const PAGES_PER_STEP = 256;

/** shrink_node of Linux 6.1 on the one node: all its lists by their shares, then the shrinkers. */
export class NodeShrinker {
  readonly node: ReclaimNode;
  readonly #lists: ListShrinker;
  #untilYield = PAGES_PER_STEP;

  constructor(node: ReclaimNode) {
    this.node = node;
    this.#lists = new ListShrinker(node);
  }

  /** kswapd_age_node: keeps the active anonymous list in proportion, where there is swap. */
  ageAnon(sc: ScanControl): void {
    if (this.node.swap === undefined || !inactiveIsLow(this.node, LRU.inactiveAnon)) return;
    this.#lists.shrinkActive(LRU.activeAnon, SWAP_CLUSTER_MAX, sc);
  }

  *shrink(sc: ScanControl): Waiting {
    const { node } = this;
    let isReclaimable = false;
    for (let goesOn = true; goesOn; ) {
      sc.nr = new ScanCounts();
      const before = sc.nrReclaimed;
      prepareScanCount(node, sc);
      yield* this.#shrinkLruvec(sc);
      node.shrinkers.shrink(sc.priority, node.spaces.vmstat);
      const reclaimed = sc.nrReclaimed - before;
      if (reclaimed > 0) isReclaimable = true;
      yield* this.#settle(sc);
      goesOn = this.#shouldContinue(sc, reclaimed);
    }
    if (isReclaimable) node.kswapdFailures = 0;
  }

  /** What was found says how the next round goes about it, and whether to wait. */
  *#settle(sc: ScanControl): Waiting {
    const { node } = this;
    const { nr } = sc;
    if (sc.isKswapd) {
      if (nr.writeback > 0 && nr.writeback === nr.taken) node.isWritebackHeavy = true;
      if (nr.unqueuedDirty === nr.fileTaken) node.isDirty = true;
      if (nr.dirty > 0 && nr.dirty === nr.congested) node.isCongested = true;
      if (nr.immediate > 0) yield* reclaimThrottle(node, sc, 'writeback');
    } else if (node.isCongested) {
      yield* reclaimThrottle(node, sc, 'congested');
    }
  }

  /** shrink_lruvec. */
  *#shrinkLruvec(sc: ScanControl): Waiting {
    const { node } = this;
    const counts = new Int32Array(LISTS);
    getScanCount(node, sc, counts);
    const targets = counts.slice();
    // Who reclaims for himself at first does all of it: kswapd is not keeping up.
    const isProportional = !sc.isKswapd && sc.priority === DEF_PRIORITY;
    let reclaimed = 0;
    while (counts[LRU.inactiveAnon] + counts[LRU.activeFile] + counts[LRU.inactiveFile] > 0) {
      for (let lru = 0; lru < LISTS; lru++) {
        if (counts[lru] === 0) continue;
        const count = Math.min(counts[lru], SWAP_CLUSTER_MAX);
        counts[lru] -= count;
        this.#untilYield -= count;
        reclaimed += yield* this.#lists.shrink(lru, count, sc);
      }
      if (this.#untilYield <= 0) {
        this.#untilYield = PAGES_PER_STEP;
        yield 0;
      }
      if (reclaimed < sc.nrToReclaim || isProportional) continue;
      if (!stopSmaller(counts, targets)) break;
    }
    sc.nrReclaimed += reclaimed;
    this.ageAnon(sc);
  }

  /** should_continue_reclaim: until compaction has enough free pages to work with. */
  #shouldContinue(sc: ScanControl, reclaimed: number): boolean {
    const { node } = this;
    const isForCompaction =
      sc.order > PAGE_ALLOC_COSTLY_ORDER || (sc.order > 0 && sc.priority < DEF_PRIORITY - 2);
    if ((sc.gfp & __GFP_IO) === 0 || !isForCompaction || reclaimed === 0) return false;
    for (const zone of node.zones) {
      if (zone.managedPages === 0 || zone.index > sc.highestZone) continue;
      if (node.compaction.canCompact(zone, sc.order, sc.highestZone)) return false;
    }
    const { sizes } = node.spaces.lru.lists;
    const inactive = sizes[LRU.inactiveFile] + (node.canReclaimAnon ? sizes[LRU.inactiveAnon] : 0);
    return inactive > 2 << sc.order;
  }
}

/**
 * Enough is reclaimed: the kind with less left to scan is done, the other one goes on to the same
 * share of its target. False when one of them was done before.
 */
function stopSmaller(counts: Int32Array, targets: Int32Array): boolean {
  const file = counts[LRU.inactiveFile] + counts[LRU.activeFile];
  const anon = counts[LRU.inactiveAnon] + counts[LRU.activeAnon];
  if (file === 0 || anon === 0) return false;
  const [smaller, larger] =
    file > anon ? [LRU.inactiveAnon, LRU.inactiveFile] : [LRU.inactiveFile, LRU.inactiveAnon];
  const target = targets[smaller] + targets[smaller + 1] + 1;
  const left = Math.floor((Math.min(file, anon) * 100) / target);
  counts[smaller] = 0;
  counts[smaller + 1] = 0;
  for (const lru of [larger, larger + 1]) {
    const scanned = targets[lru] - counts[lru];
    const wanted = Math.floor((targets[lru] * (100 - left)) / 100);
    counts[lru] = wanted - Math.min(wanted, scanned);
  }
  return true;
}
