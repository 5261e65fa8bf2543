import type { Waiting } from '../../sched/scheduler.ts';
import { __GFP_THISNODE, GFP_HIGHUSER } from '../page/gfp.ts';

/** Frames of a huge page of 1 GiB, to which it is aligned. */
export const GIGANTIC_PAGES = 1 << 18;
/** Of hugetlb pages that cannot be moved again, as those of 1 GiB. */
const GFP_GIGANTIC = GFP_HIGHUSER | __GFP_THISNODE;

/** alloc_contig_pages and free_contig_range, as far as the pool needs them. */
export interface ContigSupply {
  allocPages(count: number, gfp: number, isHugetlb: (blockPfn: number) => boolean): Waiting<number>;
  freeRange(range: { readonly start: number; readonly end: number }): void;
}

/**
 * The pool of persistent huge pages of 1 GiB (hugepages-1048576kB/nr_hugepages). No free list has
 * such a block: whatever is in the way is moved (alloc_gigantic_page).
 *
 * Not emulated: mappings of such pages (hugetlbfs), those reserved at boot, their frames as one
 * compound page: each stays a page of its own with one reference.
 */
export class GiganticPagePool {
  readonly #supply: ContigSupply;
  /** Pages of 2 MiB, which are not moved out of the way either. */
  readonly #small: { has(blockPfn: number): boolean };
  /** First PFNs, the page had last at the end. */
  readonly #pages = new Set<number>();

  constructor(supply: ContigSupply, small: { has(blockPfn: number): boolean }) {
    this.#supply = supply;
    this.#small = small;
  }

  /** nr_hugepages of this size as it reads. */
  get count(): number {
    return this.#pages.size;
  }

  /** First PFNs of the pages there are. */
  get pfns(): readonly number[] {
    return [...this.#pages];
  }

  /** PageHuge: does this pageblock belong to a page of either pool? */
  has(blockPfn: number): boolean {
    return this.#pages.has(blockPfn - (blockPfn % GIGANTIC_PAGES)) || this.#small.has(blockPfn);
  }

  /** set_max_huge_pages: grows or shrinks towards `count`; the first page not to be had ends it. */
  *resize(count: number): Waiting<number> {
    const isHugetlb = (blockPfn: number): boolean => this.has(blockPfn);
    while (this.#pages.size < count) {
      const start = yield* this.#supply.allocPages(GIGANTIC_PAGES, GFP_GIGANTIC, isHugetlb);
      if (start < 0) break;
      this.#pages.add(start);
    }
    for (const start of [...this.#pages].slice(count)) {
      this.#pages.delete(start);
      this.#supply.freeRange({ start, end: start + GIGANTIC_PAGES });
    }
    return this.#pages.size;
  }
}
