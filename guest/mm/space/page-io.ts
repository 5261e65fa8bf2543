import type { Waiting } from '../../sched/scheduler.ts';
import { __GFP_COMP, __GFP_NORETRY, __GFP_NOWARN, GFP_HIGHUSER_MOVABLE } from '../page/gfp.ts';
import type { FileMapping } from './address-spaces.ts';
import type { Asking } from './alloc-pages.ts';
import { PG_RECLAIM, PG_UPTODATE, PG_WRITEBACK } from './frames.ts';
import { addToPageCache, clearDirty, setDirty } from './page-cache.ts';
import { PTE_DIRTY, PTE_WRITE } from './pte.ts';
import type { Spaces } from './spaces.ts';

/**
 * Pages of files on their way from and to the disk. A page that is read in is locked meanwhile; one
 * that is written back carries PG_WRITEBACK. Both are named places where tasks wait.
 *
 * Not emulated: adaptive read-ahead (every read that misses brings in 32 pages from the one it
 * wanted), the flusher threads, dirty limits and throttling, I/O errors.
 */

/** Recorded for page cache and tmpfs pages alike. */
export const GFP_FILE = GFP_HIGHUSER_MOVABLE | __GFP_COMP;
const GFP_READAHEAD = GFP_FILE | __GFP_NORETRY | __GFP_NOWARN;
/** VM_READAHEAD_PAGES: 128 KiB. */
const READAHEAD_PAGES = 32;
/** Pages whose write-back is under way at a time. */
const WRITEBACK_BATCH = 64;
const KIB_PER_PAGE = 4;

/** What `allocToRead` could not do: no memory, or there is no need any more. */
const NO_MEMORY = -1;
const NOT_NEEDED = -2;

/**
 * page_cache_sync_readahead: reads the page and some behind it, which takes `spaces.diskMs`. False
 * when there is no memory for it. Afterwards the page need not be there: it may be gone again.
 */
export function* readIn(
  spaces: Spaces,
  mapping: FileMapping,
  index: number,
  asking?: Asking,
): Waiting<boolean> {
  const first = yield* allocToRead(spaces, mapping, index, asking);
  if (first < 0) return first === NOT_NEEDED;
  const pfns = [first];
  addLocked(spaces, mapping, index, first);
  const end = Math.min(index + READAHEAD_PAGES, mapping.sizePages);
  for (let next = index + 1; next < end && mapping.slot(next) === 0; next++) {
    const pfn = spaces.allocator.alloc(0, GFP_READAHEAD);
    if (pfn < 0) break;
    addLocked(spaces, mapping, next, pfn);
    pfns.push(pfn);
  }
  yield spaces.diskMs;
  spaces.vmstat.pgpgin += pfns.length * KIB_PER_PAGE;
  for (const pfn of pfns) {
    spaces.frames.pages.tags[pfn] = mapping.disk?.read(spaces.frames.index[pfn]) ?? 0;
    spaces.frames.set(pfn, PG_UPTODATE);
    spaces.waits.unlock(pfn);
  }
  return true;
}

/** A page for an index that has none, or one of the reasons above. */
function* allocToRead(
  spaces: Spaces,
  mapping: FileMapping,
  index: number,
  asking: Asking | undefined,
): Waiting<number> {
  const readahead = spaces.allocator.alloc(0, GFP_READAHEAD);
  if (readahead >= 0) return readahead;
  const pfn = yield* spaces.supply.allocPages(0, GFP_FILE, asking);
  if (pfn < 0) return NO_MEMORY;
  if (mapping.slot(index) === 0 && index < mapping.sizePages) return pfn;
  spaces.allocator.free(pfn, 0);
  return NOT_NEEDED;
}

/** Adds a new page, locked and not yet up to date, to cache and LRU; only the cache keeps it. */
function addLocked(spaces: Spaces, mapping: FileMapping, index: number, pfn: number): void {
  spaces.waits.tryLock(pfn);
  addToPageCache(spaces, mapping, index, pfn);
  spaces.lru.add(pfn);
  spaces.refs.put(pfn);
}

/** write_cache_pages: writes the dirty pages of a file back. Returns how many were written. */
export function* writeBack(spaces: Spaces, mapping: FileMapping): Waiting<number> {
  const indexes = [...mapping.dirty].sort((a, b) => a - b);
  let written = 0;
  for (let at = 0; at < indexes.length; at += WRITEBACK_BATCH) {
    const under: number[] = [];
    for (const index of indexes.slice(at, at + WRITEBACK_BATCH)) {
      const pfn = yield* startWriteback(spaces, mapping, index);
      if (pfn >= 0) under.push(pfn);
    }
    if (under.length > 0) yield spaces.diskMs;
    for (const pfn of under) endPageWriteback(spaces, pfn);
    written += under.length;
  }
  return written;
}

/** Starts to write one page; returns its PFN, or -1 when it is not there or clean. */
function* startWriteback(spaces: Spaces, mapping: FileMapping, index: number): Waiting<number> {
  const { frames, waits } = spaces;
  const pfn = mapping.page(index);
  if (pfn < 0) return -1;
  frames.get(pfn);
  spaces.holds.add(pfn);
  yield* waits.lock(pfn);
  if (mapping.page(index) === pfn) yield* waits.untilWritten(pfn);
  const write = mapping.page(index) === pfn && clearDirtyForIo(spaces, pfn);
  if (write) beginPageWriteback(spaces, mapping, pfn);
  waits.unlock(pfn);
  spaces.holds.remove(pfn);
  spaces.refs.put(pfn);
  return write ? pfn : -1;
}

/** set_page_writeback for a locked page of a file on disk; what it holds is on its way. */
export function beginPageWriteback(spaces: Spaces, mapping: FileMapping, pfn: number): void {
  const { frames, vmstat } = spaces;
  frames.set(pfn, PG_WRITEBACK);
  vmstat.nr_writeback++;
  vmstat.pgpgout += KIB_PER_PAGE;
  mapping.disk?.write(frames.index[pfn], frames.pages.tags[pfn]);
}

/** folio_end_writeback: what reclaim waits for is the next it finds (folio_rotate_reclaimable). */
export function endPageWriteback(spaces: Spaces, pfn: number): void {
  if (spaces.frames.testAndClear(pfn, PG_RECLAIM)) spaces.lru.rotate(pfn);
  spaces.waits.endWriteback(pfn);
  spaces.vmstat.nr_writeback--;
}

/**
 * clear_page_dirty_for_io: write-protects every mapping, so that the next write is seen, and clears
 * the dirty flag. False when the page was clean.
 */
export function clearDirtyForIo(spaces: Spaces, pfn: number): boolean {
  const { rmap, tables, tlb } = spaces;
  rmap.walk(pfn, (vma, vpn, at) => {
    const entry = tables.entries[at];
    if ((entry & (PTE_WRITE | PTE_DIRTY)) === 0) return;
    if ((entry & PTE_DIRTY) !== 0) setDirty(spaces, pfn);
    tables.entries[at] = entry & ~(PTE_WRITE | PTE_DIRTY);
    tlb.flushPage(vma.mm, vpn);
  });
  return clearDirty(spaces, pfn);
}
