import { describe, expect, it } from 'vitest';
import { type AnyStateMachine, createMachine, setup } from 'xstate';
import { compileLifecycle, ILLEGAL } from '../../../shared/lifecycle/compile.ts';
import { expectTableEqualsMachine } from '../../support/lifecycle-equivalence.ts';

const doorMachine = setup({}).createMachine({
  id: 'door',
  initial: 'shut',
  states: {
    shut: { tags: ['closed'], on: { open: 'ajar', lock: 'locked' } },
    ajar: { on: { shut: 'shut', open: 'ajar' } },
    locked: { tags: ['closed', 'safe'], on: { unlock: 'shut', demolish: 'gone' } },
    gone: { type: 'final' },
  },
});
const STATE = { shut: 0, ajar: 1, locked: 2, gone: 3 } as const;
const EVENT = { open: 0, shut: 1, lock: 2, unlock: 3, demolish: 4 } as const;
const door = compileLifecycle(doorMachine, { states: STATE, events: EVENT });

/** Compiles with numbers that fit, so that only the state machine can be the reason to refuse. */
function compileAny(machine: AnyStateMachine): () => unknown {
  const number = (names: readonly string[]): Record<string, number> =>
    Object.fromEntries(names.map((name, index) => [name, index]));
  const numbering = { states: number(Object.keys(machine.states)), events: number(machine.events) };
  return () => compileLifecycle(machine, numbering);
}

describe('a compiled table', () => {
  it('does what the state machine does in every state at every event', () => {
    expectTableEqualsMachine(doorMachine, door);
  });

  it('keeps the id, the names and the numbers', () => {
    expect(door.id).toBe('door');
    expect(door.states).toEqual(STATE);
    expect(door.events).toEqual(EVENT);
    expect(door.stateNames).toEqual(['shut', 'ajar', 'locked', 'gone']);
    expect(door.eventNames).toEqual(['open', 'shut', 'lock', 'unlock', 'demolish']);
    expect(door.initial).toBe(STATE.shut);
  });

  it('has rows of a power of two, ILLEGAL where nothing is declared', () => {
    expect(door.eventShift).toBe(3);
    expect(door.next).toHaveLength(4 << 3);
    expect([...door.next.subarray(STATE.shut << 3, (STATE.shut << 3) + 8)]).toEqual([
      STATE.ajar,
      ILLEGAL,
      STATE.locked,
      ILLEGAL,
      ILLEGAL,
      ILLEGAL,
      ILLEGAL,
      ILLEGAL,
    ]);
  });

  it('names state and event of an illegal step', () => {
    expect(() => door.step(STATE.locked, EVENT.open)).toThrow(
      'lifecycle step is illegal: door: open in locked',
    );
  });

  it.each([
    [STATE.shut, 8, 'event 8 in shut'],
    [STATE.shut, -1, 'event -1 in shut'],
    [9, EVENT.open, 'open in state 9'],
    [-1, EVENT.open, 'open in state -1'],
  ])('refuses numbers out of range: state %i, event %i', (state, event, message) => {
    expect(door.can(state, event)).toBe(false);
    expect(() => door.step(state, event)).toThrow(message);
  });

  it('turns tags into masks of states', () => {
    expect(door.tags).toEqual(['closed', 'safe']);
    expect(door.tagMask('closed')).toBe((1 << STATE.shut) | (1 << STATE.locked));
    expect(door.hasTag(STATE.locked, 'safe')).toBe(true);
    expect(door.hasTag(STATE.shut, 'safe')).toBe(false);
  });

  it('takes a tag that no state carries for a misspelling', () => {
    expect(() => door.tagMask('close')).toThrow('no state carries this tag: door: close');
  });

  it('holds 32 states, with a mask bit for the last one', () => {
    const names = Array.from({ length: 32 }, (_, index) => `s${index}`);
    const states = Object.fromEntries(
      names.map((name, index) => [name, { tags: 'all', on: { go: names[(index + 1) % 32] } }]),
    );
    const machine = createMachine({ id: 'ring', initial: 's0', states });
    const numbers = Object.fromEntries(names.map((name, index) => [name, index]));
    const table = compileLifecycle(machine, { states: numbers, events: { go: 0 } });
    expect(table.tagMask('all')).toBe(0xffff_ffff);
    expect(table.hasTag(31, 'all')).toBe(true);
    expectTableEqualsMachine(machine, table);
  });

  it('lets a state override or forbid what the root declares', () => {
    const machine = createMachine({
      id: 'rooted',
      initial: 'a',
      on: { go: '.b', stop: '.c' },
      states: { a: {}, b: { on: { go: 'c', stop: undefined } }, c: { type: 'final' } },
    });
    const numbering = { states: { a: 0, b: 1, c: 2 }, events: { go: 0, stop: 1 } };
    const table = compileLifecycle(machine, numbering);
    expect([...table.next]).toEqual([1, 2, 2, ILLEGAL, ILLEGAL, ILLEGAL]);
    expectTableEqualsMachine(machine, table);
  });
});

describe('a state machine that is not flat and pure is refused', () => {
  const go = { go: 'b' };
  const b = {};
  it.each<[reason: string, machine: AnyStateMachine]>([
    [
      'm.a: a guard on go',
      createMachine({
        id: 'm',
        initial: 'a',
        states: { a: { on: { go: { target: 'b', guard: () => true } } }, b },
      }),
    ],
    [
      'm.a: actions on go',
      createMachine({
        id: 'm',
        initial: 'a',
        states: { a: { on: { go: { target: 'b', actions: () => {} } } }, b },
      }),
    ],
    [
      'm.a: entry actions',
      createMachine({ id: 'm', initial: 'a', states: { a: { entry: () => {}, on: go }, b } }),
    ],
    [
      'm.b: exit actions',
      createMachine({ id: 'm', initial: 'a', states: { a: { on: go }, b: { exit: () => {} } } }),
    ],
    [
      'm: context',
      createMachine({ id: 'm', context: { n: 0 }, initial: 'a', states: { a: { on: go }, b } }),
    ],
    [
      'm.a: invoke',
      createMachine({ id: 'm', initial: 'a', states: { a: { invoke: { src: 'x' }, on: go }, b } }),
    ],
    [
      'm.a: after',
      createMachine({ id: 'm', initial: 'a', states: { a: { after: { 10: 'b' }, on: go }, b } }),
    ],
    [
      'm.b: always',
      createMachine({ id: 'm', initial: 'a', states: { a: { on: go }, b: { always: 'a' } } }),
    ],
    [
      'm.h: history',
      createMachine({
        id: 'm',
        initial: 'a',
        states: { a: { on: go }, b, h: { type: 'history' } },
      }),
    ],
    [
      'm.b: nested states',
      createMachine({
        id: 'm',
        initial: 'a',
        states: { a: { on: go }, b: { initial: 'c', states: { c: {} } } },
      }),
    ],
    ['m: parallel states', createMachine({ id: 'm', type: 'parallel', states: { a: {}, b } })],
    ['m: no states', createMachine({ id: 'm' })],
    [
      'm.a: wildcard event *',
      createMachine({ id: 'm', initial: 'a', states: { a: { on: { '*': 'b' } }, b } }),
    ],
    [
      'm.a: wildcard event go.*',
      createMachine({ id: 'm', initial: 'a', states: { a: { on: { 'go.*': 'b' } }, b } }),
    ],
    [
      'm.a: several transitions on go',
      createMachine({
        id: 'm',
        initial: 'a',
        states: { a: { on: { go: [{ target: 'b' }, { target: 'a' }] } }, b },
      }),
    ],
    [
      'm: internal event xstate.done.state.m',
      createMachine({ id: 'm', initial: 'a', states: { a: { on: go }, b }, onDone: '.a' } as never),
    ],
  ])('%s', (reason, machine) => {
    expect(compileAny(machine)).toThrow(`state machine cannot be compiled: ${reason}`);
  });
});

describe('a numbering that does not fit is refused', () => {
  const machine: AnyStateMachine = createMachine({
    id: 'm',
    initial: 'a',
    states: { a: { on: { go: 'b', stop: 'a' } }, b: {} },
  });
  const states = { a: 0, b: 1 };
  const events = { go: 0, stop: 1 };

  it.each<[reason: string, states: Record<string, number>, events: Record<string, number>]>([
    ['b has no number', { a: 0 }, events],
    ['stop has no number', states, { go: 0 }],
    ['c is not in the state machine', { ...states, c: 2 }, events],
    ['wait is not in the state machine', states, { ...events, wait: 2 }],
    ['a and b are both 0', { a: 0, b: 0 }, events],
    ['nothing has number 0', { a: 1, b: 2 }, events],
    ['nothing has number 1', { a: 0, b: 2 }, events],
    ['nothing has number 0', states, { go: 1, stop: 2 }],
    ['b has number -1, not 0 to 31', { a: 0, b: -1 }, events],
    ['b has number 0.5, not 0 to 31', { a: 0, b: 0.5 }, events],
    ['b has number 32, not 0 to 31', { a: 0, b: 32 }, events],
  ])('%s', (reason, wrongStates, wrongEvents) => {
    const compile = () => compileLifecycle(machine, { states: wrongStates, events: wrongEvents });
    expect(compile).toThrow(`numbering does not fit: m: ${reason}`);
  });

  it('by the compiler as well, where the state names are literal', () => {
    // @ts-expect-error `gone` is missing
    const compile = () => compileLifecycle(doorMachine, { states: { shut: 0 }, events: EVENT });
    expect(compile).toThrow('ajar has no number');
  });
});

describe('the equivalence proof', () => {
  it('finds a cell that differs from the state machine', () => {
    const changed = compileLifecycle(doorMachine, { states: STATE, events: EVENT });
    changed.next[(STATE.ajar << changed.eventShift) | EVENT.shut] = STATE.locked;
    expect(() => expectTableEqualsMachine(doorMachine, changed)).toThrow('shut in ajar');
  });

  it('finds a cell that is legal without being declared', () => {
    const changed = compileLifecycle(doorMachine, { states: STATE, events: EVENT });
    changed.next[(STATE.gone << changed.eventShift) | EVENT.open] = STATE.shut;
    expect(() => expectTableEqualsMachine(doorMachine, changed)).toThrow('open in gone');
  });

  it('finds a state that nothing leads to', () => {
    const machine = createMachine({
      id: 'm',
      initial: 'a',
      states: { a: { on: { go: 'a' } }, b: {} },
    });
    const table = compileLifecycle(machine, { states: { a: 0, b: 1 }, events: { go: 0 } });
    expect(() => expectTableEqualsMachine(machine, table)).toThrow('reachable states');
  });
});
