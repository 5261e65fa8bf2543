/** Violated invariants, each with its first case. */
export class Report {
  readonly #first = new Map<string, string | number>();

  /** `detail` says where; a plain number costs nothing while all is well. */
  expect(holds: boolean, invariant: string, detail: string | number = ''): void {
    if (!holds && !this.#first.has(invariant)) this.#first.set(invariant, detail);
  }

  violated(): string[] {
    return [...this.#first].map(([name, detail]) => (detail === '' ? name : `${name}: ${detail}`));
  }
}

/** What was found to refer to each frame. */
export class Tally {
  /** PTEs that map the frame; PMDs that map the huge page it is the head of. */
  readonly ptes: Uint16Array;
  readonly pmds: Uint16Array;
  /** Slots of the page cache. */
  readonly cache: Uint8Array;
  /** Page tables found by their parents, pgds included. */
  readonly tables: Uint8Array;
  /** Entries of page tables and files that name a place in the swap area, by its offset. */
  readonly swap = new Map<number, number>();

  constructor(pageCount: number) {
    this.ptes = new Uint16Array(pageCount);
    this.pmds = new Uint16Array(pageCount);
    this.cache = new Uint8Array(pageCount);
    this.tables = new Uint8Array(pageCount);
  }

  countSwap(offset: number): void {
    this.swap.set(offset, (this.swap.get(offset) ?? 0) + 1);
  }
}
