import { describe, expect, it } from 'vitest';
import { DelayedWork, delayedWorkLifecycle } from '../../../guest/sched/delayed-work.ts';
import { Scheduler, type Waiting, WaitQueue } from '../../../guest/sched/scheduler.ts';
import { WorkItem, Workqueue } from '../../../guest/sched/workqueue.ts';
import { VirtualClock } from '../../../shared/lib/clock.ts';
import { PausableClock } from '../../../shared/lib/pausable-clock.ts';
import { expectTableEqualsMachine } from '../../support/lifecycle-equivalence.ts';

function setUp() {
  const base = new VirtualClock();
  const clock = new PausableClock(base);
  const scheduler = new Scheduler(clock);
  const queue = new Workqueue(scheduler);
  const gate = new WaitQueue('gate');
  const said: string[] = [];
  const work = new WorkItem('work', function* (): Waiting {
    said.push(`start ${clock.now()}`);
    yield gate;
    said.push('end');
  });
  const open = () => {
    scheduler.wake(gate);
    scheduler.run();
  };
  const cancel = () => {
    scheduler.spawn(
      'cancel',
      (function* () {
        yield* delayed.cancelSync();
        said.push('cancelled');
      })(),
    );
    scheduler.run();
  };
  const delayed = new DelayedWork(scheduler, queue, work);
  return { base, clock, delayed, said, open, cancel };
}

describe('a delayed work', () => {
  it('has a timer whose table equals its state machine', () => {
    expectTableEqualsMachine(delayedWorkLifecycle.machine, delayedWorkLifecycle.table);
  });

  it('runs when its timer expires, on a tick', () => {
    const { base, delayed, said } = setUp();
    expect(delayed.schedule(2)).toBe(true);
    base.advanceTo(2000);
    expect(said).toEqual([]);
    base.advanceTo(2032);
    expect(said).toEqual(['start 2016']);
  });

  it('is scheduled once as long as it has not begun', () => {
    const { base, delayed, said } = setUp();
    delayed.schedule(2);
    base.advanceTo(1000);
    expect(delayed.schedule(2)).toBe(false);
    expect(delayed.pending).toBe(true);
    base.advanceTo(2500);
    expect(said).toHaveLength(1);
    expect(delayed.pending).toBe(false);
  });

  it('can be scheduled again while it runs, and does not run twice at once', () => {
    const { base, delayed, said, open } = setUp();
    delayed.schedule(2);
    base.advanceTo(2500);
    expect(delayed.schedule(2)).toBe(true);
    base.advanceTo(10_000);
    expect(said).toHaveLength(1);
    open();
    expect(said).toEqual(['start 2016', 'end', 'start 10000']);
  });

  it('waits while the guest is paused', () => {
    const { base, clock, delayed, said } = setUp();
    delayed.schedule(2);
    base.advanceTo(1000);
    clock.pause();
    base.advanceTo(100_000);
    clock.resume();
    base.advanceTo(100_900);
    expect(said).toEqual([]);
    base.advanceTo(101_100);
    expect(said).toHaveLength(1);
  });

  it('that is cancelled before its time does not run', () => {
    const { base, delayed, said, cancel } = setUp();
    delayed.schedule(2);
    cancel();
    base.advanceTo(10_000);
    expect(said).toEqual(['cancelled']);
  });

  it('that is cancelled while it runs ends first, and a timer it armed is gone', () => {
    const { base, delayed, said, open, cancel } = setUp();
    delayed.schedule(2);
    base.advanceTo(2500);
    delayed.schedule(2);
    cancel();
    expect(said).toHaveLength(1);
    open();
    base.advanceTo(100_000);
    expect(said).toEqual(['start 2016', 'end', 'cancelled']);
    expect(delayed.pending).toBe(false);
  });
});
