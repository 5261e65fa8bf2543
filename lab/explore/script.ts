import type { BalloonWorld2012 } from '../../guest/mm/balloon/procedures-2012.ts';
import { fail } from '../../shared/lib/assert.ts';
import { type Frame, type Procedure, WAIT, type Wait } from '../../shared/lifecycle/procedure.ts';
import { wordingOf } from './wording.ts';
import { CELL, type ExploredWorld } from './world.ts';

/**
 * What an actor of the explorer does, as stages. A stage is one atomic effect, or it calls one of
 * the product's stepped procedures, each step of which is a move of its own. A task of the driver
 * (fill, leak) or of compaction is a few such stages around procedures, as the product's
 * generators are; what it remembers is in its frame.
 */

/** Words of an actor's frame: the stage, locals, then the called procedure's own frame. */
export const SLOT = { stage: 0, page: 1, other: 2, count: 3, at: 4, callee: 5 } as const;
const CALLEE_WORDS = 4;
const FRAME_WORDS = SLOT.callee + CALLEE_WORDS;

/** The stage of every actor that has come to its end. */
export const DONE = 'done';

export type BalloonProcedure = Procedure<BalloonWorld2012>;
export type Next = string | ((frame: Frame, world: ExploredWorld) => string);
export type Say = string | ((frame: Frame, world: ExploredWorld, choice: number) => string);

export interface EffectStage {
  /** One line of a schedule. */
  readonly say: Say;
  /** Does it and names the next stage, or WAIT, having changed nothing. */
  readonly run: (frame: Frame, world: ExploredWorld, choice: number) => string | Wait;
  /** Ways to do it, each a move of its own; 1 when left out. */
  readonly choices?: (world: ExploredWorld) => number;
}

export interface CallStage {
  readonly call: BalloonProcedure;
  /** Sets the locals of the callee's frame, which begin at SLOT.callee + 1. */
  readonly args: (frame: Frame, world: ExploredWorld) => void;
  /** The stage after each final state; what a function does belongs to the callee's last step. */
  readonly next: Readonly<Record<string, Next>>;
  /** Steps of the callee that take pages_lock and give it back. */
  readonly pagesLock?: readonly string[];
}

export type Stage = EffectStage | CallStage;
export type Stages = Readonly<Record<string, Stage>>;

export interface Script {
  readonly name: string;
  readonly start: string;
  readonly stages: Stages;
  /** Stages in which it may rest for ever, as a work item that is not queued. */
  readonly idle?: readonly string[];
  /** Word of the frame at the start: the page that this actor holds isolated. */
  readonly page?: number;
}

export type Outcome = 'waits' | 'moved';

/** A script that is bound to its part of the world's frames. */
export class Actor {
  readonly name: string;
  readonly number: number;
  readonly #script: Script;
  readonly #frame: Frame;
  readonly #callee: Frame;
  readonly #names: readonly string[];
  readonly #numbers: ReadonlyMap<string, number>;
  readonly #stages: readonly (Stage | undefined)[];
  readonly #mayRest: readonly boolean[];
  /** The step of the callee before the last move and after it, -1 for an effect. */
  #stepBefore = -1;
  #stepAfter = -1;
  #called: BalloonProcedure | undefined;
  #hadPagesLock = false;

  static readonly frameWords = FRAME_WORDS;

  constructor(script: Script, number: number, frames: Int32Array) {
    this.name = script.name;
    this.number = number;
    this.#script = script;
    this.#frame = frames.subarray(number * FRAME_WORDS, (number + 1) * FRAME_WORDS);
    this.#callee = this.#frame.subarray(SLOT.callee);
    this.#names = [...Object.keys(script.stages), DONE];
    this.#numbers = new Map(this.#names.map((name, index) => [name, index]));
    this.#stages = this.#names.map((name) => script.stages[name]);
    const idle = [...(script.idle ?? []), DONE];
    this.#mayRest = this.#names.map((name) => idle.includes(name));
  }

  /** Puts the actor to its start; once, before the first state is saved. */
  begin(world: ExploredWorld): void {
    this.#frame[SLOT.page] = this.#script.page ?? 0;
    this.#enter(this.#script.start, world);
  }

  get isDone(): boolean {
    return this.#stages[this.#frame[SLOT.stage]] === undefined;
  }

  /** Is it done, or has nothing to do until somebody gives it work? */
  get mayRest(): boolean {
    return this.#mayRest[this.#frame[SLOT.stage]];
  }

  /** How many moves to try now; 0 when it is done. */
  choices(world: ExploredWorld): number {
    const stage = this.#stages[this.#frame[SLOT.stage]];
    if (stage === undefined) return 0;
    return 'call' in stage ? 1 : (stage.choices?.(world) ?? 1);
  }

  /** Does one move, or nothing when it has to wait. Throws the product's own assertions. */
  move(world: ExploredWorld, choice: number): Outcome {
    const stage = this.#stages[this.#frame[SLOT.stage]] ?? fail('an actor at its end has no move');
    world.actor = this.number;
    this.#called = undefined;
    this.#hadPagesLock = world.cells[CELL.pagesLock] === this.number + 1;
    if ('call' in stage) return this.#stepCallee(stage, world);
    const next = stage.run(this.#frame, world, choice);
    if (next === WAIT) return 'waits';
    this.#enter(next, world);
    return 'moved';
  }

  /** Did it have pages_lock in its last move, from before or for this one step? */
  get hadPagesLock(): boolean {
    return this.#hadPagesLock;
  }

  /** What the next move is, in words; the same words mean the same move of this actor. */
  label(world: ExploredWorld, choice: number): string {
    const stage = this.#stages[this.#frame[SLOT.stage]];
    if (stage === undefined) return 'has come to its end';
    if ('call' in stage) {
      const step = stage.call.table.stateNames[this.#callee[0]];
      return wordingOf(stage.call.id, step, this.#callee);
    }
    return typeof stage.say === 'string' ? stage.say : stage.say(this.#frame, world, choice);
  }

  /** What the last move found, where it could have found something else: 'yes' or 'no'. */
  found(): string | undefined {
    const table = this.#called?.table;
    if (table === undefined) return undefined;
    const row = this.#stepBefore << table.eventShift;
    const events = table.eventNames.filter((_, event) => table.can(this.#stepBefore, event));
    if (events.length < 2) return undefined;
    return table.eventNames.find((_, event) => table.next[row | event] === this.#stepAfter);
  }

  #stepCallee(stage: CallStage, world: ExploredWorld): Outcome {
    const { call, pagesLock } = stage;
    const callee = this.#callee;
    const before = callee[0];
    if (pagesLock?.includes(call.table.stateNames[before])) {
      if (world.cells[CELL.pagesLock] !== 0) return 'waits';
      this.#hadPagesLock = true;
    }
    if (call.step(callee, world.balloons) === 'waiting') return 'waits';
    this.#called = call;
    this.#stepBefore = before;
    this.#stepAfter = callee[0];
    if (!call.isDone(callee)) return 'moved';
    const next = stage.next[call.stateName(callee)] ?? fail('a callee ends where no stage follows');
    this.#enter(typeof next === 'string' ? next : next(this.#frame, world), world);
    return 'moved';
  }

  /** Nothing is left of a callee, nor of an actor that is done: equal states are equal bytes. */
  #enter(name: string, world: ExploredWorld): void {
    const number = this.#numbers.get(name) ?? fail('a script names a stage that it has not', name);
    const stage = this.#stages[number];
    this.#callee.fill(0);
    if (stage === undefined) this.#frame.fill(0);
    this.#frame[SLOT.stage] = number;
    if (stage === undefined || !('call' in stage)) return;
    this.#callee[0] = stage.call.table.initial;
    stage.args(this.#frame, world);
  }
}
