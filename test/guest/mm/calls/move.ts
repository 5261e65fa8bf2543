import { GFP_COPY } from '../../../../guest/mm/fault/fault.ts';
import {
  MAPPING,
  PG_ACTIVE,
  PG_DIRTY,
  PG_ISOLATED,
  PG_REFERENCED,
  PG_SWAPBACKED,
  PG_UPTODATE,
} from '../../../../guest/mm/space/frames.ts';
import { removeMigrationPtes, tryToMigrate } from '../../../../guest/mm/space/migration-entries.ts';
import { setDirty } from '../../../../guest/mm/space/page-cache.ts';
import type { Spaces } from '../../../../guest/mm/space/spaces.ts';

const COPIED = PG_ACTIVE | PG_REFERENCED | PG_SWAPBACKED | PG_UPTODATE;

/**
 * Moves a page the shortest way there is, to see that address spaces let it be moved. False when
 * the page is somebody's, or there is no room.
 */
export function movePage(spaces: Spaces, pfn: number): boolean {
  const { allocator, frames, lru, waits } = spaces;
  const from = frames.head(pfn);
  const order = frames.order(from);
  lru.drain();
  if (!waits.tryLock(from)) return false;
  const to = lru.isolate(from) ? allocator.alloc(order, GFP_COPY) : -1;
  if (to >= 0) {
    waits.tryLock(to);
    tryToMigrate(spaces, from, true);
    spaces.tlb.flushDeferred();
    const alone = frames.refcount(from) === (inCache(spaces, from) ? 2 : 1);
    if (alone) transfer(spaces, from, to);
    removeMigrationPtes(spaces, from, alone ? to : from);
    waits.unlock(to);
    if (alone) lru.add(to);
    spaces.refs.put(to);
  }
  waits.unlock(from);
  if (frames.has(from, PG_ISOLATED)) lru.putback(from);
  lru.drain();
  return to >= 0;
}

function inCache(spaces: Spaces, pfn: number): boolean {
  return spaces.frames.mappingKind(pfn) === MAPPING.file;
}

/** migrate_folio: content, flags and the slot of the page cache; the old page is nobody's. */
function transfer(spaces: Spaces, from: number, to: number): void {
  const { frames } = spaces;
  const count = frames.pageCount(from);
  if (count > 1) frames.prepareHuge(to);
  const { tags } = frames.pages;
  tags.copyWithin(to, from, from + count);
  const kind = frames.mappingKind(from);
  const id = frames.mappingId(from);
  frames.set(to, frames.flags(from) & COPIED);
  frames.setMapping(to, kind, id, frames.index[from]);
  const dirty = frames.testAndClear(from, PG_DIRTY);
  if (kind === MAPPING.file) {
    spaces.files.get(id)?.setPage(frames.index[from], to);
    frames.get(to);
    frames.setMapping(from, MAPPING.none, 0, 0);
    spaces.refs.put(from);
  } else frames.setMapping(from, MAPPING.none, 0, 0);
  if (!dirty) return;
  if (kind === MAPPING.file) spaces.files.get(id)?.dirty.delete(frames.index[to]);
  const before = spaces.vmstat.nr_dirty;
  setDirty(spaces, to);
  spaces.vmstat.nr_dirty = before;
}
