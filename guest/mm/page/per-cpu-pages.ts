import { MIGRATE_PCPTYPES } from './gfp.ts';
import { PAGEBLOCK_ORDER } from './page-map.ts';

/** Orders above this one are costly: they have no per-CPU lists, but for huge pages. */
export const PAGE_ALLOC_COSTLY_ORDER = 3;
/** CONFIG_PCP_BATCH_SCALE_MAX. */
export const PCP_BATCH_SCALE_MAX = 5;
/** zone_batchsize of the largest zones, in frames: no list is refilled by more. */
export const MAX_PCP_BATCH = 63;
/** Three migratetypes for each of orders 0 to 3, and one list of huge pages. */
export const NR_PCP_LISTS = MIGRATE_PCPTYPES * (PAGE_ALLOC_COSTLY_ORDER + 1) + 1;
const HUGE_PINDEX = NR_PCP_LISTS - 1;

/** pcp_allowed_order. */
export function pcpAllowedOrder(order: number): boolean {
  return order <= PAGE_ALLOC_COSTLY_ORDER || order === PAGEBLOCK_ORDER;
}

/** order_to_pindex. */
export function orderToPindex(migratetype: number, order: number): number {
  return order > PAGE_ALLOC_COSTLY_ORDER ? HUGE_PINDEX : order * MIGRATE_PCPTYPES + migratetype;
}

/** pindex_to_order. */
export function pindexToOrder(pindex: number): number {
  return pindex === HUGE_PINDEX ? PAGEBLOCK_ORDER : Math.floor(pindex / MIGRATE_PCPTYPES);
}

/** struct per_cpu_pages of the one CPU: its lists and what decides how long they get. */
export class PerCpuPages {
  /** Frames on all lists. */
  count = 0;
  /** From this count on lists are drained. */
  high = 0;
  /** Blocks of order 0 taken or given back at once. */
  batch = 1;
  /** Doublings of the batch by frees without an allocation in between. */
  freeFactor = 0;
  /** An interrupted task holds the lock: what runs now goes to the free lists (trylock fails). */
  locked = false;
  readonly #lists: number;

  constructor(firstList: number) {
    this.#lists = firstList;
  }

  /** Node number of one of the 13 lists. */
  list(pindex: number): number {
    return this.#lists + pindex;
  }
}
