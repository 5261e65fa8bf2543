import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createMachine, setup } from 'xstate';
import {
  type Effect,
  type Frame,
  procedure,
  WAIT,
  YES_NO,
} from '../../../shared/lifecycle/procedure.ts';
import { expectTableEqualsMachine } from '../../support/lifecycle-equivalence.ts';

/** The shape of balloon_page_isolate: pin, lock, look again, take off the list. */
const isolateMachine = setup({}).createMachine({
  id: 'isolate',
  initial: 'pin',
  states: {
    pin: { on: { yes: 'lock', no: 'refused' } },
    lock: { on: { yes: 'recheck', no: 'unpin' } },
    recheck: { on: { yes: 'unlink', no: 'unlock' } },
    unlink: { on: { yes: 'isolated' } },
    unlock: { on: { yes: 'unpin' } },
    unpin: { on: { yes: 'refused' } },
    isolated: { type: 'final' },
    refused: { type: 'final' },
  },
});

interface Pages {
  readonly references: Int32Array;
  readonly locked: Uint8Array;
  readonly listed: Uint8Array;
}

const PAGE = 1;
const { yes, no } = YES_NO;
const isolate = procedure(isolateMachine, YES_NO, {
  pin: (frame, pages: Pages) => {
    if (pages.references[frame[PAGE]] === 0) return no;
    pages.references[frame[PAGE]]++;
    return yes;
  },
  lock: (frame, pages: Pages) => {
    if (pages.locked[frame[PAGE]] === 1) return no;
    pages.locked[frame[PAGE]] = 1;
    return yes;
  },
  recheck: (frame, pages: Pages) => (pages.references[frame[PAGE]] === 2 ? yes : no),
  unlink: (frame, pages: Pages) => {
    pages.listed[frame[PAGE]] = 0;
    pages.locked[frame[PAGE]] = 0;
    return yes;
  },
  unlock: (frame, pages: Pages) => {
    pages.locked[frame[PAGE]] = 0;
    return yes;
  },
  unpin: (frame, pages: Pages) => {
    pages.references[frame[PAGE]]--;
    return yes;
  },
});

function onePage(references: number, locked: number): Pages {
  return {
    references: Int32Array.of(references),
    locked: Uint8Array.of(locked),
    listed: Uint8Array.of(1),
  };
}

const copyOf = (pages: Pages): Pages => structuredClone(pages);

describe('a stepped procedure run to completion', () => {
  it.each([
    ['isolated', 'held once and unlocked', onePage(1, 0), onePage(2, 0)],
    ['refused', 'free', onePage(0, 0), onePage(0, 0)],
    ['refused', 'locked by somebody', onePage(1, 1), onePage(1, 1)],
    ['refused', 'held by one more', onePage(2, 0), onePage(2, 0)],
  ] as const)('ends %s when the page is %s', (end, _what, pages, after) => {
    const frame = isolate.newFrame(0);
    expect(isolate.run(frame, pages)).toBe(end);
    expect(isolate.isDone(frame)).toBe(true);
    expect(isolate.stateName(frame)).toBe(end);
    expect(pages.references).toEqual(after.references);
    expect(pages.locked).toEqual(after.locked);
    expect(pages.listed[0]).toBe(end === 'isolated' ? 0 : 1);
  });

  it('compiles to a table that equals its state machine', () => {
    expect(isolate.id).toBe('isolate');
    expectTableEqualsMachine(isolateMachine, isolate.table);
  });

  it('goes on from where a frame stands, and stays where it ended', () => {
    const pages = onePage(1, 0);
    const frame = isolate.newFrame(0);
    isolate.step(frame, pages);
    isolate.step(frame, pages);
    expect(isolate.run(frame, pages)).toBe('isolated');
    expect(isolate.run(frame, pages)).toBe('isolated');
    expect(pages.references[0]).toBe(2);
  });

  it('can be started again in the same frame', () => {
    const pages = onePage(0, 0);
    const frame = isolate.newFrame(0);
    expect(isolate.run(frame, pages)).toBe('refused');
    pages.references[0] = 1;
    isolate.start(frame);
    expect(isolate.stateName(frame)).toBe('pin');
    expect(isolate.run(frame, pages)).toBe('isolated');
  });
});

describe('a stepped procedure under the explorer', () => {
  it('reports each step and the end', () => {
    const pages = onePage(1, 1);
    const frame = isolate.newFrame(0);
    const seen: string[] = [];
    do seen.push(isolate.stateName(frame));
    while (isolate.step(frame, pages) !== 'done');
    expect(seen).toEqual(['pin', 'lock', 'unpin']);
    expect(isolate.step(frame, pages)).toBe('done');
    expect(isolate.stateName(frame)).toBe('refused');
  });

  it('does the same stepwise as in one run, with a copy of the world taken at any step', () => {
    const world = fc.record({ references: fc.nat(3), locked: fc.nat(1), copyAt: fc.nat(5) });
    fc.assert(
      fc.property(world, ({ references, locked, copyAt }) => {
        const ran = onePage(references, locked);
        const end = isolate.run(isolate.newFrame(0), ran);

        let pages = onePage(references, locked);
        let frame = isolate.newFrame(0);
        for (let step = 0; !isolate.isDone(frame); step++) {
          if (step === copyAt) {
            const abandoned = { frame, pages };
            frame = frame.slice();
            pages = copyOf(pages);
            isolate.run(abandoned.frame, abandoned.pages);
          }
          isolate.step(frame, pages);
        }
        expect(isolate.stateName(frame)).toBe(end);
        expect(pages).toEqual(ran);
      }),
    );
  });

  it('lets two of them race: only one isolates the page, whatever the order', () => {
    for (let order = 0; order < 1 << 10; order++) {
      const pages = onePage(1, 0);
      const frames: Frame[] = [isolate.newFrame(0), isolate.newFrame(0)];
      for (let turn = 0; turn < 10; turn++)
        isolate.step(frames[(order >> turn) & 1] as Frame, pages);
      const ends = frames.map((frame) => isolate.run(frame, pages)).sort();
      expect(ends[1], `order ${order.toString(2)}`).toBe('refused');
      expect(pages.locked[0]).toBe(0);
      expect(pages.references[0]).toBe(ends[0] === 'isolated' ? 2 : 1);
      expect(pages.listed[0]).toBe(ends[0] === 'isolated' ? 0 : 1);
    }
  });
});

describe('an effect that cannot go on', () => {
  const machine = setup({}).createMachine({
    id: 'locker',
    initial: 'lock',
    states: { lock: { on: { yes: 'held' } }, held: { type: 'final' } },
  });
  const locker = procedure(
    machine,
    { yes: 0 },
    {
      lock: (_frame, world: { free: boolean }) => (world.free ? 0 : WAIT),
    },
  );

  it('is tried again by the next step', () => {
    const world = { free: false };
    const frame = locker.newFrame();
    expect(locker.step(frame, world)).toBe('waiting');
    expect(locker.stateName(frame)).toBe('lock');
    world.free = true;
    expect(locker.step(frame, world)).toBe('done');
  });

  it('must not happen in a run, where nobody else could wake it', () => {
    expect(() => locker.run(locker.newFrame(), { free: false })).toThrow(
      'procedure waits where nobody can wake it: locker in lock',
    );
  });

  it('is not the same as an event that the step does not have', () => {
    const wrong = { free: true };
    const strange = procedure(isolateMachine, YES_NO, {
      pin: () => yes,
      lock: () => yes,
      recheck: () => yes,
      unlink: () => no,
      unlock: () => yes,
      unpin: () => yes,
    });
    const what = 'lifecycle step is illegal: isolate: no in unlink';
    expect(() => strange.run(strange.newFrame(), wrong)).toThrow(what);
  });
});

describe('a frame', () => {
  it('is the step and the locals, as whole numbers', () => {
    expect([...isolate.newFrame(7, -1)]).toEqual([isolate.table.initial, 7, -1]);
  });

  it.each([40, -1])('that stands in step %i is refused', (step) => {
    const frame = Int32Array.of(step, 0);
    const where = `isolate in step ${step}`;
    expect(() => isolate.step(frame, onePage(1, 0))).toThrow(`frame stands in no step: ${where}`);
    expect(() => isolate.isDone(frame)).toThrow(`frame stands in no step: ${where}`);
    expect(() => isolate.run(frame, onePage(1, 0))).toThrow(`frame has no state name: ${where}`);
    expect(() => isolate.stateName(frame)).toThrow(`frame has no state name: ${where}`);
  });
});

describe('a procedure is refused', () => {
  const effect: Effect<unknown, 0> = () => 0;
  const chain = (length: number) => {
    const states = Object.fromEntries(
      Array.from({ length }, (_, index) => {
        const next = { on: { yes: `s${index + 1}` } };
        return [`s${index}`, index === length - 1 ? {} : next];
      }),
    );
    const names = Object.keys(states).slice(0, -1);
    const effects = Object.fromEntries(names.map((name) => [name, effect]));
    return { machine: createMachine({ id: 'p', initial: 's0', states }), effects };
  };
  const event = { yes: 0 };

  it('with more than 16 states', () => {
    const { machine, effects } = chain(17);
    expect(() => procedure(machine, event, effects)).toThrow('p: more than 16 steps');
    const fits = chain(16);
    expect(procedure(fits.machine, event, fits.effects).run(Int32Array.of(0), 0)).toBe('s15');
  });

  it('with a loop', () => {
    const states = { a: { on: { yes: 'b' } }, b: { on: { yes: 'a' } } };
    const machine = createMachine({ id: 'p', initial: 'a', states });
    const refused = () => procedure(machine, event, { a: effect, b: effect });
    expect(refused).toThrow('stepped procedure is refused: p: loop through a');
  });

  it('with a step that goes back to itself', () => {
    const machine = createMachine({ id: 'p', initial: 'a', states: { a: { on: { yes: 'a' } } } });
    expect(() => procedure(machine, event, { a: effect })).toThrow('p: loop through a');
  });

  it('with a step that nothing leads to', () => {
    const states = { a: { on: { yes: 'b' } }, b: {}, c: { on: { yes: 'b' } } };
    const machine = createMachine({ id: 'p', initial: 'a', states });
    const refused = () => procedure(machine, event, { a: effect, c: effect });
    expect(refused).toThrow('p: step c cannot be reached');
  });

  it('without an effect for a step', () => {
    const { machine } = chain(3);
    expect(() => procedure(machine, event, { s0: effect })).toThrow('p: step s1 has no effect');
  });

  it('with an effect for a final state', () => {
    const { machine, effects } = chain(2);
    const refused = () => procedure(machine, event, { ...effects, s1: effect });
    expect(refused).toThrow('p: final state s1 has an effect');
  });

  it('with an effect that has no step', () => {
    const { machine, effects } = chain(2);
    const refused = () => procedure(machine, event, { ...effects, s9: effect });
    expect(refused).toThrow('p: effect s9 has no step');
  });

  it('when its state machine cannot be compiled', () => {
    const states = { a: { on: { yes: { target: 'b', guard: () => true } } }, b: {} };
    const machine = createMachine({ id: 'p', initial: 'a', states });
    expect(() => procedure(machine, event, { a: effect })).toThrow('p.a: a guard on yes');
  });

  it('by the compiler as well, where an effect returns no event', () => {
    // @ts-expect-error 7 is no event
    const refused = () => procedure(isolateMachine, YES_NO, { pin: () => 7 });
    expect(refused).toThrow('isolate: step lock has no effect');
  });
});

describe('a procedure written as one function', () => {
  const doorMachine = setup({}).createMachine({
    id: 'door',
    initial: 'turn',
    states: {
      turn: { on: { yes: 'push', no: 'shut' } },
      push: { on: { yes: 'open', no: 'turnBack' } },
      turnBack: { on: { yes: 'shut' } },
      open: { type: 'final' },
      shut: { type: 'final' },
    },
  });
  interface Door {
    readonly finds: readonly (typeof yes | typeof no)[];
    readonly done: string[];
  }
  const find = (name: string) => (_frame: Frame, door: Door) => {
    door.done.push(name);
    return door.finds[door.done.length - 1];
  };
  const door = procedure<typeof doorMachine, typeof YES_NO, Door>(doorMachine, YES_NO, {
    turn: find('turn'),
    push: find('push'),
    turnBack: find('turnBack'),
  });
  type Written = Parameters<typeof door.inline>[0];
  const right: Written = (step) => (frame, world) => {
    if (step.turn(frame, world) === no) return 'shut';
    if (step.push(frame, world) === yes) return 'open';
    step.turnBack(frame, world);
    return 'shut';
  };

  it.each([[[no]], [[yes, yes]], [[yes, no, yes]]])('does what run does for %j', (finds) => {
    const [looped, inlined]: Door[] = [
      { finds, done: [] },
      { finds, done: [] },
    ];
    const end = door.run(door.newFrame(), looped);
    expect(door.inline(right)(door.newFrame(), inlined)).toBe(end);
    expect(inlined.done).toEqual(looped.done);
  });

  it('tries every way and has no effect while it tries', () => {
    const world: Door = { finds: [], done: [] };
    let ways = 0;
    door.inline((step) => (frame, _world) => {
      ways++;
      return right(step)(frame, world);
    });
    expect([ways, world.done]).toEqual([3, []]);
  });

  it.each<[string, Written]>([
    [
      'push is written out of turn',
      (step) => (frame, world) => (step.push(frame, world) === yes ? 'open' : 'shut'),
    ],
    [
      'open is written out of turn',
      (step) => (frame, world) => {
        step.turn(frame, world);
        step.open(frame, world);
        return 'shut';
      },
    ],
    [
      'shut is written for the end open',
      (step) => (frame, world) => {
        if (step.turn(frame, world) === yes) step.push(frame, world);
        return 'shut';
      },
    ],
    ['open is written for the end turn', () => () => 'open'],
  ])('is refused where %s', (reason, written) => {
    expect(() => door.inline(written)).toThrow(`stepped procedure is refused: door: ${reason}`);
  });
});
