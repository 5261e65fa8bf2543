import type { Waiting } from '../../sched/scheduler.ts';
import { PAGEVEC_SIZE } from '../reclaim/page-vec.ts';
import { MAX_FILE_PAGES } from './address-space.ts';
import type { FileMapping } from './address-spaces.ts';
import { PG_DIRTY, PG_UPTODATE, PG_WRITEBACK } from './frames.ts';
import { removeFromPageCache } from './page-cache.ts';
import type { Spaces } from './spaces.ts';
import { zapPages } from './zap.ts';

/** Taking pages of files and tmpfs out of memory: truncation, the end of a file, dropped caches. */

/**
 * truncate_pagecache: pages from `index` on are unmapped everywhere and leave the cache, 15 at a
 * time as they are recorded. Waits for pages that are locked or being written.
 */
export function* truncatePages(spaces: Spaces, mapping: FileMapping, index: number): Waiting {
  unmapMapping(spaces, mapping, index);
  const indexes = new Int32Array(PAGEVEC_SIZE);
  for (let start = index; ; ) {
    const count = mapping.gather(start, MAX_FILE_PAGES, indexes, PAGEVEC_SIZE);
    if (count === 0) return;
    yield* truncateBatch(spaces, mapping, indexes.subarray(0, count));
    start = indexes[count - 1] + 1;
  }
}

/** unmap_mapping_range: from page `index` of the file on, private copies included. */
function unmapMapping(spaces: Spaces, mapping: FileMapping, index: number): void {
  for (const vma of mapping.vmas) {
    const start = vma.start + Math.max(0, index - vma.pgoff);
    if (start < vma.end) zapPages(spaces, vma, start, vma.end);
  }
}

function* truncateBatch(spaces: Spaces, mapping: FileMapping, indexes: Int32Array): Waiting {
  const pfns = new Int32Array(indexes.length);
  let count = 0;
  for (const index of indexes) {
    const pfn = mapping.page(index);
    if (pfn < 0) {
      freeSwapped(spaces, mapping, index);
      continue;
    }
    spaces.frames.get(pfn);
    spaces.holds.add(pfn);
    pfns[count++] = pfn;
  }
  for (let at = 0; at < count; at++) {
    yield* truncatePage(spaces, mapping, pfns[at]);
    spaces.holds.remove(pfns[at]);
  }
  spaces.lru.drain();
  spaces.refs.release(pfns, count);
}

/** truncate_inode_page, for a page the caller holds. */
function* truncatePage(spaces: Spaces, mapping: FileMapping, pfn: number): Waiting {
  const { frames, waits } = spaces;
  yield* waits.lock(pfn);
  if (frames.mappingId(pfn) === mapping.id && mapping.page(frames.index[pfn]) === pfn) {
    yield* waits.untilWritten(pfn);
    if (frames.mapcount[pfn] > 0) unmapMapping(spaces, mapping, frames.index[pfn]);
    removeFromPageCache(spaces, pfn);
    spaces.refs.put(pfn);
  }
  waits.unlock(pfn);
}

function freeSwapped(spaces: Spaces, mapping: FileMapping, index: number): void {
  const offset = mapping.swapOffset(index);
  if (offset < 0) return;
  mapping.removePage(index);
  spaces.swap?.free(offset);
}

/** iput of the last user: without names, open files and mappings a file is gone. */
export function* evictIfUnused(spaces: Spaces, mapping: FileMapping): Waiting {
  const gone = spaces.files.get(mapping.id) !== mapping;
  if (gone || mapping.uses > 0 || mapping.vmas.size > 0) return;
  yield* truncatePages(spaces, mapping, 0);
  spaces.files.remove(mapping);
}

/**
 * invalidate_mapping_pages for all files (drop_caches): clean pages that nobody maps, locks or
 * refers to leave the cache. tmpfs pages have no other home and stay. Returns pages freed.
 */
export function dropPagecache(spaces: Spaces): number {
  spaces.vmstat.drop_pagecache++;
  spaces.lru.drain();
  let freed = 0;
  for (const mapping of spaces.files) {
    if (mapping.isShmem) continue;
    for (const [, pfn] of [...mapping.cachedPages()]) if (invalidate(spaces, pfn)) freed++;
  }
  return freed;
}

/** invalidate_inode_page: the cache's is the only reference, and what is cached is on disk. */
function invalidate(spaces: Spaces, pfn: number): boolean {
  const { frames, waits } = spaces;
  const clean = !frames.has(pfn, PG_DIRTY | PG_WRITEBACK) && frames.has(pfn, PG_UPTODATE);
  if (!clean || frames.refcount(pfn) > 1 || !waits.tryLock(pfn)) return false;
  removeFromPageCache(spaces, pfn);
  waits.unlock(pfn);
  spaces.refs.put(pfn);
  return true;
}
