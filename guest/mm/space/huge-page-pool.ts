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
import { HugetlbPool } from './hugetlb-pool.ts';

/** Recorded of the pool's allocations; without retries once one has failed. */
const GFP_POOL =
  GFP_HIGHUSER_MOVABLE | __GFP_COMP | __GFP_NOWARN | __GFP_THISNODE | __GFP_RETRY_MAYFAIL;

/** The pool of huge pages of 2 MiB (nr_hugepages): blocks of order 9 of the page allocator. */
export class HugePagePool extends HugetlbPool {
  readonly #supply: PageSupply;
  readonly #vmstat: Vmstat;

  constructor(supply: PageSupply, vmstat: Vmstat) {
    super();
    this.#supply = supply;
    this.#vmstat = vmstat;
  }

  protected override *allocate(): Waiting<number> {
    const pfn = yield* this.#supply.allocPages(HPAGE_PMD_ORDER, GFP_POOL);
    if (pfn < 0) this.#vmstat.htlb_buddy_alloc_fail++;
    else this.#vmstat.htlb_buddy_alloc_success++;
    return pfn;
  }

  protected override free(pfn: number): void {
    this.#supply.allocator.free(pfn, HPAGE_PMD_ORDER);
  }
}
