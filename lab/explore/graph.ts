/** Numbers in a growing array. */
export class Numbers {
  #values = new Int32Array(1 << 12);
  length = 0;

  push(value: number): void {
    if (this.length === this.#values.length) {
      const larger = new Int32Array(this.length * 2);
      larger.set(this.#values);
      this.#values = larger;
    }
    this.#values[this.length++] = value;
  }

  at(index: number): number {
    return this.#values[index];
  }

  get values(): Int32Array {
    return this.#values.subarray(0, this.length);
  }
}

/**
 * The states that were reached and the moves between them. State 0 is the first; a state's edges
 * follow each other, in the order of the states.
 */
export class StateGraph {
  /** Where the edges of a state begin; one more entry than states, once all are added. */
  readonly #starts = new Numbers();
  readonly #targets = new Numbers();
  /** Per state, an actor a bit: it can move; it is neither done nor at rest, and cannot. */
  readonly #movers = new Numbers();
  readonly #waiters = new Numbers();

  get states(): number {
    return this.#movers.length;
  }

  get transitions(): number {
    return this.#targets.length;
  }

  /** Begins the next state's edges. */
  beginState(): void {
    this.#starts.push(this.#targets.length);
  }

  addEdge(target: number): void {
    this.#targets.push(target);
  }

  endState(movers: number, waiters: number): void {
    this.#movers.push(movers);
    this.#waiters.push(waiters);
  }

  /** States so that every edge leads to a later one; undefined when the graph has a cycle. */
  topologicalOrder(): Int32Array | undefined {
    const incoming = new Int32Array(this.states);
    const targets = this.#targets.values;
    for (const target of targets) incoming[target]++;
    const order = new Int32Array(this.states);
    let found = 1;
    for (let at = 0; at < found; at++) {
      const end = this.#endOf(order[at]);
      for (let edge = this.#startOf(order[at]); edge < end; edge++) {
        if (--incoming[targets[edge]] === 0) order[found++] = targets[edge];
      }
    }
    return found === this.states ? order : undefined;
  }

  /** Paths from the first state to those without moves: the orders in which all can be done. */
  countPaths(order: Int32Array): bigint {
    const ways = new Array<bigint>(this.states).fill(0n);
    const targets = this.#targets.values;
    ways[0] = 1n;
    let paths = 0n;
    for (const state of order) {
      const [start, end] = [this.#startOf(state), this.#endOf(state)];
      if (start === end) paths += ways[state];
      for (let edge = start; edge < end; edge++) ways[targets[edge]] += ways[state];
      ways[state] = 0n;
    }
    return paths;
  }

  /**
   * The first state in which an actor waits that can move in no state reachable from there, and
   * the actor: [state, actor]. Undefined when every wait can come to its end.
   */
  endlessWait(order: Int32Array | undefined): readonly [number, number] | undefined {
    const canMove = this.#movers.values.slice();
    while (this.#spreadBack(canMove, order) && order === undefined);
    const waiters = this.#waiters.values;
    for (let state = 0; state < this.states; state++) {
      const stuck = waiters[state] & ~canMove[state];
      if (stuck !== 0) return [state, 31 - Math.clz32(stuck & -stuck)];
    }
    return undefined;
  }

  /** Adds to each state what its successors can; true when something changed. */
  #spreadBack(canMove: Int32Array, order: Int32Array | undefined): boolean {
    const targets = this.#targets.values;
    let changed = false;
    for (let at = this.states - 1; at >= 0; at--) {
      const state = order === undefined ? at : order[at];
      let mask = canMove[state];
      const end = this.#endOf(state);
      for (let edge = this.#startOf(state); edge < end; edge++) mask |= canMove[targets[edge]];
      if (mask === canMove[state]) continue;
      canMove[state] = mask;
      changed = true;
    }
    return changed;
  }

  #startOf(state: number): number {
    return this.#starts.at(state);
  }

  #endOf(state: number): number {
    return state + 1 < this.#starts.length ? this.#starts.at(state + 1) : this.transitions;
  }
}
