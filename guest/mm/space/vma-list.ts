import { assert } from '../../../shared/lib/assert.ts';
import { TASK_SIZE_PAGES } from './page-tables.ts';

/** Where mmap looks for room: downwards from below the stack, not below 64 KiB. */
export const MMAP_BASE = TASK_SIZE_PAGES - 32_768;
export const MMAP_MIN = 16;

/** sysctl_max_map_count. */
export const MAX_MAP_COUNT = 65_530;

/** Pages [start, end) of an address space. */
export interface VmaRange {
  /** First page. */
  readonly start: number;
  /** One more than the last page. */
  readonly end: number;
}

/** The VMAs of one address space, sorted by address, none overlapping. */
export class VmaList<Vma extends VmaRange> {
  readonly #vmas: Vma[] = [];
  /** Where the last search ended; faults come in runs. */
  #lastIndex = 0;

  get length(): number {
    return this.#vmas.length;
  }

  [Symbol.iterator](): IterableIterator<Vma> {
    return this.#vmas.values();
  }

  at(index: number): Vma | undefined {
    return this.#vmas[index];
  }

  /** Index of the first VMA that ends behind `vpn`; the length when there is none. */
  indexAt(vpn: number): number {
    const vmas = this.#vmas;
    let low = 0;
    let high = vmas.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((vmas[middle] as Vma).end <= vpn) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** The VMA that holds the page; undefined in a gap. */
  find(vpn: number): Vma | undefined {
    const last = this.#vmas[this.#lastIndex];
    if (last !== undefined && vpn >= last.start && vpn < last.end) return last;
    const index = this.indexAt(vpn);
    const vma = this.#vmas[index];
    if (vma === undefined || vma.start > vpn) return undefined;
    this.#lastIndex = index;
    return vma;
  }

  insert(vma: Vma): void {
    const index = this.indexAt(vma.start);
    const next = this.#vmas[index];
    assert(next === undefined || next.start >= vma.end, 'a new VMA overlaps no other');
    this.#vmas.splice(index, 0, vma);
  }

  remove(vma: Vma): void {
    const index = this.indexAt(vma.start);
    assert(this.#vmas[index] === vma, 'a VMA is removed from the list it is in');
    this.#vmas.splice(index, 1);
  }

  /** VMAs that hold pages of [start, end), in order; a copy, safe against changes. */
  overlapping(start: number, end: number): Vma[] {
    const found: Vma[] = [];
    for (let index = this.indexAt(start); index < this.#vmas.length; index++) {
      const vma = this.#vmas[index] as Vma;
      if (vma.start >= end) break;
      found.push(vma);
    }
    return found;
  }

  /** Is every page of [start, end) in a VMA? */
  covers(start: number, end: number): boolean {
    let reached = start;
    for (const vma of this.overlapping(start, end)) {
      if (vma.start > reached) return false;
      reached = vma.end;
    }
    return reached >= end;
  }

  /** The VMA before the first that ends behind `vpn`, and that first one: find_vma_prev. */
  previousEnd(vpn: number): number {
    const previous = this.#vmas[this.indexAt(vpn) - 1];
    return previous?.end ?? 0;
  }

  nextStart(vpn: number): number {
    return this.#vmas[this.indexAt(vpn)]?.start ?? TASK_SIZE_PAGES;
  }

  /** vm_unmapped_area, top down: start of the highest gap of `pageCount` pages, or -1. */
  unmappedArea(pageCount: number): number {
    let top = MMAP_BASE;
    for (let index = this.#vmas.length - 1; index >= 0; index--) {
      const vma = this.#vmas[index] as Vma;
      if (vma.end <= top && top - vma.end >= pageCount) return top - pageCount;
      top = Math.min(top, vma.start);
    }
    return top - MMAP_MIN >= pageCount ? top - pageCount : -1;
  }
}
