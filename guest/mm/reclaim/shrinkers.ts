import type { Vmstat } from '../vmstat.ts';

/** struct shrinker: a holder of memory that can be asked to give some of it back. */
export interface Shrinker {
  /** Pages it could free now. */
  count(): number;
  /** Frees about `pages`, rounded as it needs; returns the pages freed. Does not wait. */
  scan(pages: number): number;
}

/** SHRINK_BATCH: what a shrinker is asked for at once. */
const SHRINK_BATCH_PAGES = 128;
/** Of 4: DEFAULT_SEEKS is 2, as for all shrinkers here. */
const SCAN_SHARE = 2;

/**
 * The registered shrinkers, asked whenever the node is shrunk: the more urgent, the larger the
 * share of what they have. What would be too little to ask for is added up for the next time.
 *
 * Not emulated: memory control groups, shrinkers that are not registered yet.
 */
export class Shrinkers {
  /** Each with what it was not asked for yet (nr_deferred). */
  readonly #deferred = new Map<Shrinker, number>();

  /** register_shrinker; returns the function that unregisters. */
  register(shrinker: Shrinker): () => void {
    this.#deferred.set(shrinker, 0);
    return () => {
      this.#deferred.delete(shrinker);
    };
  }

  /** shrink_slab: `priority` is 12 for a gentle look and 0 for all. Returns the pages freed. */
  shrink(priority: number, vmstat: Vmstat): number {
    let freed = 0;
    for (const [shrinker, deferred] of [...this.#deferred]) {
      freed += this.#shrinkOne(shrinker, deferred, priority, vmstat);
    }
    return freed;
  }

  /** do_shrink_slab. */
  #shrinkOne(shrinker: Shrinker, deferred: number, priority: number, vmstat: Vmstat): number {
    const freeable = shrinker.count();
    if (freeable === 0) return 0;
    const delta = (freeable >> priority) * SCAN_SHARE;
    let toScan = Math.min((deferred >> priority) + delta, 2 * freeable);
    let freed = 0;
    let scanned = 0;
    while (toScan >= SHRINK_BATCH_PAGES || toScan >= freeable) {
      const pages = Math.min(SHRINK_BATCH_PAGES, toScan);
      if (pages === 0) break;
      freed += shrinker.scan(pages);
      toScan -= pages;
      scanned += pages;
    }
    vmstat.slabs_scanned += scanned;
    const left = Math.min(Math.max(deferred + delta - scanned, 0), 2 * freeable);
    if (this.#deferred.has(shrinker)) this.#deferred.set(shrinker, left);
    return freed;
  }
}
