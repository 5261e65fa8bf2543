import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { QmpMonitor } from '../../../../host/control/qmp/monitor.ts';
import { EventThrottle } from '../../../../host/control/qmp/throttle.ts';
import type { MachineEvent } from '../../../../host/vmm/machine.ts';
import { VirtualClock } from '../../../../shared/lib/clock.ts';
import { FakeMachine } from '../../../support/fake-machine.ts';
import { bytes, RECORDED_SETTINGS } from './support.ts';

function change(actual: number, wallMs = actual): MachineEvent {
  return { event: 'BALLOON_CHANGE', data: { actual }, wallMs };
}

/** A throttle on virtual time and what came out of it: [when, actual]. */
function setUp() {
  const clock = new VirtualClock();
  const out: [atMs: number, actual: unknown][] = [];
  const throttle = new EventThrottle(clock, (event) => out.push([clock.now(), event.data?.actual]));
  return { clock, out, throttle };
}

describe('EventThrottle', () => {
  test('the first event passes at once, the next is held until a second has gone', () => {
    const { clock, out, throttle } = setUp();
    throttle.queue(change(1));
    clock.advanceTo(300);
    throttle.queue(change(2));
    expect(out).toEqual([[0, 1]]);
    clock.advanceTo(999.9);
    expect(out).toHaveLength(1);
    clock.advanceTo(1000);
    expect(out).toEqual([
      [0, 1],
      [1000, 2],
    ]);
  });

  test('of the events within a second the latest is kept', () => {
    const { clock, out, throttle } = setUp();
    for (const actual of [1, 2, 3, 4]) throttle.queue(change(actual));
    clock.advanceTo(5000);
    expect(out).toEqual([
      [0, 1],
      [1000, 4],
    ]);
  });

  test('a held event that passed arms the timer again', () => {
    const { clock, out, throttle } = setUp();
    throttle.queue(change(1));
    throttle.queue(change(2));
    clock.advanceTo(1500);
    throttle.queue(change(3));
    clock.advanceTo(2000);
    expect(out.at(-1)).toEqual([2000, 3]);
  });

  test('after a second without events the next passes at once', () => {
    const { clock, out, throttle } = setUp();
    throttle.queue(change(1));
    clock.advanceTo(1000);
    throttle.queue(change(2));
    expect(out.at(-1)).toEqual([1000, 2]);
    expect(clock.nextDueMs()).toBe(2000);
  });

  test('closing cancels the timer and forgets what is held', () => {
    const { clock, out, throttle } = setUp();
    throttle.queue(change(1));
    throttle.queue(change(2));
    throttle.close();
    expect(clock.nextDueMs()).toBeUndefined();
    clock.advanceTo(5000);
    expect(out).toHaveLength(1);
  });

  test('at most one event a second, none before it happened, and the last one arrives', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 3000 }), { minLength: 1 }), (gapsMs) => {
        const { clock, out, throttle } = setUp();
        for (const [index, gapMs] of gapsMs.entries()) {
          clock.advanceBy(gapMs);
          throttle.queue(change(index));
        }
        clock.advanceBy(2000);
        const times = out.map(([atMs]) => atMs);
        for (let index = 1; index < times.length; index++) {
          expect(times[index] - times[index - 1]).toBeGreaterThanOrEqual(1000);
        }
        expect(out.at(-1)?.[1]).toBe(gapsMs.length - 1);
        expect(out.map(([, actual]) => actual)).toEqual(
          out.map(([, actual]) => Number(actual)).toSorted((a, b) => a - b),
        );
      }),
    );
  });
});

describe('QmpMonitor', () => {
  const WALL_MS = 1_795_161_923_000;

  function monitorOf(machine: FakeMachine, clock: VirtualClock) {
    const monitor = new QmpMonitor({ machine, settings: RECORDED_SETTINGS, timers: clock });
    const connect = () => {
      const lines: string[] = [];
      const session = monitor.open((text) => lines.push(text));
      session.feed(bytes('{"execute": "qmp_capabilities"}'));
      lines.length = 0;
      return { session, lines };
    };
    return { monitor, connect };
  }

  test('BALLOON_CHANGE is throttled for all clients together, with the time it happened', () => {
    const clock = new VirtualClock(WALL_MS);
    const machine = new FakeMachine(512, clock);
    const { connect } = monitorOf(machine, clock);
    const clients = [connect(), connect()];
    machine.changeBalloon(2);
    clock.advanceTo(300);
    machine.changeBalloon(1);
    clock.advanceTo(1000);
    for (const { lines } of clients) {
      expect(lines).toEqual([
        '{"timestamp": {"seconds": 1795161923, "microseconds": 0}, ' +
          '"event": "BALLOON_CHANGE", "data": {"actual": 2}}\r\n',
        '{"timestamp": {"seconds": 1795161923, "microseconds": 300000}, ' +
          '"event": "BALLOON_CHANGE", "data": {"actual": 1}}\r\n',
      ]);
    }
  });

  test('an event that nobody heard still starts the second', () => {
    const clock = new VirtualClock();
    const machine = new FakeMachine(512, clock);
    const { connect } = monitorOf(machine, clock);
    machine.changeBalloon(2);
    const { lines } = connect();
    machine.changeBalloon(1);
    expect(lines).toEqual([]);
    clock.advanceTo(1000);
    expect(lines).toHaveLength(1);
  });

  test('other events pass at once, also while one is held', () => {
    const clock = new VirtualClock();
    const machine = new FakeMachine(512, clock);
    const { connect } = monitorOf(machine, clock);
    const { lines } = connect();
    machine.changeBalloon(2);
    machine.changeBalloon(1);
    machine.stop();
    machine.cont();
    expect(lines.map((line) => /"event": "(\w+)"/.exec(line)?.[1])).toEqual([
      'BALLOON_CHANGE',
      'STOP',
      'RESUME',
    ]);
  });

  test('a dropped client hears nothing; a closed monitor leaves the machine alone', () => {
    const clock = new VirtualClock();
    const machine = new FakeMachine(512, clock);
    const { monitor, connect } = monitorOf(machine, clock);
    const [first, second] = [connect(), connect()];
    monitor.drop(first.session);
    machine.stop();
    expect([first.lines.length, second.lines.length]).toEqual([0, 1]);
    monitor.close();
    expect(machine.listenerCount).toBe(0);
    machine.cont();
    expect(second.lines).toHaveLength(1);
  });
});
