import { assert } from '../../../shared/lib/assert.ts';
import type { Waiting } from '../../sched/scheduler.ts';
import type { Zone } from '../page/zone.ts';
import { reclaimablePages } from '../reclaim/reclaimable.ts';
import {
  MAPPING,
  PG_ACTIVE,
  PG_DIRTY,
  PG_REFERENCED,
  PG_SWAPBACKED,
  PG_SWAPCACHE,
  PG_UPTODATE,
  PG_WRITEBACK,
} from '../space/frames.ts';
import { removeMigrationPtes, tryToMigrate } from '../space/migration-entries.ts';
import { mappingOf } from '../space/page-cache.ts';
import type { Spaces } from '../space/spaces.ts';
import { type LruIsolation, type LruPages, MOVE, type MoveResult } from './lru-pages.ts';

/** Flags that go along with a page (folio_migrate_flags); mlock comes with the mappings. */
const MOVED_FLAGS = PG_ACTIVE | PG_REFERENCED | PG_SWAPBACKED | PG_UPTODATE | PG_DIRTY;

/**
 * Pages of the guest's processes and files as they are isolated and moved: migrate_folio of Linux
 * 6.1 on what `guest/mm/space` keeps about them.
 *
 * Not emulated: file systems that cannot move their dirty pages, private data of buffers,
 * working-set and idle flags.
 */
export class SpacePages implements LruPages {
  readonly #spaces: Spaces;
  readonly #others: { readonly isolatedPages: number };

  /** `others` are pages that are not of the LRU and counted as isolated files all the same. */
  constructor(spaces: Spaces, others: { readonly isolatedPages: number } = { isolatedPages: 0 }) {
    this.#spaces = spaces;
    this.#others = others;
  }

  drain(): void {
    this.#spaces.lru.drain();
  }

  disableCache(): void {
    this.#spaces.lru.disableCache();
  }

  enableCache(): void {
    this.#spaces.lru.enableCache();
  }

  reclaimablePages(zone: Zone): number {
    return reclaimablePages(this.#spaces, zone);
  }

  tooManyIsolated(): boolean {
    const { vmstat } = this.#spaces;
    const inactive = vmstat.nr_inactive_anon + vmstat.nr_inactive_file;
    const active = vmstat.nr_active_anon + vmstat.nr_active_file;
    const isolated = vmstat.nr_isolated_anon + vmstat.nr_isolated_file;
    return isolated + this.#others.isolatedPages > (inactive + active) / 2;
  }

  canIsolate(pfn: number, { async, mayEnterFs }: LruIsolation): boolean {
    const { frames } = this.#spaces;
    const hasMapping = this.#isCached(pfn) || frames.has(pfn, PG_SWAPCACHE);
    if (!hasMapping && frames.refcount(pfn) > frames.totalMapcount(pfn)) return false;
    if (hasMapping && !mayEnterFs) return false;
    return !async || !frames.has(pfn, PG_WRITEBACK);
  }

  isolate(pfn: number): void {
    this.#spaces.lru.isolate(pfn);
  }

  putback(pfn: number): void {
    this.#spaces.lru.putback(pfn);
  }

  isForgotten(pfn: number): boolean {
    return this.#spaces.frames.refcount(pfn) === 1;
  }

  tryLock(pfn: number): boolean {
    return this.#spaces.waits.tryLock(pfn);
  }

  unlock(pfn: number): void {
    this.#spaces.waits.unlock(pfn);
  }

  *untilReady(pfn: number): Waiting {
    const { waits } = this.#spaces;
    if (this.isUnderWriteback(pfn)) yield* waits.untilWritten(pfn);
    else yield* waits.untilUnlocked(pfn);
  }

  isUnderWriteback(pfn: number): boolean {
    return this.#spaces.frames.has(pfn, PG_WRITEBACK);
  }

  unmap(pfn: number): boolean {
    if (!this.#spaces.frames.isMapped(pfn)) return false;
    tryToMigrate(this.#spaces, pfn, false);
    return true;
  }

  isMapped(pfn: number): boolean {
    return this.#spaces.frames.isMapped(pfn);
  }

  split(head: number): number[] | undefined {
    return this.#spaces.hugePages.splitIsolated(head);
  }

  prepareHuge(newPfn: number): void {
    this.#spaces.frames.prepareHuge(newPfn);
  }

  /** migrate_folio and filemap_migrate_folio: only isolator and cache may refer to the page. */
  move(oldPfn: number, newPfn: number): MoveResult {
    const { frames, swap } = this.#spaces;
    const count = frames.pageCount(oldPfn);
    assert(count === frames.pageCount(newPfn), 'a page is moved to one of its size');
    const isCached = this.#isCached(oldPfn);
    const isInSwapCache = frames.has(oldPfn, PG_SWAPCACHE);
    if (frames.refcount(oldPfn) !== (isCached || isInSwapCache ? 2 : 1)) return MOVE.again;
    const kind = frames.mappingKind(oldPfn);
    const id = frames.mappingId(oldPfn);
    const index = frames.index[oldPfn];
    frames.setMapping(newPfn, kind, id, index);
    frames.set(newPfn, frames.flags(oldPfn) & MOVED_FLAGS);
    frames.clear(oldPfn, PG_DIRTY);
    frames.pages.tags.copyWithin(newPfn, oldPfn, oldPfn + count);
    if (isCached) {
      frames.get(newPfn);
      mappingOf(this.#spaces, oldPfn).setPage(index, newPfn);
      frames.setMapping(oldPfn, MAPPING.none, 0, 0);
      this.#spaces.refs.put(oldPfn);
    } else if (isInSwapCache) {
      swap?.replace(oldPfn, newPfn);
      this.#spaces.refs.put(oldPfn);
    }
    return MOVE.done;
  }

  addToLru(newPfn: number, wasMapped: boolean): void {
    this.#spaces.lru.add(newPfn);
    if (wasMapped) this.#spaces.lru.drain();
  }

  remap(oldPfn: number, pfn: number): void {
    removeMigrationPtes(this.#spaces, oldPfn, pfn);
  }

  release(oldPfn: number): void {
    this.#spaces.lru.endIsolation(oldPfn);
    this.#spaces.refs.put(oldPfn);
  }

  put(newPfn: number): void {
    this.#spaces.refs.put(newPfn);
  }

  #isCached(pfn: number): boolean {
    return this.#spaces.frames.mappingKind(pfn) === MAPPING.file;
  }
}
