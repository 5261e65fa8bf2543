import type { Waiting } from '../../sched/scheduler.ts';
import { __GFP_THISNODE, GFP_HIGHUSER } from '../page/gfp.ts';
import { HugetlbPool } from './hugetlb-pool.ts';

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
 * The pool of huge pages of 1 GiB (hugepages-1048576kB/nr_hugepages). No free list has such a
 * block: whatever is in the way is moved (alloc_gigantic_page).
 *
 * Not emulated: those reserved at boot, their frames as one compound page: each stays a page of its
 * own with one reference.
 */
export class GiganticPagePool extends HugetlbPool {
  readonly #supply: ContigSupply;
  /** Pages of 2 MiB, which are not moved out of the way either. */
  readonly #small: Pick<HugetlbPool, 'beginsAt'>;

  constructor(supply: ContigSupply, small: Pick<HugetlbPool, 'beginsAt'>) {
    super();
    this.#supply = supply;
    this.#small = small;
  }

  /** PageHuge: does this pageblock belong to a page of either pool? */
  has(blockPfn: number): boolean {
    const start = blockPfn - (blockPfn % GIGANTIC_PAGES);
    return this.beginsAt(start) || this.#small.beginsAt(blockPfn);
  }

  protected override allocate(): Waiting<number> {
    const isHugetlb = (blockPfn: number): boolean => this.has(blockPfn);
    return this.#supply.allocPages(GIGANTIC_PAGES, GFP_GIGANTIC, isHugetlb);
  }

  protected override free(pfn: number): void {
    this.#supply.freeRange({ start: pfn, end: pfn + GIGANTIC_PAGES });
  }
}
