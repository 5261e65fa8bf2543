import type { Waiting } from '../../sched/scheduler.ts';
import type { Zone } from '../page/zone.ts';
import type { MigrateMode } from './constants.ts';

/** What a page of the LRU may be isolated for. */
export interface LruIsolation {
  /** ISOLATE_ASYNC_MIGRATE: not what would have to be waited for. */
  readonly async: boolean;
  /** __GFP_FS: pages of files may be moved. */
  readonly mayEnterFs: boolean;
}

/** How moving a page ended: done, to be tried again, or never. */
export const MOVE = { done: 0, again: 1, failed: 2 } as const;
export type MoveResult = (typeof MOVE)[keyof typeof MOVE];

/**
 * Pages of processes and files as compaction and migration see them: PFNs are of single pages or of
 * the heads of huge ones. What is called between `isolate` and `release` is called by whoever
 * isolated the page.
 */
export interface LruPages {
  /** lru_add_drain: pages that wait in a batch come to their list. */
  drain(): void;
  /** lru_cache_disable: no page waits in a batch any more, until as many calls of enableCache. */
  disableCache(): void;
  enableCache(): void;
  /** Pages of a zone that reclaim could have: of files, and of processes where there is swap. */
  reclaimablePages(zone: Zone): number;
  /** too_many_isolated: as many as half of those on the lists. */
  tooManyIsolated(): boolean;
  /** The checks of isolate_migratepages_block on a page with PageLRU. */
  canIsolate(pfn: number, isolation: LruIsolation): boolean;
  /** TestClearPageLRU and what follows: off its list, with a reference of the isolator. */
  isolate(pfn: number): void;
  /** putback_lru_page, and the isolator's reference is dropped. */
  putback(pfn: number): void;
  /** The page was freed while it was isolated: only the isolator's reference is left. */
  isForgotten(pfn: number): boolean;

  tryLock(pfn: number): boolean;
  unlock(pfn: number): void;
  /** Waits for the end of the page's write-back, or else until it was unlocked once. */
  untilReady(pfn: number): Waiting;
  isUnderWriteback(pfn: number): boolean;
  /** try_to_migrate: migration entries in place of all mappings. True when there were any. */
  unmap(pfn: number): boolean;
  isMapped(pfn: number): boolean;
  /**
   * split_folio_to_list of an isolated, locked huge page: the frames behind its head, the last one
   * first, all of them isolated now. Undefined where there are unknown references.
   */
  split(head: number): number[] | undefined;
  /** move_to_new_folio: mapping, flags and content. Fails where there are unknown references. */
  move(oldPfn: number, newPfn: number, mode: MigrateMode): MoveResult;
  /** folio_add_lru, and a drain when the page is mapped. */
  addToLru(newPfn: number, wasMapped: boolean): void;
  /** remove_migration_ptes: what was mapped to `oldPfn` maps `pfn` now. */
  remap(oldPfn: number, pfn: number): void;
  /** migrate_folio_done: no longer counted as isolated; drops the isolator's reference. */
  release(oldPfn: number): void;
  /** prep_transhuge_page: a block of order 9 that a huge page is to be moved to. */
  prepareHuge(newPfn: number): void;
  /** folio_put of a page that was migrated to, or was to be. */
  put(newPfn: number): void;
}
