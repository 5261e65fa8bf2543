import type { Waiting } from '../../sched/scheduler.ts';

/**
 * A pool of persistent huge pages of one size (struct hstate): the administrator asks for so many,
 * and the kernel tries hard to have them. Where pages come from and go to is the size's.
 *
 * Not emulated: mappings of such pages (hugetlbfs), surplus and reserved pages, freeing of their
 * memory map, moving them.
 */
export abstract class HugetlbPool {
  /** First PFNs, the page had last at the end. */
  readonly #pages = new Set<number>();

  /** nr_hugepages as it reads: pages there are. */
  get count(): number {
    return this.#pages.size;
  }

  /** First PFNs of the pages there are. */
  get pfns(): readonly number[] {
    return [...this.#pages];
  }

  /** Does a page of the pool begin here? */
  beginsAt(pfn: number): boolean {
    return this.#pages.has(pfn);
  }

  /** set_max_huge_pages: grows or shrinks towards `count`; the first page not to be had ends it. */
  *resize(count: number): Waiting<number> {
    while (this.count < count) {
      const pfn = yield* this.allocate();
      if (pfn < 0) break;
      this.#pages.add(pfn);
    }
    for (const pfn of this.pfns.slice(count)) {
      this.#pages.delete(pfn);
      this.free(pfn);
    }
    return this.count;
  }

  /** The first PFN of a page, or -1. */
  protected abstract allocate(): Waiting<number>;

  protected abstract free(pfn: number): void;
}
