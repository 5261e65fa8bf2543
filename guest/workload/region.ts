/**
 * A run of pages that a program mapped, and what it must find in each of them: the tag it wrote
 * last, or 0 where it never wrote. What an emulated process would know by heart.
 */
export class Region {
  readonly start: number;
  readonly pageCount: number;
  /** MAP_SHARED: parent and child see one another's writes. */
  readonly shared: boolean;
  readonly expected: Uint32Array;

  constructor(start: number, pageCount: number, shared: boolean, expected?: Uint32Array) {
    this.start = start;
    this.pageCount = pageCount;
    this.shared = shared;
    this.expected = expected ?? new Uint32Array(pageCount);
  }

  /** The region as a child has it at the moment of the fork. */
  inherited(): Region {
    if (this.shared) return this;
    return new Region(this.start, this.pageCount, false, this.expected.slice());
  }
}

/** What a process writes into a page: never 0, different for every process, page and time. */
export function canary(mmId: number, vpn: number, generation: number): number {
  let mixed = Math.imul(mmId, 0x9e37_79b1) ^ Math.imul(vpn + 1, 0x85eb_ca6b);
  mixed ^= Math.imul(generation, 0xc2b2_ae35);
  mixed ^= mixed >>> 15;
  return Math.imul(mixed, 0x2c1b_3c6d) >>> 0 || 1;
}
