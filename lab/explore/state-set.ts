import { MAX_EXPLORED_STATES } from '../../shared/limits.ts';

/** The graph is larger than MAX_EXPLORED_STATES: the scenario is too large, nothing is wrong. */
export class TooManyStates extends Error {
  override readonly name = 'TooManyStates';

  constructor() {
    super(`more than ${MAX_EXPLORED_STATES} states: take fewer procedures, pages or events`);
  }
}

const FIRST_CAPACITY = 1 << 10;

/**
 * States that were seen, each a row of `width` bytes in one growing array, found again by an open
 * hash table. A state's number is its place: states are numbered in the order of their first sight.
 */
export class StateSet {
  readonly width: number;
  count = 0;
  /** True when the last `add` met a state for the first time. */
  wasNew = false;
  #rows: Int8Array;
  #words: Int32Array;
  /** Numbers and 1, 0 where empty; twice the capacity of the rows. */
  #table: Int32Array;

  /** `width` is a multiple of four. */
  constructor(width: number) {
    this.width = width;
    this.#rows = new Int8Array(FIRST_CAPACITY * width);
    this.#words = new Int32Array(this.#rows.buffer);
    this.#table = new Int32Array(FIRST_CAPACITY * 2);
  }

  /** Where row `count` is to be written before `add`, and where any state can be read. */
  get rows(): Int8Array {
    return this.#rows;
  }

  /** The number of the state written behind the last row. Throws TooManyStates. */
  add(): number {
    const row = (this.count * this.width) >> 2;
    const mask = this.#table.length - 1;
    let at = this.#hash(row) & mask;
    for (let number = this.#table[at]; number !== 0; number = this.#table[at]) {
      if (this.#isSame(((number - 1) * this.width) >> 2, row)) {
        this.wasNew = false;
        return number - 1;
      }
      at = (at + 1) & mask;
    }
    if (this.count === MAX_EXPLORED_STATES) throw new TooManyStates();
    this.#table[at] = ++this.count;
    this.wasNew = true;
    if ((this.count + 1) * this.width > this.#rows.length) this.#grow();
    return this.count - 1;
  }

  #hash(row: number): number {
    let hash = 0x811c9dc5;
    for (let at = row; at < row + (this.width >> 2); at++) {
      hash = Math.imul(hash ^ this.#words[at], 0x01000193);
      hash ^= hash >>> 15;
    }
    return Math.imul(hash, 0x2c1b3c6d) >>> 0;
  }

  #isSame(one: number, other: number): boolean {
    for (let word = 0; word < this.width >> 2; word++) {
      if (this.#words[one + word] !== this.#words[other + word]) return false;
    }
    return true;
  }

  #grow(): void {
    const rows = new Int8Array(this.#rows.length * 2);
    rows.set(this.#rows);
    this.#rows = rows;
    this.#words = new Int32Array(rows.buffer);
    this.#table = new Int32Array(this.#table.length * 2);
    const mask = this.#table.length - 1;
    for (let number = 1; number <= this.count; number++) {
      let at = this.#hash(((number - 1) * this.width) >> 2) & mask;
      while (this.#table[at] !== 0) at = (at + 1) & mask;
      this.#table[at] = number;
    }
  }
}
