import { StateGraph } from './graph.ts';
import { checkLocks, checkRest, DEADLOCK, type Violation } from './invariants.ts';
import { Model, type ModelShape } from './model.ts';
import { type Counterexample, writeSchedule } from './schedule.ts';
import { StateSet } from './state-set.ts';

/** A move in a byte: the actor and which of its choices. */
const CHOICE_BITS = 4;
const CHOICE_MASK = (1 << CHOICE_BITS) - 1;

/** How many states lie between two calls of `onProgress`. */
const PROGRESS_EVERY = 1 << 14;

export interface Exploration {
  readonly states: number;
  readonly transitions: number;
  /** Orders of all moves from the start to the end, as paths; undefined when there are cycles. */
  readonly orders: bigint | undefined;
  /** Undefined when all states were visited and every invariant held. */
  readonly violation: Counterexample | undefined;
}

export interface ExploreOptions {
  /** Called now and then with the states found so far; throw to give up. */
  readonly onProgress?: (states: number) => void;
}

/**
 * Visits every joint state that is reachable from the model's start, breadth first, so that a
 * counter-example is as short as can be. Sequentially consistent: one move after the other, each
 * seen by all. Ends at the first violation; then states and transitions are those found until
 * then and orders are not counted. Throws TooManyStates.
 */
export function explore(shape: ModelShape, options: ExploreOptions = {}): Exploration {
  return new Search(shape, options).run();
}

class Search {
  readonly #shape: ModelShape;
  readonly #options: ExploreOptions;
  readonly #model: Model;
  readonly #set: StateSet;
  readonly #graph = new StateGraph();
  /** By state: the one it was first reached from and by which move. */
  #parents = new Int32Array(1 << 10);
  readonly #moves: number[] = [0];
  readonly #listsBefore: Uint8Array;
  #movers = 0;
  /** Kept while states with real harm are looked for. */
  #weak: { readonly state: number; readonly move: number; readonly found: Violation } | undefined;

  constructor(shape: ModelShape, options: ExploreOptions) {
    this.#shape = shape;
    this.#options = options;
    this.#model = new Model(shape);
    const { world } = this.#model;
    this.#set = new StateSet(world.savedBytes);
    this.#listsBefore = new Uint8Array(world.frameCount);
    this.#keepState();
  }

  run(): Exploration {
    const set = this.#set;
    for (let state = 0; state < set.count; state++) {
      const violation = this.#expand(state);
      if (violation !== undefined) return this.#result(violation);
      if (state % PROGRESS_EVERY === 0) this.#options.onProgress?.(set.count);
    }
    const order = this.#graph.topologicalOrder();
    const endless = this.#graph.endlessWait(order);
    if (endless !== undefined) return this.#result(this.#endlessWait(...endless));
    if (this.#weak !== undefined) {
      const { state, move, found } = this.#weak;
      return this.#result(this.#counterexample(found, state, move));
    }
    const orders = order && this.#graph.countPaths(order);
    return { ...this.#result(undefined), orders };
  }

  /** Tries every move of every actor in a state; what is wrong with one of them, if anything is. */
  #expand(state: number): Counterexample | undefined {
    const { world, actors } = this.#model;
    this.#restore(state);
    this.#graph.beginState();
    this.#listsBefore.set(world.pages.stateBytes);
    this.#movers = 0;
    let waiters = 0;
    for (const actor of actors) {
      if (!actor.mayRest) waiters |= 1 << actor.number;
    }
    for (let number = 0; number < actors.length; number++) {
      const found = this.#expandActor(state, number);
      if (found !== undefined) return found;
    }
    this.#graph.endState(this.#movers, waiters & ~this.#movers);
    if (this.#movers !== 0) return undefined;
    this.#restore(state);
    const violation = waiters === 0 ? checkRest(world) : DEADLOCK;
    return violation && this.#counterexample(violation, state, undefined);
  }

  /** Leaves the world as it was, unless something is wrong. */
  #expandActor(state: number, number: number): Counterexample | undefined {
    const { world, actors } = this.#model;
    const actor = actors[number];
    const choices = actor.choices(world);
    for (let choice = 0; choice < choices; choice++) {
      const result = this.#model.move(actor, choice);
      if (result === 'waits') continue;
      const move = (number << CHOICE_BITS) | choice;
      if (result !== 'moved') return this.#counterexample(result, state, move);
      this.#movers |= 1 << number;
      if (this.#weak === undefined) {
        const found = checkLocks(world, this.#listsBefore, actor.hadPagesLock);
        if (found !== undefined) this.#weak = { state, move, found };
      }
      this.#graph.addEdge(this.#keepState(state, move));
      this.#restore(state);
    }
    return undefined;
  }

  #keepState(parent = 0, move = 0): number {
    const set = this.#set;
    this.#model.world.saveTo(set.rows, set.count * set.width);
    const number = set.add();
    if (!set.wasNew) return number;
    if (number === this.#parents.length) {
      const larger = new Int32Array(number * 2);
      larger.set(this.#parents);
      this.#parents = larger;
    }
    this.#parents[number] = parent;
    this.#moves[number] = move;
    return number;
  }

  #restore(state: number): void {
    this.#model.world.restoreFrom(this.#set.rows, state * this.#set.width);
  }

  #endlessWait(state: number, number: number): Counterexample {
    const detail = `${this.#model.actors[number].name} waits for ever`;
    return this.#counterexample({ ...DEADLOCK, detail }, state, undefined);
  }

  #counterexample(violation: Violation, state: number, last: number | undefined): Counterexample {
    const moves: number[] = last === undefined ? [] : [last];
    for (let at = state; at !== 0; at = this.#parents[at]) moves.push(this.#moves[at]);
    const path = moves.reverse().map((move) => ({
      actor: move >> CHOICE_BITS,
      choice: move & CHOICE_MASK,
    }));
    return { ...violation, schedule: writeSchedule(this.#shape, path) };
  }

  #result(violation: Counterexample | undefined): Exploration {
    const { states, transitions } = this.#graph;
    return { states: Math.max(states, this.#set.count), transitions, orders: undefined, violation };
  }
}
