import { FRAME, type RecordedFrames } from '../../guest/mm/page/page-dump.ts';

/** Bits of /proc/kpageflags. */
const KPF = {
  lru: 5,
  slab: 7,
  writeback: 8,
  buddy: 10,
  mmap: 11,
  anon: 12,
  swapbacked: 14,
  compoundHead: 15,
  compoundTail: 16,
  offline: 23,
  pgtable: 26,
  reserved: 32,
} as const;

const HIGH_BIT = 32;
const MAX_COMPOUND_PAGES = 1024;

/** /proc/kpageflags of a recorded guest: a 64-bit word of flags for every frame from PFN 0 on. */
export class PageFlags implements RecordedFrames {
  readonly pageCount: number;
  readonly #view: DataView;

  constructor(bytes: Uint8Array) {
    this.pageCount = Math.floor(bytes.byteLength / 8);
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  isFree(pfn: number): boolean {
    return this.#has(pfn, KPF.buddy);
  }

  isReserved(pfn: number): boolean {
    return this.#has(pfn, KPF.reserved);
  }

  /** Of a process, a file or a balloon. */
  isMovable(pfn: number): boolean {
    return this.#has(pfn, KPF.lru) || this.#has(pfn, KPF.offline);
  }

  /** The same, and no part of a larger page: of those only the first frame has all flags. */
  isMovableAlone(pfn: number): boolean {
    const isPart = this.#has(pfn, KPF.compoundHead) || this.#has(pfn, KPF.compoundTail);
    return this.isMovable(pfn) && !isPart;
  }

  /** Nothing is said of it: the kernel's own, or on a per-CPU list. */
  isPlain(pfn: number): boolean {
    const at = pfn * 8;
    return this.#view.getUint32(at, true) === 0 && this.#view.getUint32(at + 4, true) === 0;
  }

  isSlab(pfn: number): boolean {
    return this.#has(pfn, KPF.slab);
  }

  describe(pfn: number): number {
    if (!this.#has(pfn, KPF.lru)) return 0;
    return (
      FRAME.lru |
      (this.#has(pfn, KPF.anon) ? 0 : FRAME.file) |
      (this.#has(pfn, KPF.mmap) ? FRAME.mapped : 0) |
      (this.#has(pfn, KPF.writeback) ? FRAME.writeback : 0) |
      (this.#has(pfn, KPF.swapbacked) ? FRAME.swapbacked : 0)
    );
  }

  compoundOrder(pfn: number): number {
    if (!this.#has(pfn, KPF.compoundHead)) return 0;
    let count = 1;
    while (count < MAX_COMPOUND_PAGES && this.#has(pfn + count, KPF.compoundTail)) count++;
    return 31 - Math.clz32(count);
  }

  #has(pfn: number, bit: number): boolean {
    if (pfn >= this.pageCount) return false;
    const half = bit < HIGH_BIT ? 0 : 4;
    return ((this.#view.getUint32(pfn * 8 + half, true) >>> (bit % HIGH_BIT)) & 1) === 1;
  }
}
