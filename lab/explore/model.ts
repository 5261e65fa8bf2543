import { AssertionError } from '../../shared/lib/assert.ts';
import { checkStep, failedStep, type Violation } from './invariants.ts';
import { Actor, type Script } from './script.ts';
import { ExploredWorld } from './world.ts';

export interface ModelShape {
  readonly pages: number;
  readonly isolated: number;
  readonly free: number;
  readonly followsTarget?: boolean;
  readonly scripts: readonly Script[];
}

/** What one move did. */
export type MoveResult = 'waits' | 'moved' | Violation;

/** A small world and its actors at their start: what is explored and what a schedule replays. */
export class Model {
  readonly world: ExploredWorld;
  readonly actors: readonly Actor[];

  constructor(shape: ModelShape) {
    const frameWords = shape.scripts.length * Actor.frameWords;
    this.world = new ExploredWorld({ followsTarget: false, ...shape, frameWords });
    this.actors = shape.scripts.map(
      (script, number) => new Actor(script, number, this.world.frames),
    );
    for (const actor of this.actors) actor.begin(this.world);
  }

  /** Lets an actor do one move. An assertion of the product that fails is a violation. */
  move(actor: Actor, choice: number): MoveResult {
    try {
      if (actor.move(this.world, choice) === 'waits') return 'waits';
    } catch (error) {
      if (!(error instanceof AssertionError)) throw error;
      return failedStep(error.message);
    }
    return checkStep(this.world) ?? 'moved';
  }
}
