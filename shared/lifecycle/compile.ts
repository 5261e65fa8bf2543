import {
  type AnyStateMachine,
  type AnyStateNode,
  type EventFromLogic,
  type StateValueFrom,
  transition,
} from 'xstate';
import { fail } from '../lib/assert.ts';

/**
 * Turns a flat, pure xstate state machine into a dense table, so that what happens per page costs
 * one lookup and one byte instead of one actor. The table is made by asking the state machine in
 * every state about every event, never by reading its configuration, so the two cannot disagree.
 *
 * Not compiled, and refused by name: guards, actions, context, invoke, after, always, history,
 * nested and parallel states, wildcard events. Where a guard is tempting, make two events and let
 * the caller choose: what it would ask is the caller's knowledge anyway.
 */

/** The cell of an event that has no meaning in a state. */
export const ILLEGAL = 255;

/** A tag mask is one 32-bit integer, and a lifecycle near this size is two lifecycles. */
const MAX_NUMBERS = 32;

export type StateName<M extends AnyStateMachine> = StateValueFrom<M> & string;
export type EventName<M extends AnyStateMachine> = EventFromLogic<M>['type'] & string;

/** Names to numbers, both 0, 1, 2, ... without a gap. State 0 is what a zeroed array means. */
export interface Numbering<State extends string, Event extends string> {
  readonly states: Readonly<Record<State, number>>;
  readonly events: Readonly<Record<Event, number>>;
}

interface TableParts<State extends string, Event extends string> {
  readonly id: string;
  readonly numbering: Numbering<State, Event>;
  readonly stateNames: readonly State[];
  readonly eventNames: readonly Event[];
  readonly initial: number;
  readonly eventShift: number;
  readonly next: Uint8Array;
  readonly tags: ReadonlyMap<string, number>;
}

/** A compiled state machine. States and events are the numbers of its numbering. */
export class LifecycleTable<State extends string = string, Event extends string = string> {
  readonly id: string;
  readonly states: Readonly<Record<State, number>>;
  readonly events: Readonly<Record<Event, number>>;
  /** By number, for messages, dumps and documents. */
  readonly stateNames: readonly State[];
  readonly eventNames: readonly Event[];
  /** The number of the initial state. */
  readonly initial: number;
  /** A row has 1 << eventShift cells. */
  readonly eventShift: number;
  /** The next state, or ILLEGAL, at [state << eventShift | event]. */
  readonly next: Uint8Array;
  readonly #tags: ReadonlyMap<string, number>;

  constructor(parts: TableParts<State, Event>) {
    this.id = parts.id;
    this.states = parts.numbering.states;
    this.events = parts.numbering.events;
    this.stateNames = parts.stateNames;
    this.eventNames = parts.eventNames;
    this.initial = parts.initial;
    this.eventShift = parts.eventShift;
    this.next = parts.next;
    this.#tags = parts.tags;
  }

  can(state: number, event: number): boolean {
    return (
      event >>> this.eventShift === 0 && this.next[(state << this.eventShift) | event] < ILLEGAL
    );
  }

  /** The state after `event`. An illegal event, or a number out of range, is our bug: it throws. */
  step(state: number, event: number): number {
    const next = this.next[(state << this.eventShift) | event];
    // Not `=== ILLEGAL`: the undefined of a state out of range has to fail as well.
    if (event >>> this.eventShift !== 0 || !(next < ILLEGAL)) {
      fail('lifecycle step is illegal', `${this.id}: ${this.describe(state, event)}`);
    }
    return next;
  }

  /** The states that carry `tag`, as bits (1 << state). A tag no state carries is a misspelling. */
  tagMask(tag: string): number {
    return this.#tags.get(tag) ?? fail('no state carries this tag', `${this.id}: ${tag}`);
  }

  /** For cold code; a loop keeps the tagMask and tests `mask >>> state & 1`. */
  hasTag(state: number, tag: string): boolean {
    return ((this.tagMask(tag) >>> state) & 1) === 1;
  }

  get tags(): readonly string[] {
    return [...this.#tags.keys()];
  }

  /** "event in state" in names, for the cold path of assertions. */
  describe(state: number, event: number): string {
    const eventName = this.eventNames[event] ?? `event ${event}`;
    return `${eventName} in ${this.stateNames[state] ?? `state ${state}`}`;
  }
}

/**
 * Compiles `machine` with the given numbers. Costs about 14 us a cell: call it once, at start-up.
 * Throws with the node's id and the reason where the state machine or its numbering is refused.
 */
export function compileLifecycle<
  M extends AnyStateMachine,
  S extends Readonly<Record<StateName<M>, number>>,
  E extends Readonly<Record<EventName<M>, number>>,
>(
  machine: M,
  numbering: { readonly states: S; readonly events: E },
): LifecycleTable<keyof S & string, keyof E & string> {
  return compile(machine, numbering as Numbering<keyof S & string, keyof E & string>);
}

function compile<State extends string, Event extends string>(
  machine: AnyStateMachine,
  numbering: Numbering<State, Event>,
): LifecycleTable<State, Event> {
  refuseImpure(machine);
  const { id } = machine;
  const stateNames = namesByNumber(numbering.states, Object.keys(machine.states), id);
  const eventNames = namesByNumber(numbering.events, machine.events, id);
  const eventShift = Math.ceil(Math.log2(Math.max(eventNames.length, 2)));
  const next = new Uint8Array(stateNames.length << eventShift).fill(ILLEGAL);
  const tags = new Map<string, number>();

  stateNames.forEach((value, state) => {
    const snapshot = machine.resolveState({ value, context: {} });
    for (const tag of snapshot.tags) tags.set(tag, ((tags.get(tag) ?? 0) | (1 << state)) >>> 0);
    // An actor that is done takes no event any more, whatever the root declares.
    if (snapshot.status !== 'active') return;
    eventNames.forEach((type, event) => {
      if (!snapshot.can({ type })) return;
      const [after] = transition(machine, snapshot, { type });
      next[(state << eventShift) | event] = numbering.states[after.value as State];
    });
  });

  const initial = numbering.states[initialStateOf(machine) as State];
  return new LifecycleTable({
    id,
    numbering,
    stateNames,
    eventNames,
    initial,
    eventShift,
    next,
    tags,
  });
}

function initialStateOf(machine: AnyStateMachine): string {
  return machine.root.initial.target[0]?.key ?? fail('state machine has no initial', machine.id);
}

/** What a node may not have, with the name it is refused under. */
const REFUSED: readonly (readonly [reason: string, applies: (node: AnyStateNode) => boolean])[] = [
  ['parallel states', (node) => node.type === 'parallel'],
  ['history', (node) => node.type === 'history'],
  ['nested states', (node) => node.parent !== undefined && Object.keys(node.states).length > 0],
  ['invoke', (node) => node.invoke.length > 0],
  ['after', (node) => node.after.length > 0],
  ['always', (node) => node.always !== undefined && node.always.length > 0],
  ['entry actions', (node) => node.entry.length > 0],
  ['exit actions', (node) => node.exit.length > 0],
];

function refuseImpure(machine: AnyStateMachine): void {
  const { root } = machine;
  if (machine.config.context !== undefined) refuse(root, 'context');
  if (Object.keys(root.states).length === 0) refuse(root, 'no states');
  for (const node of [root, ...Object.values(root.states)] as AnyStateNode[]) {
    const refused = REFUSED.find(([, applies]) => applies(node));
    if (refused !== undefined) refuse(node, refused[0]);
    for (const [event, candidates] of node.transitions) refuseTransition(node, event, candidates);
  }
}

function refuseTransition(
  node: AnyStateNode,
  event: string,
  candidates: readonly { readonly guard?: unknown; readonly actions: readonly unknown[] }[],
): void {
  if (event === '*' || event.endsWith('.*')) refuse(node, `wildcard event ${event}`);
  if (event.startsWith('xstate.')) refuse(node, `internal event ${event}`);
  for (const { guard, actions } of candidates) {
    if (guard !== undefined) refuse(node, `a guard on ${event}`);
    if (actions.length > 0) refuse(node, `actions on ${event}`);
  }
  if (candidates.length > 1) refuse(node, `several transitions on ${event}`);
}

function refuse(node: AnyStateNode, reason: string): never {
  fail('state machine cannot be compiled', `${node.id}: ${reason}`);
}

/** Checks that `numbers` covers exactly `names` with 0, 1, 2, ... and turns it round. */
function namesByNumber<Name extends string>(
  numbers: Readonly<Record<Name, number>>,
  names: readonly string[],
  id: string,
): Name[] {
  const wrong = (reason: string): never => fail('numbering does not fit', `${id}: ${reason}`);
  const byNumber: Name[] = [];
  for (const name of names) {
    if (!Object.hasOwn(numbers, name)) wrong(`${name} has no number`);
  }
  for (const [name, number] of Object.entries<number>(numbers)) {
    if (!names.includes(name)) wrong(`${name} is not in the state machine`);
    const fits = Number.isInteger(number) && number >= 0 && number < MAX_NUMBERS;
    if (!fits) wrong(`${name} has number ${number}, not 0 to ${MAX_NUMBERS - 1}`);
    if (byNumber[number] !== undefined) wrong(`${byNumber[number]} and ${name} are both ${number}`);
    byNumber[number] = name as Name;
  }
  for (let number = 0; number < byNumber.length; number++) {
    if (byNumber[number] === undefined) wrong(`nothing has number ${number}`);
  }
  return byNumber;
}
