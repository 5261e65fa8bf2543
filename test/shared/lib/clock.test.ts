import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createActor, createMachine } from 'xstate';
import { VirtualClock } from '../../../shared/lib/clock.ts';

describe('virtual time', () => {
  it('stands still until it is told to move', () => {
    const clock = new VirtualClock(1_000);
    expect(clock.now()).toBe(0);
    clock.advanceBy(2.5);
    clock.advanceBy(2.5);
    expect(clock.now()).toBe(5);
    expect(clock.wallMs()).toBe(1_005);
  });

  it('does not go back', () => {
    const clock = new VirtualClock();
    clock.advanceTo(10);
    clock.advanceTo(4);
    expect(clock.now()).toBe(10);
  });

  it('runs alarms in order of due time, then of creation', () => {
    const delays = fc.array(fc.nat(20), { maxLength: 60, size: 'max' });
    fc.assert(
      fc.property(delays, (delayMs) => {
        const clock = new VirtualClock();
        const ran: { due: number; made: number }[] = [];
        delayMs.forEach((due, made) => {
          clock.setTimeout(() => {
            expect(clock.now()).toBe(due);
            ran.push({ due, made });
          }, due);
        });
        clock.advanceTo(100);
        const expected = delayMs.map((due, made) => ({ due, made }));
        expected.sort((a, b) => a.due - b.due || a.made - b.made);
        expect(ran).toEqual(expected);
      }),
    );
  });

  it('runs what is due at the time it stops at, and not what is due later', () => {
    const clock = new VirtualClock();
    const ran: number[] = [];
    for (const due of [9, 10, 11]) clock.setTimeout(() => ran.push(due), due);
    clock.advanceTo(10);
    expect(ran).toEqual([9, 10]);
    expect(clock.nextDueMs()).toBe(11);
  });

  it('runs an alarm that an alarm sets, when it is due in the same call', () => {
    const clock = new VirtualClock();
    const ran: number[] = [];
    const again = (): void => {
      ran.push(clock.now());
      clock.setTimeout(again, 4);
    };
    clock.setTimeout(again, 4);
    clock.advanceTo(13);
    expect(ran).toEqual([4, 8, 12]);
    expect(clock.now()).toBe(13);
  });

  it('takes a negative delay for none', () => {
    const clock = new VirtualClock();
    clock.advanceTo(5);
    clock.setTimeout(() => {}, -3);
    expect(clock.nextDueMs()).toBe(5);
  });

  it('never runs a cancelled alarm, whichever of them is cancelled', () => {
    const alarms = fc.array(fc.tuple(fc.nat(10), fc.boolean()), { maxLength: 40, size: 'max' });
    fc.assert(
      fc.property(alarms, (wanted) => {
        const clock = new VirtualClock();
        const ran: number[] = [];
        const handles = wanted.map(([due], index) => clock.setTimeout(() => ran.push(index), due));
        wanted.forEach(([, kept], index) => {
          if (!kept) clock.clearTimeout(handles[index]);
        });
        const kept = wanted.map(([due, keep], index) => ({ due, keep, index }));
        const left = kept
          .filter(({ keep }) => keep)
          .sort((a, b) => a.due - b.due || a.index - b.index);
        expect(clock.nextDueMs()).toBe(left[0]?.due);
        clock.advanceTo(20);
        expect(ran).toEqual(left.map(({ index }) => index));
      }),
    );
  });

  it('lets one alarm cancel another that is due at the same time', () => {
    const clock = new VirtualClock();
    const ran: string[] = [];
    clock.setTimeout(() => {
      ran.push('first');
      clock.clearTimeout(second);
    }, 1);
    const second = clock.setTimeout(() => ran.push('second'), 1);
    clock.advanceTo(2);
    expect(ran).toEqual(['first']);
  });

  it('ignores a handle that ran already or is undefined', () => {
    const clock = new VirtualClock();
    let runs = 0;
    const handle = clock.setTimeout(() => runs++, 1);
    clock.advanceTo(1);
    clock.clearTimeout(handle);
    clock.clearTimeout(undefined);
    clock.setTimeout(() => runs++, 1);
    clock.advanceTo(2);
    expect(runs).toBe(2);
    expect(clock.nextDueMs()).toBeUndefined();
  });

  it('drives the delays of an xstate actor', () => {
    const clock = new VirtualClock();
    const machine = createMachine({
      initial: 'asleep',
      states: { asleep: { after: { 200: 'awake' } }, awake: {} },
    });
    const actor = createActor(machine, { clock: clock as never }).start();
    clock.advanceTo(199);
    expect(actor.getSnapshot().value).toBe('asleep');
    clock.advanceTo(200);
    expect(actor.getSnapshot().value).toBe('awake');
  });
});
