import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Model, type ModelShape } from '../../../lab/explore/model.ts';
import { PROCEDURES } from '../../../lab/explore/names.ts';
import { modelOf } from '../../../lab/explore/scenario.ts';
import { type Move, replaySchedule, writeSchedule } from '../../../lab/explore/schedule.ts';

const shape = modelOf({ procedures: ['dequeue', 'isolate'], pages: 1 });

/** Moves until nobody can move, `picks` choosing among those that can be done. */
function walk(of: ModelShape, picks: Iterator<number>): Move[] {
  const model = new Model(of);
  const { world } = model;
  const saved = new Int8Array(world.savedBytes);
  const after = new Int8Array(world.savedBytes);
  const moves: Move[] = [];
  for (;;) {
    world.saveTo(saved, 0);
    const possible = model.actors.flatMap((actor) =>
      Array.from({ length: actor.choices(world) }, (_, choice) => ({ actor, choice })).filter(
        ({ choice }) => {
          const result = model.move(actor, choice);
          world.saveTo(after, 0);
          // Who has to wait has changed nothing: else orders would be taken for others.
          if (result === 'waits') expect(after.join()).toBe(saved.join());
          world.restoreFrom(saved, 0);
          return result === 'moved';
        },
      ),
    );
    if (possible.length === 0) return moves;
    const { actor, choice } = possible[picks.next().value % possible.length];
    model.move(actor, choice);
    moves.push({ actor: actor.number, choice });
  }
}

describe('a schedule', () => {
  it('is a line for each move: who, what, and what was found where it could be otherwise', () => {
    const moves = [
      { actor: 1, choice: 0 },
      { actor: 1, choice: 0 },
      { actor: 0, choice: 0 },
    ];
    expect(writeSchedule(shape, moves)).toEqual([
      'compactor 1: choose page 0',
      'compactor 1: pin page 0 (get_page_unless_zero) -> yes',
      'leak: begin leak_balloon',
    ]);
  });

  it('may be written without what was found, with comments and empty lines', () => {
    const lines = ['# mine', '', '  compactor 1: choose page 0', 'leak: begin leak_balloon'];
    expect(replaySchedule(shape, lines)).toEqual({
      lines: ['compactor 1: choose page 0', 'leak: begin leak_balloon'],
      violation: undefined,
    });
  });

  it.each([
    ['compactor 2: choose page 0', 'is no move here'],
    ['compactor 1: choose page 4', 'is no move here'],
    ['leak: take balloon_lock', 'is no move here'],
    ['nonsense', 'is no move here'],
  ])('a line that cannot be done is refused: %s', (line, reason) => {
    expect(() => replaySchedule(shape, [line])).toThrow(`${reason}: ${line.trim()}`);
  });

  it('a line that has to wait at its place is refused', () => {
    const both = modelOf({ procedures: ['dequeue', 'dequeue'] });
    const lines = ['leak', 'leak 2'].flatMap((name) => [
      `${name}: begin leak_balloon`,
      `${name}: take balloon_lock`,
    ]);
    expect(() => replaySchedule(both, lines)).toThrow(
      'has to wait here: leak 2: take balloon_lock',
    );
  });

  it('any walk to the end can be written and done again, and leaves the world in order', () => {
    const names = fc.array(fc.constantFrom(...PROCEDURES), { minLength: 2, maxLength: 4 });
    const picks = fc.infiniteStream(fc.nat());
    const property = fc.property(names, picks, (procedures, stream) => {
      const isolated = procedures.filter((name) => name === 'putback' || name === 'migrate');
      if (isolated.length > 3) return;
      const of = modelOf({ procedures, pages: 3, events: ['retarget', 'cut'] });
      const lines = writeSchedule(of, walk(of, stream));
      expect(replaySchedule(of, lines)).toEqual({ lines, violation: undefined });
    });
    fc.assert(property, { numRuns: 40 });
  });
});

describe('the small world', () => {
  it('set back to an earlier state goes on as it did the first time', () => {
    const property = fc.property(fc.infiniteStream(fc.nat()), (picks) => {
      const of = modelOf({ procedures: ['enqueue', 'dequeue', 'migrate'], pages: 2 });
      const moves = walk(of, picks);
      const model = new Model(of);
      const width = model.world.savedBytes;
      const states = new Int8Array(width * (moves.length + 1));
      const go = ({ actor, choice }: Move): unknown => model.move(model.actors[actor], choice);
      moves.forEach((move, at) => {
        model.world.saveTo(states, at * width);
        go(move);
      });
      model.world.saveTo(states, moves.length * width);
      const again = new Int8Array(width);
      for (let at = moves.length - 1; at >= 0; at--) {
        model.world.restoreFrom(states, at * width);
        go(moves[at]);
        model.world.saveTo(again, 0);
        expect(again.join()).toBe(states.slice((at + 1) * width, (at + 2) * width).join());
      }
    });
    fc.assert(property, { numRuns: 25 });
  });
});
