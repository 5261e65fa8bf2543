import { assert } from '../../../shared/lib/assert.ts';
import { PAGE_SIZE } from '../../../shared/lib/units.ts';
import type { Waiting } from '../../sched/scheduler.ts';
import {
  __GFP_COMP,
  __GFP_NOMEMALLOC,
  __GFP_NORETRY,
  __GFP_NOWARN,
  __GFP_RECLAIM,
  __GFP_RECLAIMABLE,
  GFP_KERNEL,
} from '../page/gfp.ts';
import type { Asking } from './alloc-pages.ts';
import type { Spaces } from './spaces.ts';

/** slub_max_order, and slub_min_objects on one CPU: 4 * (fls(1) + 1). */
const SLUB_MAX_ORDER = 3;
const SLUB_MIN_OBJECTS = 8;

export interface SlabCacheOptions {
  readonly name: string;
  readonly objectBytes: number;
  /** SLAB_RECLAIM_ACCOUNT: dentries and inodes, which a shrinker could free. */
  readonly reclaimable?: boolean;
}

interface Slab {
  readonly pfn: number;
  readonly order: number;
  inUse: number;
}

/**
 * A cache of kernel objects as SLUB keeps one, as far as page frames can see it: slabs of an order
 * that follows from the size of the objects, filled one after the other and given back when their
 * last object is freed. Pages are unmovable, or reclaimable.
 *
 * Not emulated: per-CPU and partial lists (which slab an object comes from), merging of caches,
 * shrinkers, empty slabs that are kept (min_partial), content of objects.
 */
export class SlabCache {
  readonly name: string;
  readonly objectBytes: number;
  readonly order: number;
  readonly #spaces: Spaces;
  readonly #gfp: number;
  readonly #level: 'nr_slab_reclaimable' | 'nr_slab_unreclaimable';
  /** Slabs by PFN, and the one that is being filled. */
  readonly #slabs = new Map<number, Slab>();
  #filling: Slab | undefined;

  constructor(spaces: Spaces, options: SlabCacheOptions) {
    this.#spaces = spaces;
    this.name = options.name;
    this.objectBytes = options.objectBytes;
    this.order = slabOrder(options.objectBytes);
    const reclaimable = options.reclaimable === true;
    this.#gfp = GFP_KERNEL | (reclaimable ? __GFP_RECLAIMABLE : 0);
    this.#level = reclaimable ? 'nr_slab_reclaimable' : 'nr_slab_unreclaimable';
  }

  get slabCount(): number {
    return this.#slabs.size;
  }

  /** kmem_cache_alloc: the PFN of the slab the object lies in, or -1 for a killed process. */
  *alloc(asking?: Asking): Waiting<number> {
    let slab = this.#filling;
    if (slab === undefined) {
      slab = yield* this.#newSlab(asking);
      if (slab === undefined) return -1;
    }
    slab.inUse++;
    this.#filling = slab.inUse < this.#capacity(slab.order) ? slab : undefined;
    return slab.pfn;
  }

  /** kmem_cache_free of an object of the slab at `pfn`. */
  free(pfn: number): void {
    const slab = this.#slabs.get(pfn);
    assert(slab !== undefined && slab.inUse > 0, 'an object is freed to the slab it came from');
    slab.inUse--;
    if (slab.inUse > 0) return;
    if (this.#filling === slab) this.#filling = undefined;
    this.#slabs.delete(pfn);
    this.#count(-(1 << slab.order));
    this.#spaces.allocator.free(pfn, slab.order);
  }

  /** allocate_slab: the wanted order with little effort, then the smallest that will do. */
  *#newSlab(asking: Asking | undefined): Waiting<Slab | undefined> {
    const slab = this.#tryOrder() ?? (yield* this.#smallest(asking));
    if (slab === undefined) return undefined;
    this.#slabs.set(slab.pfn, slab);
    this.#count(1 << slab.order);
    return slab;
  }

  #tryOrder(): Slab | undefined {
    const { order } = this;
    let gfp = this.#gfp | __GFP_NOWARN | __GFP_NORETRY;
    if (order > 0) gfp |= __GFP_COMP;
    if (order > this.#minOrder()) gfp = (gfp | __GFP_NOMEMALLOC) & ~__GFP_RECLAIM;
    const pfn = this.#spaces.allocator.alloc(order, gfp);
    return pfn < 0 ? undefined : { pfn, order, inUse: 0 };
  }

  *#smallest(asking: Asking | undefined): Waiting<Slab | undefined> {
    const order = this.#minOrder();
    const gfp = order > 0 ? this.#gfp | __GFP_COMP : this.#gfp;
    const pfn = yield* this.#spaces.supply.allocPages(order, gfp, asking);
    return pfn < 0 ? undefined : { pfn, order, inUse: 0 };
  }

  /** The smallest order that one object fits. */
  #minOrder(): number {
    return Math.max(0, Math.ceil(Math.log2(this.objectBytes / PAGE_SIZE)));
  }

  #capacity(order: number): number {
    return Math.floor((PAGE_SIZE << order) / this.objectBytes);
  }

  #count(pages: number): void {
    this.#spaces.vmstat[this.#level] += pages;
    if (this.#level === 'nr_slab_reclaimable') {
      this.#spaces.allocator.levels.slabReclaimable += pages;
    }
  }
}

/** calculate_order: many objects a slab and little left over, up to order 3. */
export function slabOrder(objectBytes: number): number {
  const most = Math.floor((PAGE_SIZE << SLUB_MAX_ORDER) / objectBytes);
  for (let objects = Math.min(SLUB_MIN_OBJECTS, most); objects > 1; objects--) {
    for (let fraction = 16; fraction >= 4; fraction /= 2) {
      const order = orderFor(objectBytes, objects, fraction);
      if (order <= SLUB_MAX_ORDER) return order;
    }
  }
  return Math.max(0, Math.ceil(Math.log2(objectBytes / PAGE_SIZE)));
}

/** calc_slab_order: the first that holds so many objects and wastes at most 1/fraction. */
function orderFor(objectBytes: number, objects: number, fraction: number): number {
  let order = Math.max(0, Math.ceil(Math.log2((objects * objectBytes) / PAGE_SIZE)));
  for (; order <= SLUB_MAX_ORDER; order++) {
    const slabBytes = PAGE_SIZE << order;
    if (slabBytes % objectBytes <= slabBytes / fraction) break;
  }
  return order;
}
