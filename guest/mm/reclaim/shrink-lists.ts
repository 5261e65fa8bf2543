import type { Waiting } from '../../sched/scheduler.ts';
import { __GFP_FS, __GFP_IO } from '../page/gfp.ts';
import { PG_ACTIVE, PG_MLOCKED } from '../space/frames.ts';
import { LRU } from './lru-lists.ts';
import type { ReclaimNode } from './reclaim-node.ts';
import { pageReferenced } from './referenced.ts';
import {
  DEACTIVATE_ANON,
  DEACTIVATE_FILE,
  type ScanControl,
  SWAP_CLUSTER_MAX,
} from './scan-control.ts';
import { PageShrinker, ReclaimStat } from './shrink-pages.ts';
import { reclaimThrottle } from './throttle.ts';

/** Pages of an active list that are no longer used go to the inactive one, and from there out. */
export class ListShrinker {
  readonly #node: ReclaimNode;
  readonly #pages: PageShrinker;

  constructor(node: ReclaimNode) {
    this.#node = node;
    this.#pages = new PageShrinker(node);
  }

  /** shrink_list: goes over `count` pages of a list and returns how many were reclaimed. */
  *shrink(lru: number, count: number, sc: ScanControl): Waiting<number> {
    if (lru === LRU.inactiveAnon || lru === LRU.inactiveFile) {
      return yield* this.#shrinkInactive(lru, count, sc);
    }
    const needed = lru === LRU.activeFile ? DEACTIVATE_FILE : DEACTIVATE_ANON;
    if ((sc.mayDeactivate & needed) === 0) sc.skippedDeactivate = true;
    else this.shrinkActive(lru, count, sc);
    return 0;
  }

  /**
   * shrink_active_list: whether a page was used since makes no difference, but that its accessed
   * bits are cleared: it is looked at again on the inactive list.
   */
  shrinkActive(lru: number, count: number, sc: ScanControl): void {
    const { spaces } = this.#node;
    const { frames, vmstat } = spaces;
    spaces.lru.drain();
    const taken: number[] = [];
    vmstat.pgrefill += spaces.lru.isolateFromEnd(lru, count, sc.highestZone, taken);
    for (const pfn of taken) {
      if (frames.has(pfn, PG_MLOCKED)) continue;
      pageReferenced(spaces, pfn);
      frames.clear(pfn, PG_ACTIVE);
      vmstat.pgdeactivate += frames.pageCount(pfn);
    }
    spaces.lru.putbackAll(taken);
  }

  /** shrink_inactive_list. */
  *#shrinkInactive(lru: number, count: number, sc: ScanControl): Waiting<number> {
    const { spaces, flusher } = this.#node;
    const { vmstat } = spaces;
    const isFile = lru === LRU.inactiveFile;
    if (this.#tooManyIsolated(isFile, sc)) {
      yield* reclaimThrottle(this.#node, sc, 'isolated');
      if (sc.asking?.killed === true) return SWAP_CLUSTER_MAX;
      if (this.#tooManyIsolated(isFile, sc)) return 0;
    }
    spaces.lru.drain();
    const taken: number[] = [];
    const scanned = spaces.lru.isolateFromEnd(lru, count, sc.highestZone, taken);
    vmstat[sc.isKswapd ? 'pgscan_kswapd' : 'pgscan_direct'] += scanned;
    vmstat[isFile ? 'pgscan_file' : 'pgscan_anon'] += scanned;
    if (taken.length === 0) return 0;
    const nrTaken = taken.reduce((sum, pfn) => sum + spaces.frames.pageCount(pfn), 0);
    const stat = new ReclaimStat();
    const { reclaimed, kept } = this.#pages.shrink(taken, sc, stat);
    spaces.lru.putbackAll(kept);
    vmstat[sc.isKswapd ? 'pgsteal_kswapd' : 'pgsteal_direct'] += reclaimed;
    vmstat[isFile ? 'pgsteal_file' : 'pgsteal_anon'] += reclaimed;
    this.#node.noteCost(isFile, stat.pageout);
    if (stat.unqueuedDirty === nrTaken) flusher.wake();
    addCounts(sc, stat, isFile, nrTaken);
    if (this.#node.swap !== undefined) yield* this.#node.swap.device.untilRoom();
    return reclaimed;
  }

  /**
   * too_many_isolated: kswapd may always. Who may do I/O and enter file systems stops at an eighth,
   * so that those who may not are never held up by them.
   */
  #tooManyIsolated(isFile: boolean, sc: ScanControl): boolean {
    if (sc.isKswapd) return false;
    const { vmstat } = this.#node.spaces;
    const inactive = isFile ? vmstat.nr_inactive_file : vmstat.nr_inactive_anon;
    const isolated = isFile ? vmstat.nr_isolated_file : vmstat.nr_isolated_anon;
    const mayEnterAll = (sc.gfp & __GFP_IO) !== 0 && (sc.gfp & __GFP_FS) !== 0;
    return isolated > (mayEnterAll ? inactive >> 3 : inactive);
  }
}

function addCounts(sc: ScanControl, stat: ReclaimStat, isFile: boolean, taken: number): void {
  sc.nr.dirty += stat.dirty;
  sc.nr.congested += stat.congested;
  sc.nr.unqueuedDirty += stat.unqueuedDirty;
  sc.nr.writeback += stat.writeback;
  sc.nr.immediate += stat.immediate;
  sc.nr.taken += taken;
  if (isFile) sc.nr.fileTaken += taken;
}
