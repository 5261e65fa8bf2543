import type { AnyStateMachine } from 'xstate';
import { fail } from '../lib/assert.ts';
import {
  compileLifecycle,
  type EventName,
  ILLEGAL,
  type LifecycleTable,
  type StateName,
} from './compile.ts';

/**
 * A stepped procedure: what the kernel does to one page while others run, as a state machine whose
 * states are the steps. Each step has one small effect, which is atomic and says under which lock;
 * the event it returns is what it found. Run to completion it is a loop over the compiled table.
 * Under the explorer several procedures are stepped in every order: the same code, both uses.
 *
 * There are no loops and at most 16 steps. All that a procedure remembers between two steps is
 * whole numbers in its frame, so a state of the world can be copied and hashed.
 */

/** The event names of most procedures. */
export const YES_NO = { yes: 0, no: 1 } as const;

/** Returned by an effect that cannot go on now, having changed nothing; the step is tried again. */
export const WAIT = -1;
export type Wait = typeof WAIT;

const MAX_STEPS = 16;

/** Slot 0 is the number of the step the procedure stands in, the others are its locals. */
export type Frame = Int32Array;

/** What a step does: changes `world`, keeps small numbers in `frame`, returns an event's number. */
export type Effect<World, Found extends number = number> = (
  frame: Frame,
  world: World,
) => Found | Wait;

/** What `step` did: stood still, moved on, or came to a final state (or stood there already). */
export type StepOutcome = 'waiting' | 'moved' | 'done';

/** One effect for each state that is not final. */
export type Effects<State extends string, World, Found extends number> = {
  readonly [S in State]?: Effect<World, Found>;
};

/**
 * All steps of a procedure written one after the other, given its effects by step: calls them in
 * the order the state machine has them and returns the name of the final state. See `inline`.
 */
export type Inline<World, State extends string> = (
  steps: Readonly<Record<State, Effect<World>>>,
) => (frame: Frame, world: World) => State;

/**
 * Compiles `machine` and joins it with its effects. Steps are numbered in the order in which the
 * state machine declares them; `events` numbers the events (YES_NO for most). Throws at start-up
 * for whatever compileLifecycle refuses, for a loop, a seventeenth step, a step that cannot be
 * reached, a step without an effect and an effect without a step.
 */
export function procedure<
  M extends AnyStateMachine,
  E extends Readonly<Record<EventName<M>, number>>,
  World,
>(
  machine: M,
  events: E,
  effects: Effects<StateName<M>, World, E[keyof E]>,
): Procedure<World, StateName<M>> {
  const names = Object.keys(machine.states);
  const states = Object.fromEntries(names.map((name, step) => [name, step]));
  const table = compileLifecycle(machine as AnyStateMachine, { states, events });
  return new Procedure(machine, table, effects) as Procedure<World, StateName<M>>;
}

export class Procedure<World, State extends string = string> {
  readonly id: string;
  /** What `table` was compiled from, for tests and documents. */
  readonly machine: AnyStateMachine;
  readonly table: LifecycleTable;
  /** By step; undefined at the final ones. */
  readonly #effects: readonly (Effect<World> | undefined)[];

  /** Made by `procedure`. */
  constructor(
    machine: AnyStateMachine,
    table: LifecycleTable,
    effects: Readonly<Record<string, Effect<World> | undefined>>,
  ) {
    this.id = table.id;
    this.machine = machine;
    this.table = table;
    this.#effects = table.stateNames.map((name) => effects[name]);
    for (const name of Object.keys(effects)) {
      if (!table.stateNames.includes(name)) this.#refuse(`effect ${name} has no step`);
    }
    this.#checkGraph();
  }

  /** The effects by step, to be put together anew with others: for variants in tests. */
  get effects(): Readonly<Record<string, Effect<World> | undefined>> {
    return Object.fromEntries(this.table.stateNames.map((name, at) => [name, this.#effects[at]]));
  }

  /** A frame that stands in the first step. Hot callers keep one and `start` it again. */
  newFrame(...locals: readonly number[]): Frame {
    return Int32Array.of(this.table.initial, ...locals);
  }

  /** Puts a used frame back to the first step; the locals stay for the caller to set. */
  start(frame: Frame): void {
    frame[0] = this.table.initial;
  }

  /** Does one step. */
  step(frame: Frame, world: World): StepOutcome {
    const effect = this.#effects[frame[0]];
    if (effect !== undefined) {
      const event = effect(frame, world);
      if (event === WAIT) return 'waiting';
      frame[0] = this.table.step(frame[0], event);
    }
    return this.isDone(frame) ? 'done' : 'moved';
  }

  /** Does all steps that are left and returns the name of the final state. No step may wait. */
  run(frame: Frame, world: World): State {
    const { table } = this;
    let step = frame[0];
    for (let effect = this.#effects[step]; effect !== undefined; effect = this.#effects[step]) {
      const event = effect(frame, world);
      if (event === WAIT) fail('procedure waits where nobody can wake it', this.#at(step));
      step = table.step(step, event);
      frame[0] = step;
    }
    return this.stateName(frame);
  }

  /** Does steps until one has to wait ('waiting') or none is left ('done'): for tasks. */
  proceed(frame: Frame, world: World): 'waiting' | 'done' {
    const { table } = this;
    let step = frame[0];
    for (let effect = this.#effects[step]; effect !== undefined; effect = this.#effects[step]) {
      const event = effect(frame, world);
      if (event === WAIT) return 'waiting';
      step = table.step(step, event);
      frame[0] = step;
    }
    return 'done';
  }

  /**
   * The procedure as one function, for hot callers: V8 inlines effects that are called at a place
   * of their own, while the loop of `run` calls the effects of all procedures from one place. Tries
   * every way through the state machine and refuses what is written differently. No effect may
   * wait; slot 0 of the frame is neither read nor written.
   */
  inline(written: Inline<World, State>): (frame: Frame, world: World) => State {
    this.#tryWays(written, this.table.initial, []);
    return written(this.effects as Readonly<Record<State, Effect<World>>>);
  }

  isDone(frame: Frame): boolean {
    const step = frame[0];
    if (step < 0 || step >= this.#effects.length) fail('frame stands in no step', this.#at(step));
    return this.#effects[step] === undefined;
  }

  stateName(frame: Frame): State {
    const name = this.table.stateNames[frame[0]];
    return (name ?? fail('frame has no state name', this.#at(frame[0]))) as State;
  }

  /** Steps have an effect and a way on, final states neither; every path ends. */
  #checkGraph(): void {
    const { stateNames } = this.table;
    if (stateNames.length > MAX_STEPS) this.#refuse(`more than ${MAX_STEPS} steps`);
    stateNames.forEach((name, step) => {
      const goesOn = this.#successors(step).length > 0;
      const hasEffect = this.#effects[step] !== undefined;
      if (goesOn && !hasEffect) this.#refuse(`step ${name} has no effect`);
      if (!goesOn && hasEffect) this.#refuse(`final state ${name} has an effect`);
    });
    const reached = new Set<number>();
    this.#walk(this.table.initial, [], reached);
    const lost = stateNames.find((_, step) => !reached.has(step));
    if (lost !== undefined) this.#refuse(`step ${lost} cannot be reached`);
  }

  /** Tries every way from `step` on, to which `events` led. */
  #tryWays(written: Inline<World, State>, step: number, events: readonly number[]): void {
    if (this.#effects[step] === undefined) this.#tryWay(written, events);
    const { next, eventShift } = this.table;
    for (let event = 0; event < 1 << eventShift; event++) {
      const to = next[(step << eventShift) | event];
      if (to !== ILLEGAL) this.#tryWays(written, to, [...events, event]);
    }
  }

  /** Runs it beside the table, with effects that do nothing but find `events` in turn. */
  #tryWay(written: Inline<World, State>, events: readonly number[]): void {
    const { table } = this;
    let step = table.initial;
    let done = 0;
    const finds = (name: string) => (): number => {
      if (table.stateNames[step] !== name) this.#refuse(`${name} is written out of turn`);
      const event = events[done++];
      step = table.step(step, event);
      return event;
    };
    const steps: unknown = Object.fromEntries(table.stateNames.map((name) => [name, finds(name)]));
    const end = written(steps as Record<State, Effect<World>>)(new Int32Array(0), {} as World);
    const isSame = done === events.length && end === table.stateNames[step];
    if (!isSame) this.#refuse(`${end} is written for the end ${table.stateNames[step]}`);
  }

  #walk(step: number, path: readonly number[], reached: Set<number>): void {
    if (path.includes(step)) this.#refuse(`loop through ${this.table.stateNames[step]}`);
    if (reached.has(step)) return;
    for (const next of this.#successors(step)) this.#walk(next, [...path, step], reached);
    reached.add(step);
  }

  #successors(step: number): number[] {
    const { next, eventShift } = this.table;
    const row = next.subarray(step << eventShift, (step + 1) << eventShift);
    return [...row].filter((to) => to !== ILLEGAL);
  }

  #at(step: number): string {
    return `${this.id} in ${this.table.stateNames[step] ?? `step ${step}`}`;
  }

  #refuse(reason: string): never {
    fail('stepped procedure is refused', `${this.id}: ${reason}`);
  }
}
