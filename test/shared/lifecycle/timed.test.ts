import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type AnyStateMachine, assign, createActor, raise, setup } from 'xstate';
import { VirtualClock } from '../../../shared/lib/clock.ts';
import { compileTimed, TimedActor, type TimedEffects } from '../../../shared/lifecycle/timed.ts';

type BellEvent = { readonly type: 'press' | 'release' | 'mute' | 'break' };
type BellState = 'quiet' | 'ringing' | 'muted' | 'broken';
type BellAction = 'ring' | 'hush' | 'complain' | 'enter';

/** Two delays in one state, a transition that enters its own state again, one at the root. */
const bellMachine = setup({
  types: { events: {} as BellEvent },
  delays: { tired: 30 },
  actions: { ring: () => {}, hush: () => {}, complain: () => {}, enter: () => {} },
}).createMachine({
  id: 'bell',
  initial: 'quiet',
  on: { mute: '.muted' },
  states: {
    quiet: { on: { press: { target: 'ringing', actions: 'ring' } } },
    ringing: {
      entry: 'enter',
      exit: 'hush',
      after: { 10: { actions: 'complain' }, tired: 'quiet' },
      on: { press: { target: 'ringing', reenter: true }, release: 'quiet', break: 'broken' },
    },
    muted: { after: { 5: 'quiet' }, on: { mute: {} } },
    broken: { type: 'final', entry: 'complain' },
  },
});
const bell = compileTimed(bellMachine);

/** An owner that writes down what it is asked to do. */
class Listener {
  readonly heard: string[] = [];
}

const EFFECTS: TimedEffects<BellAction, Listener, BellEvent> = {
  ring: (listener) => listener.heard.push('ring'),
  hush: (listener) => listener.heard.push('hush'),
  complain: (listener) => listener.heard.push('complain'),
  enter: (listener) => listener.heard.push('enter'),
};

function start(clock = new VirtualClock(), effects = EFFECTS) {
  const listener = new Listener();
  const actor = new TimedActor<BellState, BellEvent, BellAction, Listener>(
    bell,
    effects,
    clock,
    listener,
  );
  return { actor, clock, heard: listener.heard };
}

describe('a timed state machine', () => {
  it('does what an actor does, whatever happens and when', () => {
    const event = fc.constantFrom<BellEvent['type']>('press', 'release', 'mute', 'break');
    const moment = fc.record({ type: event, waitMs: fc.constantFrom(0, 4, 5, 10, 29, 30) });
    fc.assert(
      fc.property(fc.array(moment), (moments) => {
        const timed = start();
        const clock = new VirtualClock();
        const heard: string[] = [];
        const say = (name: string) => () => void heard.push(name);
        const actions = {
          ring: say('ring'),
          hush: say('hush'),
          complain: say('complain'),
          enter: say('enter'),
        };
        const actor = createActor(bellMachine.provide({ actions }), { clock: clock as never });
        actor.start();
        for (const { type, waitMs } of moments) {
          timed.actor.send({ type });
          if (actor.getSnapshot().status === 'active') actor.send({ type });
          timed.clock.advanceBy(waitMs);
          clock.advanceBy(waitMs);
          expect(timed.actor.state).toBe(actor.getSnapshot().value);
        }
        expect(timed.heard).toEqual(heard);
      }),
    );
  });

  it('forgets its delays and its events once it is stopped', () => {
    const { actor, clock, heard } = start();
    actor.send({ type: 'press' });
    actor.stop();
    expect(clock.nextDueMs()).toBeUndefined();
    actor.send({ type: 'release' });
    expect(actor.state).toBe('ringing');
    expect(heard).toEqual(['ring', 'enter']);
  });

  it('has changed its state before an effect runs, and runs what that causes afterwards', () => {
    const order: string[] = [];
    const { actor } = start(new VirtualClock(), {
      ...EFFECTS,
      ring: () => {
        order.push(`ring in ${actor.state}`);
        actor.send({ type: 'release' });
        order.push(`then ${actor.state}`);
      },
      enter: () => order.push('enter'),
      hush: () => order.push('hush'),
    });
    actor.send({ type: 'press' });
    expect(order).toEqual(['ring in ringing', 'then quiet', 'enter', 'hush']);
  });

  it('lets the exception of an effect reach whoever sent the event, and goes on', () => {
    const { actor, clock } = start(new VirtualClock(), {
      ...EFFECTS,
      complain: () => {
        throw new Error('too loud');
      },
    });
    actor.send({ type: 'press' });
    expect(() => clock.advanceTo(10)).toThrow('too loud');
    expect(actor.state).toBe('ringing');
    clock.advanceTo(30);
    expect(actor.state).toBe('quiet');
  });

  it('gives effects their owner and the event', () => {
    const { actor, heard } = start(new VirtualClock(), {
      ...EFFECTS,
      ring: (listener, { type }) => listener.heard.push(type),
    });
    actor.send({ type: 'press' });
    expect(heard).toEqual(['press', 'enter']);
  });
});

describe('a state machine that cannot be compiled for delays', () => {
  const machines = setup({
    types: { context: {} as { readonly n?: number }, events: {} as { type: 'go' } },
    actions: { named: () => {}, withParams: (_, _params: { n: number }) => {} },
    guards: { never: () => false },
  });
  const of = (a: object, more: object = {}): AnyStateMachine =>
    machines.createMachine({
      id: 'm',
      initial: 'a',
      states: { a, b: {} },
      ...more,
    } as never) as unknown as AnyStateMachine;

  it.each([
    ['context', of({}, { context: { n: 1 } })],
    ['compound state a', of({ initial: 'c', states: { c: {} } })],
    ['parallel state a', of({ type: 'parallel', states: { c: {} } })],
    ['always in a', of({ always: { target: 'b', guard: 'never' } })],
    ['wildcard event *', of({ on: { '*': 'b' } })],
    ['a guard on go', of({ on: { go: { target: 'b', guard: 'never' } } })],
    ['several transitions on go', of({ on: { go: [{ guard: 'never' }, 'b'] } })],
    [
      'action withParams',
      of({ on: { go: { actions: { type: 'withParams', params: { n: 1 } } } } }),
    ],
    ['action xstate.raise', of({ on: { go: { actions: raise({ type: 'go' }, { delay: 5 }) } } })],
    ['action', of({ on: { go: { actions: () => {} } } })],
    ['context', of({ on: { go: { actions: assign({ n: 1 }) } } }, { context: {} })],
  ])('is refused for %s', (reason, machine) => {
    expect(() => compileTimed(machine)).toThrow(
      `timed state machine cannot be compiled: m: ${reason}`,
    );
  });
});
