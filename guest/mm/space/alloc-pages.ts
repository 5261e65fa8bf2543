import type { Waiting } from '../../sched/scheduler.ts';
import type { PageAllocator } from '../page/alloc.ts';
import { __GFP_DIRECT_RECLAIM } from '../page/gfp.ts';

/** Who asks for memory, as far as the slow path cares: a killed process may be refused. */
export interface Asking {
  readonly killed: boolean;
}

/**
 * What an allocation does when the free lists have nothing for it: the part of
 * __alloc_pages_slowpath that may wait. Compaction, reclaim and the OOM killer are steps of it.
 */
export interface SlowPath {
  /**
   * The first PFN of 2^order frames, or -1 where the request may fail and does: it said so
   * in its gfp flags, it is costly, or `asking` was killed. `asking` is undefined for the kernel's
   * own tasks.
   */
  allocate(order: number, gfp: number, asking: Asking | undefined): Waiting<number>;
}

/** Before a slow path is handed in an allocation fails where it would wait. */
const NO_SLOW_PATH: SlowPath = {
  // biome-ignore lint/correctness/useYield: there is nothing to wait for.
  *allocate() {
    return -1;
  },
};

/** Where allocations that may wait go: every one of address spaces passes through here. */
export class PageSupply {
  readonly allocator: PageAllocator;
  /** Handed in after boot, since its steps need what is made later. */
  slowPath: SlowPath = NO_SLOW_PATH;

  constructor(allocator: PageAllocator) {
    this.allocator = allocator;
  }

  /**
   * alloc_pages: the first PFN of 2^order frames with one reference, or -1. May wait. Content is
   * zero only with __GFP_ZERO.
   */
  *allocPages(order: number, gfp: number, asking?: Asking): Waiting<number> {
    const pfn = this.allocator.alloc(order, gfp);
    return pfn >= 0 ? pfn : yield* this.allocSlow(order, gfp, asking);
  }

  /** The same for a request that was just refused by `allocator.alloc`. */
  *allocSlow(order: number, gfp: number, asking?: Asking): Waiting<number> {
    if ((gfp & __GFP_DIRECT_RECLAIM) === 0) return -1;
    return yield* this.slowPath.allocate(order, gfp, asking);
  }
}

interface Block {
  readonly pfn: number;
  readonly order: number;
  readonly gfp: number;
}

/**
 * Pages for something that must not wait in its middle: it takes what it needs, and where there is
 * nothing it leaves, waits in `fetch` and begins again. What was fetched is kept until it is taken,
 * so that in the end everything is there at once.
 */
export class PageSource {
  readonly #supply: PageSupply;
  readonly #asking: Asking | undefined;
  readonly #kept: Block[] = [];
  #wantedOrder = 0;
  #wantedGfp = 0;

  constructor(supply: PageSupply, asking?: Asking) {
    this.#supply = supply;
    this.#asking = asking;
  }

  /** A block of 2^order frames without waiting, or -1: then `fetch` and come again. */
  take(order: number, gfp: number): number {
    if (this.#kept.length > 0) {
      const at = this.#kept.findIndex((block) => block.order === order && block.gfp === gfp);
      if (at >= 0) return (this.#kept.splice(at, 1)[0] as Block).pfn;
    }
    const pfn = this.#supply.allocator.alloc(order, gfp);
    if (pfn < 0) {
      this.#wantedOrder = order;
      this.#wantedGfp = gfp;
    }
    return pfn;
  }

  /** Takes a block back that nothing was done with: the same request has it again. */
  putBack(pfn: number, order: number, gfp: number): void {
    this.#kept.push({ pfn, order, gfp });
  }

  /** Order of what the last `take` could not have. */
  get wantedOrder(): number {
    return this.#wantedOrder;
  }

  /** Waits for what `take` could not have. False when it cannot be had. */
  *fetch(): Waiting<boolean> {
    const order = this.#wantedOrder;
    const gfp = this.#wantedGfp;
    const pfn = yield* this.#supply.allocSlow(order, gfp, this.#asking);
    if (pfn >= 0) this.#kept.push({ pfn, order, gfp });
    return pfn >= 0;
  }

  /** Gives back what was fetched and is not needed after all. */
  close(): void {
    for (const { pfn, order } of this.#kept) this.#supply.allocator.free(pfn, order);
    this.#kept.length = 0;
  }
}
