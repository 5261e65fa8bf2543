import { assert } from '../../../shared/lib/assert.ts';

/**
 * References that tasks keep while they wait. The kernel counts them like any other; they are
 * written down here as well, so that a check between two steps can tell a reference that somebody
 * holds from one that was forgotten.
 */
export class Holds {
  readonly #counts = new Map<number, number>();

  add(pfn: number): void {
    this.#counts.set(pfn, this.of(pfn) + 1);
  }

  remove(pfn: number): void {
    const count = this.of(pfn);
    assert(count > 0, 'a hold that ends was written down');
    if (count === 1) this.#counts.delete(pfn);
    else this.#counts.set(pfn, count - 1);
  }

  of(pfn: number): number {
    return this.#counts.get(pfn) ?? 0;
  }
}
