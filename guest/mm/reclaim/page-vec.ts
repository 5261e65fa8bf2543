/** PAGEVEC_SIZE: pages of one batch. */
export const PAGEVEC_SIZE = 15;

/** struct folio_batch: up to 15 pages, each with a reference that the batch holds. */
export class PageVec {
  readonly pfns = new Int32Array(PAGEVEC_SIZE);
  count = 0;

  /** Returns true when the batch is full now. */
  push(pfn: number): boolean {
    this.pfns[this.count++] = pfn;
    return this.count === PAGEVEC_SIZE;
  }

  has(pfn: number): boolean {
    return this.countOf(pfn) > 0;
  }

  countOf(pfn: number): number {
    let found = 0;
    for (let index = 0; index < this.count; index++) if (this.pfns[index] === pfn) found++;
    return found;
  }
}
