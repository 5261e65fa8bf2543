import { checkLocks, checkRest, DEADLOCK, type Violation } from './invariants.ts';
import { Model, type ModelShape, type MoveResult } from './model.ts';
import type { Actor } from './script.ts';

/** A violation and the shortest way to it, a line for each move: `compactor 1: pin page 0 ...`. */
export interface Counterexample extends Violation {
  readonly schedule: readonly string[];
}

export interface Move {
  readonly actor: number;
  readonly choice: number;
}

/** What a step found is behind it: `... -> no`. */
const FOUND = ' -> ';

/**
 * Does the moves from the model's start and writes a line for each. Where in the end somebody has
 * to wait, lines say who waits to do what.
 */
export function writeSchedule(shape: ModelShape, moves: readonly Move[]): string[] {
  const model = new Model(shape);
  const lines: string[] = [];
  let result: MoveResult = 'moved';
  for (const { actor: number, choice } of moves) {
    const actor = model.actors[number];
    const line = `${actor.name}: ${actor.label(model.world, choice)}`;
    result = model.move(actor, choice);
    const found = actor.found();
    lines.push(found === undefined ? line : `${line}${FOUND}${found}`);
  }
  return result === 'moved' && !isSomebodyReady(model) ? [...lines, ...waits(model)] : lines;
}

export interface Replay {
  readonly lines: readonly string[];
  readonly violation: Violation | undefined;
}

/** A line of a schedule that fits no move at its place. */
export class ScheduleError extends Error {
  override readonly name = 'ScheduleError';
}

/**
 * Does what the lines say, in their order; what a step found need not be written, and empty lines,
 * those that begin with # and those that only say who waits are passed over. Ends at a violation.
 * Throws ScheduleError for a line that names no move that is possible at its place.
 */
export function replaySchedule(shape: ModelShape, schedule: readonly string[]): Replay {
  const model = new Model(shape);
  const lines: string[] = [];
  /** Of the last line: it counts when nothing worse follows. */
  let unlocked: Violation | undefined;
  for (const line of schedule) {
    const wanted = line.split(FOUND)[0].trim();
    if (wanted === '' || wanted.startsWith('#') || WAITS.test(wanted)) continue;
    const [actor, choice] = findMove(model, wanted);
    const before = model.world.pages.stateBytes.slice();
    const result = model.move(actor, choice);
    if (result === 'waits') throw new ScheduleError(`has to wait here: ${wanted}`);
    const found = actor.found();
    lines.push(found === undefined ? wanted : `${wanted}${FOUND}${found}`);
    if (result !== 'moved') return { lines, violation: result };
    unlocked = checkLocks(model.world, before, actor.hadPagesLock);
  }
  if (isSomebodyReady(model)) return { lines, violation: unlocked };
  const isStuck = model.actors.some((actor) => !actor.mayRest);
  if (!isStuck) return { lines, violation: checkRest(model.world) ?? unlocked };
  return { lines: [...lines, ...waits(model)], violation: DEADLOCK };
}

const WAITS = / waits to: /;

function findMove(model: Model, wanted: string): readonly [Actor, number] {
  for (const actor of model.actors) {
    if (!wanted.startsWith(`${actor.name}: `)) continue;
    for (let choice = 0; choice < actor.choices(model.world); choice++) {
      if (wanted === `${actor.name}: ${actor.label(model.world, choice)}`) return [actor, choice];
    }
  }
  throw new ScheduleError(`is no move here: ${wanted}`);
}

function waits(model: Model): string[] {
  return model.actors
    .filter((actor) => !actor.mayRest)
    .map((actor) => `${actor.name} waits to: ${actor.label(model.world, 0)}`);
}

/** Tries all moves on a copy's bytes, so that the model stays as it is. */
function isSomebodyReady(model: Model): boolean {
  const { world } = model;
  const saved = new Int8Array(world.savedBytes);
  world.saveTo(saved, 0);
  for (const actor of model.actors) {
    for (let choice = 0; choice < actor.choices(world); choice++) {
      if (model.move(actor, choice) === 'waits') continue;
      world.restoreFrom(saved, 0);
      return true;
    }
  }
  return false;
}
