import {
  type AnyMachineSnapshot,
  type AnyStateMachine,
  type AnyStateNode,
  initialTransition,
  transition,
} from 'xstate';
import { fail } from '../lib/assert.ts';
import type { Clock } from '../lib/clock.ts';

/**
 * Flat xstate state machines with delays and named actions, of which there is one for every guest.
 * An xstate actor takes 4.4 to 5.2 KB; with three for each guest that was half of what a host held
 * for an idle one. Here what a transition does is asked of xstate when the state machine is
 * compiled, and an instance is a state, its timers and its owner: 0.1 KB.
 *
 * Not compiled, and refused by name: context, guards, always, invoke, nested and parallel states,
 * wildcard events, actions that are more than a name. What an action needs to know comes with the
 * event or is the owner's.
 */

/** How xstate names the event at the end of a delay. */
const AFTER = 'xstate.after.';

interface Delay {
  readonly ms: number;
  readonly eventType: string;
}

/** What one transition does: where it leads, then delays, then effects. */
interface TimedStep {
  readonly to: string;
  /** It leaves a state with delays. */
  readonly cancels: boolean;
  readonly delays: readonly Delay[];
  readonly effects: readonly string[];
}

/** Compiled: the steps out of each state by event type. */
export interface TimedMachine {
  readonly id: string;
  readonly start: TimedStep;
  readonly states: ReadonlyMap<string, ReadonlyMap<string, TimedStep>>;
}

type Transition = readonly [snapshot: AnyMachineSnapshot, actions: readonly TransitionAction[]];
interface TransitionAction {
  readonly type: string;
  readonly params?: unknown;
}

/** Compiles a state machine; throws with its id and the reason where that is refused. */
export function compileTimed(machine: AnyStateMachine): TimedMachine {
  refuse(machine, machine.config.context !== undefined, 'context');
  const states = new Map<string, ReadonlyMap<string, TimedStep>>();
  for (const node of Object.values(machine.states) as AnyStateNode[]) {
    const atomic = node.type === 'atomic' || node.type === 'final';
    refuse(machine, !atomic, `${node.type} state ${node.key}`);
    refuse(machine, (node.always?.length ?? 0) > 0, `always in ${node.key}`);
    refuse(machine, node.invoke.length > 0, `invoke in ${node.key}`);
    states.set(node.key, stepsOf(machine, node));
  }
  const start = stepOf(machine, initialTransition(machine) as Transition);
  return { id: machine.id, start, states };
}

/** The steps out of one state; what it does not declare itself may stand at the root. */
function stepsOf(machine: AnyStateMachine, node: AnyStateNode): Map<string, TimedStep> {
  const steps = new Map<string, TimedStep>();
  if (node.type === 'final') return steps;
  const snapshot = machine.resolveState({ value: node.key, context: {} });
  for (const [type, candidates] of [...node.transitions, ...machine.root.transitions]) {
    refuse(machine, type.includes('*'), `wildcard event ${type}`);
    refuse(machine, candidates.length > 1, `several transitions on ${type}`);
    refuse(machine, candidates[0]?.guard !== undefined, `a guard on ${type}`);
    if (steps.has(type)) continue;
    steps.set(type, stepOf(machine, transition(machine, snapshot, { type }) as Transition));
  }
  return steps;
}

function stepOf(machine: AnyStateMachine, [snapshot, actions]: Transition): TimedStep {
  const delays: Delay[] = [];
  const effects: string[] = [];
  let cancels = false;
  for (const { type, params } of actions) {
    const { delay, event, sendId } = (params ?? {}) as DelayParams;
    if (type === 'xstate.cancel' && sendId?.startsWith(AFTER)) {
      cancels = true;
    } else if (type === 'xstate.raise' && event?.type.startsWith(AFTER)) {
      delays.push({ ms: delay ?? 0, eventType: event.type });
    } else {
      const plain = type in machine.implementations.actions && params === undefined;
      refuse(machine, !plain, `action ${type}`);
      effects.push(type);
    }
  }
  return { to: snapshot.value as string, cancels, delays, effects };
}

/** What xstate's own actions about delays carry. */
interface DelayParams {
  readonly delay?: number;
  readonly event?: { readonly type: string };
  readonly sendId?: string;
}

function refuse(machine: AnyStateMachine, applies: boolean, reason: string): void {
  if (applies) fail('timed state machine cannot be compiled', `${machine.id}: ${reason}`);
}

interface TimedEvent {
  readonly type: string;
}

/**
 * What each action does to the owner of an instance; one table serves all instances. It gets the
 * event that caused it, for a delay one of xstate's own.
 */
export type TimedEffects<Action extends string, Owner, Event extends TimedEvent> = Readonly<
  Record<Action, (owner: Owner, event: Event) => void>
>;

/**
 * One instance of a compiled state machine. Effects run once the state has changed, and those that
 * an effect causes run after the others; what they throw reaches whoever caused the event.
 */
export class TimedActor<
  State extends string,
  Event extends TimedEvent,
  Action extends string,
  Owner,
> {
  readonly #machine: TimedMachine;
  readonly #effects: TimedEffects<Action, Owner, Event>;
  readonly #clock: Clock;
  readonly #owner: Owner;
  #state: string;
  #timers: unknown[] | undefined;
  #stopped = false;
  /** Effects still to run, while some are running. */
  #waiting: [action: Action, event: Event][] | undefined;

  /** Its first state may have delays and effects: they begin here. */
  constructor(
    machine: TimedMachine,
    effects: TimedEffects<Action, Owner, Event>,
    clock: Clock,
    owner: Owner,
  ) {
    this.#machine = machine;
    this.#effects = effects;
    this.#clock = clock;
    this.#owner = owner;
    this.#state = machine.start.to;
    this.#take(machine.start, { type: 'xstate.init' } as unknown as Event);
  }

  get state(): State {
    return this.#state as State;
  }

  /** An event that means nothing in this state, or comes after `stop`, is ignored. */
  send(event: Event): void {
    if (this.#stopped) return;
    const step = this.#machine.states.get(this.#state)?.get(event.type);
    if (step !== undefined) this.#take(step, event);
  }

  /** The state stays as it is; no delay ends any more. */
  stop(): void {
    this.#stopped = true;
    this.#cancelDelays();
  }

  #cancelDelays(): void {
    const timers = this.#timers;
    this.#timers = undefined;
    if (timers !== undefined) for (const timer of timers) this.#clock.clearTimeout(timer);
  }

  #take(step: TimedStep, event: Event): void {
    this.#state = step.to;
    if (step.cancels) this.#cancelDelays();
    for (const { ms, eventType } of step.delays) {
      const due = { type: eventType } as unknown as Event;
      this.#timers ??= [];
      this.#timers.push(this.#clock.setTimeout(() => this.send(due), ms));
    }
    if (step.effects.length > 0) this.#run(step.effects as readonly Action[], event);
  }

  #run(actions: readonly Action[], event: Event): void {
    const calls = actions.map((action): [Action, Event] => [action, event]);
    if (this.#waiting !== undefined) {
      this.#waiting.push(...calls);
      return;
    }
    this.#waiting = calls;
    try {
      for (let call = calls.shift(); call !== undefined; call = calls.shift()) {
        this.#effects[call[0]](this.#owner, call[1]);
      }
    } finally {
      this.#waiting = undefined;
    }
  }
}
