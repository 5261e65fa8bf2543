import { __GFP_FS, __GFP_IO } from '../page/gfp.ts';
import {
  MAPPING,
  PG_ACTIVE,
  PG_DIRTY,
  PG_MLOCKED,
  PG_RECLAIM,
  PG_SWAPBACKED,
  PG_SWAPCACHE,
  PG_WRITEBACK,
} from '../space/frames.ts';
import { removeFromPageCache } from '../space/page-cache.ts';
import { pageout } from './pageout.ts';
import type { ReclaimNode } from './reclaim-node.ts';
import { checkReferences, REFERENCES } from './referenced.ts';
import type { ScanControl } from './scan-control.ts';
import { Unmapper } from './unmap.ts';

/** What one page of an inactive list came to. */
const OUTCOME = {
  freed: 0,
  /** Back to the list; the page is locked. */
  keepLocked: 1,
  /** Back to the list, and it is not locked by us. */
  keep: 2,
  /** To the active list; the page is locked. */
  activateLocked: 3,
} as const;
type Outcome = (typeof OUTCOME)[keyof typeof OUTCOME];

/** Pages by what was found or done (struct reclaim_stat). */
export class ReclaimStat {
  dirty = 0;
  unqueuedDirty = 0;
  congested = 0;
  writeback = 0;
  immediate = 0;
  pageout = 0;
  activated = 0;
}

/**
 * shrink_folio_list of Linux 6.1: what becomes of pages from the end of an inactive list. Nothing
 * here waits: what has to be written is on its way when it is through, and comes round again.
 *
 * Not emulated: demotion to other nodes, lazily freed pages (MADV_FREE), buffers, pinned pages.
 */
export class PageShrinker {
  readonly #node: ReclaimNode;
  readonly #unmapper: Unmapper;
  readonly #pageoutFrame = pageout.newFrame(-1);
  /** Still to be looked at, the next one last. */
  #pending: number[] = [];

  constructor(node: ReclaimNode) {
    this.#node = node;
    this.#unmapper = new Unmapper(node.spaces, node.swap?.cache);
  }

  /** Goes over isolated pages in their order. `kept` is what has to be put back. */
  shrink(
    pfns: readonly number[],
    sc: ScanControl,
    stat: ReclaimStat,
  ): { readonly reclaimed: number; readonly kept: readonly number[] } {
    const { spaces, swap } = this.#node;
    const kept: number[] = [];
    const freed: number[] = [];
    let reclaimed = 0;
    this.#pending = [...pfns].reverse();
    for (let pfn = this.#pending.pop(); pfn !== undefined; pfn = this.#pending.pop()) {
      const outcome = this.#shrinkPage(pfn, sc, stat);
      if (outcome === OUTCOME.freed) {
        reclaimed++;
        freed.push(pfn);
        continue;
      }
      if (outcome === OUTCOME.activateLocked) this.#activate(pfn, stat);
      if (outcome !== OUTCOME.keep) spaces.waits.unlock(pfn);
      kept.push(pfn);
    }
    spaces.vmstat.pgactivate += stat.activated;
    spaces.tlb.flushDeferred();
    for (const pfn of freed) spaces.lru.endIsolation(pfn);
    spaces.lru.releaseAll(freed);
    swap?.unplug();
    return { reclaimed, kept };
  }

  #shrinkPage(pfn: number, sc: ScanControl, stat: ReclaimStat): Outcome {
    const { frames, waits } = this.#node.spaces;
    if (!waits.tryLock(pfn)) return OUTCOME.keep;
    sc.nrScanned += frames.pageCount(pfn);
    if (frames.has(pfn, PG_MLOCKED)) return OUTCOME.activateLocked;
    const isFile = !frames.has(pfn, PG_SWAPBACKED);
    const isWritten = frames.has(pfn, PG_WRITEBACK);
    if (isFile) this.#countDirty(pfn, isWritten, stat);
    if (isWritten) return this.#underWriteback(pfn, sc, stat);
    const references = sc.ignoreReferences
      ? REFERENCES.reclaim
      : checkReferences(this.#node.spaces, pfn);
    if (references === REFERENCES.activate) return OUTCOME.activateLocked;
    if (references === REFERENCES.keep) return OUTCOME.keepLocked;
    const isReady = this.#findSwap(pfn, sc);
    if (isReady !== OUTCOME.freed) return isReady;
    if (frames.isMapped(pfn)) this.#unmapper.unmap(pfn);
    if (frames.isMapped(pfn)) return OUTCOME.activateLocked;
    if (frames.has(pfn, PG_DIRTY)) {
      if (isFile && !this.#mayWriteFile(pfn, sc)) return OUTCOME.activateLocked;
      if (references === REFERENCES.reclaimClean) return OUTCOME.keepLocked;
      return this.#write(pfn, sc, stat);
    }
    if (!this.#removeMapping(pfn)) return OUTCOME.keepLocked;
    waits.unlock(pfn);
    return OUTCOME.freed;
  }

  /** folio_check_dirty_writeback: of files alone, since only they have flushers. */
  #countDirty(pfn: number, isWritten: boolean, stat: ReclaimStat): void {
    const { frames } = this.#node.spaces;
    const isDirty = frames.has(pfn, PG_DIRTY);
    if (isDirty || isWritten) stat.dirty++;
    if (isDirty && !isWritten) stat.unqueuedDirty++;
    if (isWritten && frames.has(pfn, PG_RECLAIM)) stat.congested++;
  }

  /** Out of the way, but the first to go when it is written. */
  #underWriteback(pfn: number, sc: ScanControl, stat: ReclaimStat): Outcome {
    const { spaces, isWritebackHeavy } = this.#node;
    if (sc.isKswapd && isWritebackHeavy && spaces.frames.has(pfn, PG_RECLAIM)) stat.immediate++;
    else {
      spaces.frames.set(pfn, PG_RECLAIM);
      stat.writeback++;
    }
    return OUTCOME.activateLocked;
  }

  /** Gives an anonymous page its slot; a huge page is split for it. `freed` means: go on. */
  #findSwap(pfn: number, sc: ScanControl): Outcome {
    const { spaces, swap } = this.#node;
    const { frames } = spaces;
    const needsSlot = frames.isAnon(pfn) && !frames.has(pfn, PG_SWAPCACHE);
    if (!needsSlot) return OUTCOME.freed;
    if ((sc.gfp & __GFP_IO) === 0) return OUTCOME.keepLocked;
    const pages = frames.pageCount(pfn);
    if (pages > 1) {
      const tails = spaces.hugePages.splitIsolated(pfn);
      if (tails === undefined) return OUTCOME.activateLocked;
      this.#pending.push(...tails);
      spaces.vmstat.thp_swpout_fallback++;
      // The other frames come by themselves and are counted then.
      sc.nrScanned -= pages - 1;
    }
    return swap?.add(pfn) === true ? OUTCOME.freed : OUTCOME.activateLocked;
  }

  /** Files are left to the flusher, unless kswapd sees the same dirty page once more. */
  #mayWriteFile(pfn: number, sc: ScanControl): boolean {
    const { spaces, isDirty } = this.#node;
    if (sc.isKswapd && isDirty && spaces.frames.has(pfn, PG_RECLAIM)) return true;
    spaces.vmstat.nr_vmscan_immediate_reclaim++;
    spaces.frames.set(pfn, PG_RECLAIM);
    return false;
  }

  #write(pfn: number, sc: ScanControl, stat: ReclaimStat): Outcome {
    const { spaces } = this.#node;
    // may_enter_fs: what goes to swap needs no file system.
    const needed = spaces.frames.has(pfn, PG_SWAPCACHE) ? __GFP_IO : __GFP_FS;
    if ((sc.gfp & needed) === 0 || !sc.mayWritepage) return OUTCOME.keepLocked;
    spaces.tlb.flushDeferred();
    const frame = this.#pageoutFrame;
    pageout.start(frame);
    frame[1] = pfn;
    switch (pageout.run(frame, this.#node)) {
      case 'sent':
        stat.pageout++;
        return OUTCOME.keep;
      case 'activate':
        return OUTCOME.activateLocked;
      default:
        return OUTCOME.keepLocked;
    }
  }

  /** __remove_mapping: false where somebody else refers to the page. */
  #removeMapping(pfn: number): boolean {
    const { spaces, swap } = this.#node;
    const { frames, refs } = spaces;
    if (frames.refcount(pfn) !== 2) return false;
    if (frames.has(pfn, PG_SWAPCACHE)) swap?.cache.remove(pfn);
    else if (frames.mappingKind(pfn) === MAPPING.file) removeFromPageCache(spaces, pfn);
    else return false;
    refs.put(pfn);
    return true;
  }

  #activate(pfn: number, stat: ReclaimStat): void {
    const { spaces, swap } = this.#node;
    const { frames } = spaces;
    const isMlocked = frames.has(pfn, PG_MLOCKED);
    if (swap?.slots.isFull === true || isMlocked) swap?.cache.freeSlotOf(pfn);
    if (isMlocked) return;
    frames.set(pfn, PG_ACTIVE);
    stat.activated += frames.pageCount(pfn);
  }
}
