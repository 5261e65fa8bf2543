import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { setup } from 'xstate';
import { compileLifecycle } from '../../../shared/lifecycle/compile.ts';
import { Population } from '../../../shared/lifecycle/population.ts';

const frameMachine = setup({}).createMachine({
  id: 'frame',
  initial: 'free',
  states: {
    free: { on: { take: 'taken' } },
    taken: { on: { give: 'free', pin: 'pinned' } },
    pinned: { on: { unpin: 'taken' } },
  },
});
const STATE = { free: 0, taken: 1, pinned: 2 } as const;
const EVENT = { take: 0, give: 1, pin: 2, unpin: 3 } as const;
const table = compileLifecycle(frameMachine, { states: STATE, events: EVENT });

describe('a population', () => {
  it.each([
    { free: 0, taken: 1, pinned: 2 },
    { taken: 0, free: 1, pinned: 2 },
    { taken: 0, pinned: 1, free: 2 },
  ])('starts in the initial state, whatever its number: $free', (states) => {
    const renumbered = compileLifecycle(frameMachine, { states, events: EVENT });
    const frames = new Population(renumbered, 3);
    expect([...frames.snapshot()]).toEqual([states.free, states.free, states.free]);
    expect([...frames.count]).toEqual([0, 1, 2].map((state) => (state === states.free ? 3 : 0)));
  });

  it('moves one item and both counts', () => {
    const frames = new Population(table, 4);
    expect(frames.step(2, EVENT.take)).toBe(STATE.taken);
    expect(frames.stateOf(2)).toBe(STATE.taken);
    expect(frames.stateOf(1)).toBe(STATE.free);
    expect(frames.countOf(STATE.free)).toBe(3);
    expect(frames.countOf(STATE.taken)).toBe(1);
  });

  it('finds the items in a state, ascending', () => {
    const frames = new Population(table, 4);
    for (const index of [3, 1]) frames.step(index, EVENT.take);
    expect(frames.indexOf(STATE.taken)).toBe(1);
    expect(frames.indexOf(STATE.taken, 2)).toBe(3);
    expect(frames.indexOf(STATE.pinned)).toBe(-1);
  });

  it('names index, event and state of an illegal step and changes nothing', () => {
    const frames = new Population(table, 4);
    expect(() => frames.step(3, EVENT.pin)).toThrow(
      'population step is illegal: frame[3] of 4: pin in free',
    );
    expect([...frames.snapshot()]).toEqual([0, 0, 0, 0]);
    frames.verify();
  });

  it.each([-1, 4, 2 ** 31])('refuses index %i of four', (index) => {
    const frames = new Population(table, 4);
    expect(() => frames.step(index, EVENT.take)).toThrow(`frame[${index}] of 4`);
    expect(() => frames.stateOf(index)).toThrow(`out of range: frame[${index}] of 4`);
    expect(() => frames.stepRange(index, 1, EVENT.take)).toThrow(
      'population range is out of range',
    );
    expect([...frames.count]).toEqual([4, 0, 0]);
  });

  it('refuses an event of another lifecycle instead of reading the next row', () => {
    const frames = new Population(table, 1);
    expect(() => frames.step(0, 5)).toThrow('event 5 in free');
  });
});

describe('a range of a population', () => {
  it('moves as one when it is uniform', () => {
    const frames = new Population(table, 1024);
    expect(frames.stepRange(256, 512, EVENT.take)).toBe(STATE.taken);
    expect([255, 256, 767, 768].map((pfn) => frames.stateOf(pfn))).toEqual([0, 1, 1, 0]);
    expect([...frames.count]).toEqual([512, 512, 0]);
    frames.verify();
  });

  it('is refused when one item differs, and stays as it is', () => {
    const frames = new Population(table, 8);
    frames.step(5, EVENT.take);
    expect(() => frames.stepRange(2, 6, EVENT.take)).toThrow(
      'population range is not uniform: frame take: free at 2, taken at 5',
    );
    expect([...frames.count]).toEqual([7, 1, 0]);
  });

  it('names start, length, event and state of an illegal step', () => {
    const frames = new Population(table, 8);
    expect(() => frames.stepRange(2, 6, EVENT.give)).toThrow(
      'population range step is illegal: frame[2] of 8 + 6: give in free',
    );
  });

  it.each([
    [4, 5],
    [0, 0],
    [3, -1],
  ])('is refused from %i for %i of eight', (start, count) => {
    const frames = new Population(table, 8);
    expect(() => frames.stepRange(start, count, EVENT.take)).toThrow('out of range');
  });
});

describe('a population over given bytes', () => {
  it('counts what it finds and goes on from there', () => {
    const bytes = Uint8Array.of(1, 1, 0, 2);
    const frames = new Population(table, bytes);
    expect([...frames.count]).toEqual([1, 2, 1]);
    frames.step(3, EVENT.unpin);
    expect(bytes[3]).toBe(STATE.taken);
  });

  it('refuses a byte that is no state', () => {
    expect(() => new Population(table, Uint8Array.of(0, 3))).toThrow(
      'population has an unknown state: frame[1]',
    );
  });

  it('notices when somebody else wrote a byte', () => {
    const bytes = new Uint8Array(2);
    const frames = new Population(table, bytes);
    bytes[0] = STATE.pinned;
    expect(() => frames.verify()).toThrow('population counts differ from its states');
  });
});

it('agrees with one table step per item, over random events', () => {
  const steps = fc.array(fc.tuple(fc.nat(7), fc.nat(3)), { maxLength: 200, size: 'max' });
  fc.assert(
    fc.property(steps, (events) => {
      const frames = new Population(table, 8);
      const model = new Array<number>(8).fill(table.initial);
      for (const [index, event] of events) {
        if (!table.can(model[index] ?? 0, event)) continue;
        model[index] = table.step(model[index] ?? 0, event);
        frames.step(index, event);
      }
      expect([...frames.snapshot()]).toEqual(model);
      frames.verify();
    }),
  );
});

describe('a step of many items', () => {
  it('does what as many single steps do, up to the one that is illegal', () => {
    const item = fc.nat(5);
    const event = fc.constantFrom(...Object.values(EVENT));
    const steps = fc.array(fc.record({ items: fc.array(item, { maxLength: 8 }), event }));
    fc.assert(
      fc.property(steps, (moves) => {
        const [one, many] = [new Population(table, 6), new Population(table, 6)];
        for (const { items, event } of moves) {
          let legal = 0;
          while (legal < items.length && table.can(one.stateOf(items[legal]), event)) {
            one.step(items[legal++], event);
          }
          // A place before and one behind, which are not to be stepped.
          const indexes = Int32Array.of(0, ...items, 0);
          many.stepEach(indexes, 1, 1 + legal, event);
          expect(many.snapshot()).toEqual(one.snapshot());
          many.verify();
          if (legal === items.length) continue;
          const refused = () => many.stepEach(indexes, 1 + legal, 2 + legal, event);
          expect(refused).toThrow(`population step is illegal: frame[${items[legal]}] of 6`);
        }
      }),
    );
  });

  it.each([-1, 6])('refuses index %i of six', (index) => {
    const items = new Population(table, 6);
    const indexes = Int32Array.of(index);
    expect(() => items.stepEach(indexes, 0, 1, EVENT.take)).toThrow(`frame[${index}] of 6`);
  });
});
