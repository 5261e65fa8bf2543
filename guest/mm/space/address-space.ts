import type { Mutex } from '../../sched/mutex.ts';
import { Errno } from './errno.ts';
import { MAX_MAPCOUNT } from './frames.ts';

/** Slots of one node of the page cache's tree (XA_CHUNK_SIZE). */
const NODE_SHIFT = 6;
const NODE_SLOTS = 1 << NODE_SHIFT;

/** Pages of a file: 64 GiB. */
export const MAX_FILE_PAGES = 2 ** 24;

/** Where the pages of a file lie while they are not in memory: a tag a page, 0 where unwritten. */
export class DiskFile {
  #tags = new Uint32Array(NODE_SLOTS);

  read(index: number): number {
    return index < this.#tags.length ? this.#tags[index] : 0;
  }

  write(index: number, tag: number): void {
    if (index >= this.#tags.length) {
      const larger = new Uint32Array(Math.max(index + 1, this.#tags.length * 2));
      larger.set(this.#tags);
      this.#tags = larger;
    }
    this.#tags[index] = tag;
  }

  /** Pages from `index` on are gone: should the file grow again, they read as zero. */
  truncate(index: number): void {
    this.#tags.fill(0, index);
  }
}

/**
 * struct address_space: the cached pages of a file or tmpfs object by index, and the VMAs that map
 * it. A slot holds PFN + 1, or 0; a negative slot is a swap entry of tmpfs, -1 - its offset, for
 * whoever swaps.
 *
 * Not emulated: huge pages in the page cache, shadow entries of evicted pages (workingset).
 */
export class AddressSpace<Vma> {
  readonly id: number;
  /** The file's home; undefined for tmpfs, whose pages are backed by swap, if by anything. */
  readonly disk: DiskFile | undefined;
  /** i_rwsem: held by who writes to the file or truncates it. Faults do not take it. */
  readonly inodeLock: Mutex;
  /** Names and open files; with VMAs what keeps it alive. */
  uses = 0;
  /** Cached pages. */
  nrPages = 0;
  /** Pages of the file that exist; beyond it an access is SIGBUS. */
  sizePages = 0;
  /** Indexes of dirty pages (PAGECACHE_TAG_DIRTY). */
  readonly dirty = new Set<number>();
  readonly #nodes: (Int32Array | undefined)[] = [];
  readonly #vmas = new Set<Vma>();

  constructor(id: number, disk: DiskFile | undefined, inodeLock: Mutex) {
    this.id = id;
    this.disk = disk;
    this.inodeLock = inodeLock;
  }

  get isShmem(): boolean {
    return this.disk === undefined;
  }

  /** i_mmap: the VMAs that map the file, shared or private. */
  get vmas(): ReadonlySet<Vma> {
    return this.#vmas;
  }

  /** Throws ENOMEM when a page could then be mapped oftener than its mapcount can say. */
  linkVma(vma: Vma): void {
    if (this.#vmas.size >= MAX_MAPCOUNT) throw new Errno('ENOMEM', 'file is mapped too often');
    this.#vmas.add(vma);
  }

  unlinkVma(vma: Vma): void {
    this.#vmas.delete(vma);
  }

  /** The cached page, or -1. */
  page(index: number): number {
    const slot = this.slot(index);
    return slot > 0 ? slot - 1 : -1;
  }

  slot(index: number): number {
    const node = this.#nodes[index >>> NODE_SHIFT];
    return node === undefined ? 0 : node[index & (NODE_SLOTS - 1)];
  }

  setPage(index: number, pfn: number): void {
    if (this.slot(index) <= 0) this.nrPages++;
    this.#setSlot(index, pfn + 1);
  }

  /** The page goes; `swapOffset` is left in its place when it went to swap. */
  removePage(index: number, swapOffset = -1): void {
    if (this.slot(index) > 0) this.nrPages--;
    this.#setSlot(index, swapOffset < 0 ? 0 : -1 - swapOffset);
  }

  /** Offset of the swap entry in a slot, or -1. */
  swapOffset(index: number): number {
    const slot = this.slot(index);
    return slot < 0 ? -1 - slot : -1;
  }

  /** Up to `limit` cached pages from index `start` on: their indexes go to `out`. */
  gather(start: number, end: number, out: Int32Array, limit: number): number {
    let count = 0;
    const lastNode = Math.min(this.#nodes.length, ((end - 1) >>> NODE_SHIFT) + 1);
    for (let number = start >>> NODE_SHIFT; number < lastNode; number++) {
      const node = this.#nodes[number];
      if (node === undefined) continue;
      const first = number << NODE_SHIFT;
      for (let slot = 0; slot < NODE_SLOTS; slot++) {
        const index = first + slot;
        if (node[slot] === 0 || index < start || index >= end) continue;
        out[count++] = index;
        if (count === limit) return count;
      }
    }
    return count;
  }

  /** All cached pages in order of index, as [index, pfn]. For checks and dumps. */
  *cachedPages(): Generator<[index: number, pfn: number]> {
    for (const [number, node] of this.#nodes.entries()) {
      if (node === undefined) continue;
      for (let slot = 0; slot < NODE_SLOTS; slot++) {
        if (node[slot] > 0) yield [(number << NODE_SHIFT) + slot, node[slot] - 1];
      }
    }
  }

  /** Places in the swap area where pages of this file lie. For checks. */
  *swapOffsets(): Generator<number> {
    for (const node of this.#nodes) {
      for (const slot of node ?? []) if (slot < 0) yield -1 - slot;
    }
  }

  #setSlot(index: number, value: number): void {
    const number = index >>> NODE_SHIFT;
    let node = this.#nodes[number];
    if (node === undefined) {
      if (value === 0) return;
      while (this.#nodes.length < number) this.#nodes.push(undefined);
      node = new Int32Array(NODE_SLOTS);
      this.#nodes[number] = node;
    }
    node[index & (NODE_SLOTS - 1)] = value;
    if (value === 0 && node.every((slot) => slot === 0)) this.#nodes[number] = undefined;
  }
}
