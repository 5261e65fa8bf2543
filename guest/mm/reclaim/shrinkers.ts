/** struct shrinker: a holder of memory that can be asked to give some of it back. */
export interface Shrinker {
  /** Pages it could free now. */
  count(): number;
  /** Frees about `pages`, rounded as it needs; returns the pages freed. Does not wait. */
  scan(pages: number): number;
}

/** SHRINK_BATCH: what a shrinker is asked for at once. */
const SHRINK_BATCH_PAGES = 128;

/**
 * The registered shrinkers, asked before anything is killed for memory.
 *
 * Not emulated: priorities and the share of each shrinker (do_shrink_slab), memory control groups.
 */
export class Shrinkers {
  readonly #shrinkers = new Set<Shrinker>();

  /** register_shrinker; returns the function that unregisters. */
  register(shrinker: Shrinker): () => void {
    this.#shrinkers.add(shrinker);
    return () => {
      this.#shrinkers.delete(shrinker);
    };
  }

  /** shrink_slab: asks each that has something for one batch. Returns the pages freed. */
  shrink(): number {
    let freed = 0;
    for (const shrinker of this.#shrinkers) {
      if (shrinker.count() > 0) freed += shrinker.scan(SHRINK_BATCH_PAGES);
    }
    return freed;
  }
}
