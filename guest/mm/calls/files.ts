import { assert } from '../../../shared/lib/assert.ts';
import type { Waiting } from '../../sched/scheduler.ts';
import { addShmemPage } from '../fault/file-fault.ts';
import { __GFP_WRITE } from '../page/gfp.ts';
import { MAX_FILE_PAGES } from '../space/address-space.ts';
import type { FileMapping } from '../space/address-spaces.ts';
import type { Asking } from '../space/alloc-pages.ts';
import { Errno } from '../space/errno.ts';
import { PG_REFERENCED, PG_UPTODATE } from '../space/frames.ts';
import { addToPageCache, setDirty } from '../space/page-cache.ts';
import { GFP_FILE, readIn, writeBack } from '../space/page-io.ts';
import type { Spaces } from '../space/spaces.ts';
import { evictIfUnused, truncatePages } from '../space/truncate.ts';

/**
 * A small file system in memory: names, files of tmpfs and files on a disk that takes time. Files
 * are read and written a whole page at a time; a page's content is one tag.
 *
 * Not emulated: directories, sizes that are not whole pages, metadata, a full disk, permissions.
 */
export class FileSystem {
  readonly #spaces: Spaces;
  readonly #names = new Map<string, FileMapping>();

  constructor(spaces: Spaces) {
    this.#spaces = spaces;
  }

  /** open(O_CREAT | O_EXCL): throws EEXIST for a name in use. The file is open. */
  create(name: string, kind: 'disk' | 'tmpfs'): FileMapping {
    if (this.#names.has(name)) throw new Errno('EEXIST', name);
    const file = this.#spaces.files.create(kind);
    this.#names.set(name, file);
    file.uses = 2;
    return file;
  }

  /** open: throws ENOENT. */
  open(name: string): FileMapping {
    const file = this.#names.get(name);
    if (file === undefined) throw new Errno('ENOENT', name);
    file.uses++;
    return file;
  }

  /** unlink: throws ENOENT. */
  *unlink(name: string): Waiting {
    const file = this.#names.get(name);
    if (file === undefined) throw new Errno('ENOENT', name);
    this.#names.delete(name);
    yield* closeFile(this.#spaces, file);
  }

  get names(): readonly string[] {
    return [...this.#names.keys()];
  }
}

/** close: a file without names and mappings is gone with its last user. */
export function* closeFile(spaces: Spaces, file: FileMapping): Waiting {
  assert(file.uses > 0, 'a file is closed as often as it was opened');
  file.uses--;
  yield* evictIfUnused(spaces, file);
}

/**
 * read of one page: its tag; 0 for a hole. Throws EINVAL behind the end of the file and ENOMEM when
 * memory is out and the process is killed.
 */
export function* readFile(
  spaces: Spaces,
  file: FileMapping,
  index: number,
  asking?: Asking,
): Waiting<number> {
  checkIndex(index, file.sizePages);
  const { frames, lru, waits } = spaces;
  for (;;) {
    const pfn = file.page(index);
    if (pfn >= 0 && frames.isLocked(pfn)) {
      yield* waits.untilUnlocked(pfn);
    } else if (pfn >= 0) {
      lru.markAccessed(pfn);
      return frames.pages.tags[pfn];
    } else if (file.isShmem) {
      if (file.swapOffset(index) < 0) return 0;
      yield* swapInShmem(spaces, file, index, asking);
    } else if (!(yield* readIn(spaces, file, index, asking))) {
      throw new Errno('ENOMEM', 'read');
    }
    checkIndex(index, file.sizePages);
  }
}

/** One page of a file and what is to be written to it. */
export interface PageWrite {
  readonly index: number;
  readonly tag: number;
}

/**
 * write of one page, which becomes dirty; the file grows as needed. Throws EINVAL for an index no
 * file can have and ENOMEM when memory is out and the process is killed.
 */
export function* writeFile(
  spaces: Spaces,
  file: FileMapping,
  write: PageWrite,
  asking?: Asking,
): Waiting {
  checkIndex(write.index, MAX_FILE_PAGES);
  if (!file.inodeLock.tryLock()) yield* file.inodeLock.lock();
  try {
    yield* writeLocked(spaces, file, write, asking);
  } finally {
    file.inodeLock.unlock();
  }
}

/** generic_perform_write, or that of shmem. */
function* writeLocked(
  spaces: Spaces,
  file: FileMapping,
  { index, tag }: PageWrite,
  asking: Asking | undefined,
): Waiting {
  const { frames, lru, waits } = spaces;
  for (;;) {
    let pfn = file.page(index);
    if (pfn >= 0 && frames.isLocked(pfn)) {
      yield* waits.untilUnlocked(pfn);
      continue;
    }
    if (pfn < 0) {
      if (file.swapOffset(index) >= 0) yield* swapInShmem(spaces, file, index, asking);
      else pfn = yield* newPage(spaces, file, index, asking);
      if (pfn < 0) continue;
    } else lru.markAccessed(pfn);
    frames.pages.tags[pfn] = tag;
    setDirty(spaces, pfn);
    file.sizePages = Math.max(file.sizePages, index + 1);
    return;
  }
}

/** A new page in the cache, or -1 when somebody else was faster. */
function* newPage(
  spaces: Spaces,
  file: FileMapping,
  index: number,
  asking: Asking | undefined,
): Waiting<number> {
  const gfp = file.isShmem ? GFP_FILE : GFP_FILE | __GFP_WRITE;
  const pfn = yield* spaces.supply.allocPages(0, gfp, asking);
  if (pfn < 0) throw new Errno('ENOMEM', 'write');
  if (file.slot(index) !== 0) {
    spaces.allocator.free(pfn, 0);
    return -1;
  }
  if (file.isShmem) addShmemPage(spaces, file, index, pfn);
  else {
    spaces.frames.set(pfn, PG_UPTODATE);
    addToPageCache(spaces, file, index, pfn);
    spaces.lru.add(pfn);
    spaces.refs.put(pfn);
  }
  spaces.frames.set(pfn, PG_REFERENCED);
  return pfn;
}

/** ftruncate: pages from `sizePages` on are gone for all. Throws EINVAL. */
export function* truncateFile(spaces: Spaces, file: FileMapping, sizePages: number): Waiting {
  checkIndex(sizePages, MAX_FILE_PAGES + 1);
  if (!file.inodeLock.tryLock()) yield* file.inodeLock.lock();
  try {
    const shrinks = sizePages < file.sizePages;
    file.sizePages = sizePages;
    if (!shrinks) return;
    yield* truncatePages(spaces, file, sizePages);
    file.disk?.truncate(sizePages);
  } finally {
    file.inodeLock.unlock();
  }
}

/** fsync: returns when everything that was dirty is on disk; the number of pages written. */
export function* fsync(spaces: Spaces, file: FileMapping): Waiting<number> {
  return yield* writeBack(spaces, file);
}

function* swapInShmem(
  spaces: Spaces,
  mapping: FileMapping,
  index: number,
  asking: Asking | undefined,
): Waiting {
  const { swap } = spaces;
  assert(swap !== undefined, 'a page is in swap only where somebody swaps');
  const place = { mapping, index, isFault: false };
  if (!(yield* swap.swapInShmem(place, asking))) throw new Errno('ENOMEM', 'swap-in');
}

function checkIndex(index: number, limit: number): void {
  const valid = Number.isInteger(index) && index >= 0 && index < limit;
  if (!valid) throw new Errno('EINVAL', `page ${index} of a file of ${limit}`);
}
