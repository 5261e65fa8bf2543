/** Orders 0 to 10, as in Linux. */
const MAX_ORDER = 10;
const ORDER_MASK = 0xff;
const NO_ORDER = 0xff;
/** Flag "in the balloon" and a reference count of 1, beside the order. */
const BALLOONED = 0x20_0100;
const BATCH = 256;

/**
 * Raw baseline: a buddy allocator with linked free lists and the four words of a page side by
 * side, and the balloon's part on top: mark, append to the list, append to a batch of 256. Free
 * lists and balloon list share the link words, as the lru of struct page does. One migratetype, no
 * per-CPU lists, no watermarks, no checks.
 */
export class AosBalloon {
  free = 0;
  /** Batches that were full; somebody has to look at them. */
  batches = 0;
  readonly #words: Int32Array;
  readonly #heads = new Int32Array(MAX_ORDER + 1).fill(-1);
  readonly #batch = new Int32Array(BATCH);
  #batched = 0;
  #first = -1;
  #last = -1;

  /** `pageCount` is a multiple of 1024. */
  constructor(pageCount: number) {
    this.#words = new Int32Array(pageCount * 4);
    for (let word = 2; word < this.#words.length; word += 4) this.#words[word] = NO_ORDER;
    const step = 1 << MAX_ORDER;
    for (let pfn = pageCount - step; pfn >= 0; pfn -= step) this.#push(pfn, MAX_ORDER);
    this.free = pageCount;
  }

  alloc(order: number): number {
    for (let current = order; current <= MAX_ORDER; current++) {
      const pfn = this.#heads[current];
      if (pfn < 0) continue;
      const words = this.#words;
      const next = words[pfn << 2];
      this.#heads[current] = next;
      if (next >= 0) words[(next << 2) + 1] = -1;
      words[(pfn << 2) + 2] |= NO_ORDER;
      while (current > order) {
        current--;
        this.#push(pfn + (1 << current), current);
      }
      this.free -= 1 << order;
      return pfn;
    }
    return -1;
  }

  release(pfn: number, order: number): void {
    this.free += 1 << order;
    const words = this.#words;
    let block = pfn;
    let current = order;
    for (; current < MAX_ORDER; current++) {
      const buddy = block ^ (1 << current);
      if ((words[(buddy << 2) + 2] & ORDER_MASK) !== current) break;
      this.#unlink(buddy, current);
      block &= buddy;
    }
    this.#push(block, current);
  }

  inflate(pageCount: number): void {
    const words = this.#words;
    for (let taken = 0; taken < pageCount; taken++) {
      const pfn = this.alloc(0);
      if (pfn < 0) return;
      const at = pfn << 2;
      words[at + 2] |= BALLOONED;
      words[at + 1] = this.#last;
      words[at] = -1;
      if (this.#last >= 0) words[this.#last << 2] = pfn;
      else this.#first = pfn;
      this.#last = pfn;
      this.#tell(pfn);
    }
  }

  deflate(pageCount: number): void {
    const words = this.#words;
    for (let given = 0; given < pageCount && this.#first >= 0; given++) {
      const pfn = this.#first;
      const at = pfn << 2;
      this.#first = words[at];
      if (this.#first >= 0) words[(this.#first << 2) + 1] = -1;
      else this.#last = -1;
      words[at + 2] &= ~BALLOONED;
      this.release(pfn, 0);
      this.#tell(pfn);
    }
  }

  #tell(pfn: number): void {
    this.#batch[this.#batched++] = pfn;
    if (this.#batched < BATCH) return;
    this.batches += this.#batch[0] < 0 ? 0 : 1;
    this.#batched = 0;
  }

  #push(pfn: number, order: number): void {
    const words = this.#words;
    const head = this.#heads[order];
    const at = pfn << 2;
    words[at] = head;
    words[at + 1] = -1;
    words[at + 2] = (words[at + 2] & ~ORDER_MASK) | order;
    if (head >= 0) words[(head << 2) + 1] = pfn;
    this.#heads[order] = pfn;
  }

  #unlink(pfn: number, order: number): void {
    const words = this.#words;
    const at = pfn << 2;
    const previous = words[at + 1];
    const next = words[at];
    if (previous >= 0) words[previous << 2] = next;
    else this.#heads[order] = next;
    if (next >= 0) words[(next << 2) + 1] = previous;
    words[at + 2] |= NO_ORDER;
  }
}
