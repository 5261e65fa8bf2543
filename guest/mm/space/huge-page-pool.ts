import type { Waiting } from '../../sched/scheduler.ts';
import {
  __GFP_COMP,
  __GFP_NOWARN,
  __GFP_RETRY_MAYFAIL,
  __GFP_THISNODE,
  GFP_HIGHUSER_MOVABLE,
} from '../page/gfp.ts';
import type { Vmstat } from '../vmstat.ts';
import type { PageSupply } from './alloc-pages.ts';
import { HPAGE_PMD_ORDER } from './frames.ts';

/** Recorded of the pool's allocations; without retries once one has failed. */
const GFP_POOL =
  GFP_HIGHUSER_MOVABLE | __GFP_COMP | __GFP_NOWARN | __GFP_THISNODE | __GFP_RETRY_MAYFAIL;

/**
 * The pool of persistent huge pages (nr_hugepages): the administrator asks for so many pages of
 * order 9, and the kernel tries hard to have them.
 *
 * Not emulated: mappings of such pages (hugetlbfs), surplus and reserved pages, freeing of their
 * memory map, moving them. Those of 1 GiB are in gigantic-page-pool.ts.
 */
export class HugePagePool {
  readonly #supply: PageSupply;
  readonly #vmstat: Vmstat;
  /** First PFNs, the page had last at the end. */
  readonly #pages = new Set<number>();

  constructor(supply: PageSupply, vmstat: Vmstat) {
    this.#supply = supply;
    this.#vmstat = vmstat;
  }

  /** nr_hugepages as it reads: pages there are. */
  get count(): number {
    return this.#pages.size;
  }

  /** PageHuge: does this pageblock belong to a page of the pool? */
  has(blockPfn: number): boolean {
    return this.#pages.has(blockPfn);
  }

  /** set_max_huge_pages: grows or shrinks towards `count`; the first page not to be had ends it. */
  *resize(count: number): Waiting<number> {
    while (this.#pages.size < count) {
      const pfn = yield* this.#supply.allocPages(HPAGE_PMD_ORDER, GFP_POOL);
      if (pfn < 0) {
        this.#vmstat.htlb_buddy_alloc_fail++;
        break;
      }
      this.#vmstat.htlb_buddy_alloc_success++;
      this.#pages.add(pfn);
    }
    for (const pfn of [...this.#pages].slice(count)) {
      this.#pages.delete(pfn);
      this.#supply.allocator.free(pfn, HPAGE_PMD_ORDER);
    }
    return this.#pages.size;
  }
}
