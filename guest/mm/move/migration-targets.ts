import type { Waiting } from '../../sched/scheduler.ts';
import {
  __GFP_MOVABLE,
  __GFP_RECLAIM,
  __GFP_RETRY_MAYFAIL,
  GFP_TRANSHUGE,
  GFP_USER,
} from '../page/gfp.ts';
import type { PageSupply } from '../space/alloc-pages.ts';
import type { CompactControl } from './compact-control.ts';
import type { LruPages } from './lru-pages.ts';
import type { MigrationTargets } from './migrate-pages.ts';

const GFP_TARGET = GFP_USER | __GFP_MOVABLE | __GFP_RETRY_MAYFAIL;
/** For a huge page: as for any new one, without waking kswapd. */
const GFP_HUGE_TARGET = (GFP_TARGET & ~__GFP_RECLAIM) | GFP_TRANSHUGE;

/** alloc_migration_target: pages of a range that has to be emptied go wherever there is room. */
export class AllocatedTargets implements MigrationTargets {
  readonly #supply: PageSupply;
  readonly #lru: LruPages;

  constructor(supply: PageSupply, lru: LruPages) {
    this.#supply = supply;
    this.#lru = lru;
  }

  *take(_cc: CompactControl, order: number): Waiting<number> {
    const gfp = order > 0 ? GFP_HUGE_TARGET : GFP_TARGET;
    const pfn = yield* this.#supply.allocPages(order, gfp);
    if (pfn >= 0 && order > 0) this.#lru.prepareHuge(pfn);
    return pfn;
  }

  giveBack(_cc: CompactControl, pfn: number): void {
    this.#lru.put(pfn);
  }
}
