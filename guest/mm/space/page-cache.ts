import { assert, fail } from '../../../shared/lib/assert.ts';
import type { FileMapping } from './address-spaces.ts';
import { MAPPING, PG_DIRTY } from './frames.ts';
import type { Spaces } from './spaces.ts';

/** Putting pages of files and tmpfs into their page cache and taking them out; dirty pages. */

/** The file whose cache a page is in. */
export function mappingOf(spaces: Spaces, pfn: number): FileMapping {
  const { frames, files } = spaces;
  const isFile = frames.mappingKind(pfn) === MAPPING.file;
  return (
    (isFile ? files.get(frames.mappingId(pfn)) : undefined) ??
    fail('a page of the page cache has a file', String(pfn))
  );
}

/** filemap_add_folio: the cache takes a reference. The page is locked and on no LRU list yet. */
export function addToPageCache(
  spaces: Spaces,
  mapping: FileMapping,
  index: number,
  pfn: number,
): void {
  assert(mapping.page(index) < 0, 'a page is added to the cache where there is none');
  spaces.frames.get(pfn);
  mapping.setPage(index, pfn);
  spaces.frames.setMapping(pfn, MAPPING.file, mapping.id, index);
  countCached(spaces, mapping, 1);
}

/**
 * filemap_remove_folio without its put: the caller drops the cache's reference. `swapOffset` stays
 * in the page's place when it went to swap.
 */
export function removeFromPageCache(spaces: Spaces, pfn: number, swapOffset = -1): void {
  const { frames } = spaces;
  const mapping = mappingOf(spaces, pfn);
  const index = frames.index[pfn];
  assert(mapping.page(index) === pfn, 'a page is removed from the slot it is in');
  assert(frames.mapcount[pfn] === 0, 'a page leaves the cache when nobody maps it');
  clearDirty(spaces, pfn);
  mapping.removePage(index, swapOffset);
  frames.setMapping(pfn, MAPPING.none, 0, 0);
  countCached(spaces, mapping, -1);
}

/** set_page_dirty. */
export function setDirty(spaces: Spaces, pfn: number): void {
  if (spaces.frames.testAndSet(pfn, PG_DIRTY)) return;
  if (spaces.frames.mappingKind(pfn) !== MAPPING.file) return;
  const mapping = mappingOf(spaces, pfn);
  // tmpfs pages have nowhere to be written to: they are not counted (no dirty accounting).
  if (mapping.isShmem) return;
  mapping.dirty.add(spaces.frames.index[pfn]);
  spaces.vmstat.nr_dirty++;
}

/** clear_page_dirty_for_io, or cancel_dirty_page. True when the page was dirty. */
export function clearDirty(spaces: Spaces, pfn: number): boolean {
  if (!spaces.frames.testAndClear(pfn, PG_DIRTY)) return false;
  const mapping = mappingOf(spaces, pfn);
  if (mapping.dirty.delete(spaces.frames.index[pfn])) spaces.vmstat.nr_dirty--;
  return true;
}

function countCached(spaces: Spaces, mapping: FileMapping, delta: number): void {
  spaces.vmstat.nr_file_pages += delta;
  spaces.allocator.levels.filePages += delta;
  if (mapping.isShmem) spaces.vmstat.nr_shmem += delta;
}
