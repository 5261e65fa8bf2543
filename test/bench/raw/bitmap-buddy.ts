/** Orders 0 to 10, as in Linux. */
const ORDERS = 11;

/**
 * Raw baseline: a buddy allocator made of one bitmap per order with two summary levels, lowest
 * address first. The fastest allocator known here for a fragmented zone: no links, 0.26 bytes a
 * page. It keeps no order, no migratetypes, no watermarks and checks nothing.
 */
export class BitmapBuddy {
  free = 0;
  readonly #pageCount: number;
  readonly #bits: Int32Array[] = [];
  readonly #sums: Int32Array[] = [];
  readonly #tops: Int32Array[] = [];
  readonly #blocks = new Int32Array(ORDERS);
  /** Lowest word of the top level that may be set. */
  readonly #cursors = new Int32Array(ORDERS);

  /** `pageCount` is a multiple of 1024. */
  constructor(pageCount: number) {
    this.#pageCount = pageCount;
    for (let order = 0; order < ORDERS; order++) {
      const words = Math.max(1, ((pageCount >> order) + 31) >> 5);
      const sums = (words + 31) >> 5;
      this.#bits.push(new Int32Array(words));
      this.#sums.push(new Int32Array(sums));
      this.#tops.push(new Int32Array((sums + 31) >> 5));
    }
    for (let block = 0; block < this.#pageCount >> (ORDERS - 1); block++) {
      this.#set(ORDERS - 1, block);
    }
    this.free = pageCount;
  }

  /** The first page of a free block, or -1. */
  alloc(order: number): number {
    for (let current = order; current < ORDERS; current++) {
      if (this.#blocks[current] === 0) continue;
      let block = this.#first(current);
      this.#clear(current, block);
      for (let half = current; half > order; ) {
        half--;
        block <<= 1;
        this.#set(half, block + 1);
      }
      this.free -= 1 << order;
      return block << order;
    }
    return -1;
  }

  release(pfn: number, order: number): void {
    this.free += 1 << order;
    let block = pfn >>> order;
    let current = order;
    for (; current < ORDERS - 1; current++) {
      const buddy = block ^ 1;
      if (((this.#bits[current][buddy >>> 5] >>> (buddy & 31)) & 1) === 0) break;
      this.#clear(current, buddy);
      block >>>= 1;
    }
    this.#set(current, block);
  }

  #set(order: number, block: number): void {
    const word = block >>> 5;
    const bits = this.#bits[order];
    if (bits[word] === 0) {
      const sums = this.#sums[order];
      const sum = word >>> 5;
      if (sums[sum] === 0) {
        const top = sum >>> 5;
        this.#tops[order][top] |= 1 << (sum & 31);
        if (top < this.#cursors[order]) this.#cursors[order] = top;
      }
      sums[sum] |= 1 << (word & 31);
    }
    bits[word] |= 1 << (block & 31);
    this.#blocks[order]++;
  }

  #clear(order: number, block: number): void {
    const word = block >>> 5;
    const bits = this.#bits[order];
    bits[word] &= ~(1 << (block & 31));
    if (bits[word] === 0) {
      const sums = this.#sums[order];
      const sum = word >>> 5;
      sums[sum] &= ~(1 << (word & 31));
      if (sums[sum] === 0) this.#tops[order][sum >>> 5] &= ~(1 << (sum & 31));
    }
    this.#blocks[order]--;
  }

  #first(order: number): number {
    const tops = this.#tops[order];
    let top = this.#cursors[order];
    while (tops[top] === 0) top++;
    this.#cursors[order] = top;
    const sum = lowestBit(top, tops[top]);
    const word = lowestBit(sum, this.#sums[order][sum]);
    return lowestBit(word, this.#bits[order][word]);
  }
}

/** Number of the lowest set bit of `word`, which is the `index`th word of its map. */
function lowestBit(index: number, word: number): number {
  return (index << 5) + 31 - Math.clz32(word & -word);
}
