import { assert, fail } from '../lib/assert.ts';
import { ILLEGAL, type LifecycleTable } from './compile.ts';

/**
 * Many items under one compiled lifecycle: a byte of state each and a count per state. Used for
 * page frames, host frames and queue buffers. Nobody else writes the state bytes; what goes with a
 * step (list moves, references, messages) stays in ordinary code beside the call.
 */
export class Population {
  readonly table: LifecycleTable;
  readonly size: number;
  /** How many items are in each state. Read only. */
  readonly count: Int32Array;
  readonly #bytes: Uint8Array;
  readonly #next: Uint8Array;
  readonly #eventShift: number;

  /**
   * `items` is a number of items, which all start in the initial state, or the state bytes to
   * take over (and own from then on).
   */
  constructor(table: LifecycleTable, items: number | Uint8Array) {
    this.table = table;
    this.#next = table.next;
    this.#eventShift = table.eventShift;
    if (typeof items === 'number') {
      // A zeroed array is not touched: counting it took 1.1 ms of the boot of a 2 GiB guest.
      this.#bytes = new Uint8Array(items);
      if (table.initial !== 0) this.#bytes.fill(table.initial);
      this.count = new Int32Array(table.stateNames.length);
      this.count[table.initial] = items;
    } else {
      this.#bytes = items;
      this.count = countStates(table, items);
    }
    this.size = this.#bytes.length;
  }

  stateOf(index: number): number {
    if (index >>> 0 >= this.size) fail('population index is out of range', this.#where(index));
    return this.#bytes[index];
  }

  /** The first item from `from` on that is in `state`, or -1. */
  indexOf(state: number, from = 0): number {
    return this.#bytes.indexOf(state, from);
  }

  countOf(state: number): number {
    return this.count[state];
  }

  /** Moves one item and returns its new state. An illegal step is our bug: it throws. */
  step(index: number, event: number): number {
    const shift = this.#eventShift;
    if (index >>> 0 >= this.size || event >>> shift !== 0) this.#failStep(index, event);
    const from = this.#bytes[index];
    const to = this.#next[(from << shift) | event];
    if (to === ILLEGAL) this.#failStep(index, event);
    this.#bytes[index] = to;
    this.count[from]--;
    this.count[to]++;
    return to;
  }

  /** `step` for each item of `indexes` from place `from` to before place `to`, one by one. */
  stepEach(indexes: Int32Array, from: number, to: number, event: number): void {
    const shift = this.#eventShift;
    const bytes = this.#bytes;
    // Those of a batch are nearly all in one state: they are counted by runs.
    let state = -1;
    let next = ILLEGAL;
    let run = 0;
    for (let at = from; at < to; at++) {
      const index = indexes[at];
      if (index >>> 0 >= this.size || event >>> shift !== 0) this.#failStep(index, event);
      if (bytes[index] !== state) {
        if (run > 0) this.#moved(run, state, next);
        run = 0;
        state = bytes[index];
        next = this.#next[(state << shift) | event];
        if (next === ILLEGAL) this.#failStep(index, event);
      }
      bytes[index] = next;
      run++;
    }
    if (run > 0) this.#moved(run, state, next);
  }

  /** Moves `count` items from `start` on, which must all be in one state; returns the new one. */
  stepRange(start: number, count: number, event: number): number {
    const end = start + count;
    const inside = start >= 0 && count > 0 && end <= this.size;
    if (!inside) fail('population range is out of range', `${this.#where(start)} + ${count}`);
    const bytes = this.#bytes;
    const from = bytes[start];
    for (let index = start + 1; index < end; index++) {
      if (bytes[index] !== from) this.#failMixed(start, index, event);
    }
    if (!this.table.can(from, event)) {
      const what = this.table.describe(from, event);
      fail('population range step is illegal', `${this.#where(start)} + ${count}: ${what}`);
    }
    const to = this.#next[(from << this.#eventShift) | event];
    bytes.fill(to, start, end);
    this.count[from] -= count;
    this.count[to] += count;
    return to;
  }

  /** Counts again and compares: the invariant "the counts are those of the bytes". */
  verify(): void {
    const counted = countStates(this.table, this.#bytes);
    const same = counted.every((count, state) => count === this.count[state]);
    assert(same, 'population counts differ from its states');
  }

  /** A copy of the state bytes, for dumps and hashes. */
  snapshot(): Uint8Array {
    return this.#bytes.slice();
  }

  #moved(count: number, from: number, to: number): void {
    this.count[from] -= count;
    this.count[to] += count;
  }

  #failStep(index: number, event: number): never {
    const what = this.table.describe(this.#bytes[index], event);
    fail('population step is illegal', `${this.#where(index)}: ${what}`);
  }

  #failMixed(start: number, index: number, event: number): never {
    const { stateNames, eventNames } = this.table;
    const [first, other] = [stateNames[this.#bytes[start]], stateNames[this.#bytes[index]]];
    const what = `${eventNames[event]}: ${first} at ${start}, ${other} at ${index}`;
    fail('population range is not uniform', `${this.table.id} ${what}`);
  }

  #where(index: number): string {
    return `${this.table.id}[${index}] of ${this.size}`;
  }
}

function countStates(table: LifecycleTable, bytes: Uint8Array): Int32Array {
  const count = new Int32Array(table.stateNames.length);
  for (let index = 0; index < bytes.length; index++) {
    const state = bytes[index];
    if (state >= count.length) fail('population has an unknown state', `${table.id}[${index}]`);
    count[state]++;
  }
  return count;
}
