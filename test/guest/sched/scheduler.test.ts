import { describe, expect, it } from 'vitest';
import { Mutex } from '../../../guest/sched/mutex.ts';
import { join, Scheduler, type Waiting, WaitQueue } from '../../../guest/sched/scheduler.ts';
import { VirtualClock } from '../../../shared/lib/clock.ts';
import { PausableClock } from '../../../shared/lib/pausable-clock.ts';

function setUp(stepsPerSlice?: number) {
  const base = new VirtualClock();
  const clock = new PausableClock(base);
  return { base, clock, scheduler: new Scheduler(clock, stepsPerSlice), said: [] as string[] };
}

describe('tasks on one CPU', () => {
  it('run first come, first served until each waits', () => {
    const { scheduler, said } = setUp();
    const body = function* (name: string): Waiting {
      said.push(`${name}1`);
      yield 0;
      said.push(`${name}2`);
    };
    scheduler.spawn('a', body('a'));
    scheduler.spawn('b', body('b'));
    scheduler.run();
    expect(said).toEqual(['a1', 'b1']);
  });

  it('sleep on the given clock and nowhere else', () => {
    const { base, scheduler, said } = setUp();
    scheduler.spawn(
      'sleeper',
      (function* (): Waiting {
        yield 200;
        said.push('awake');
      })(),
    );
    base.advanceTo(199);
    expect(said).toEqual([]);
    base.advanceTo(200);
    expect(said).toEqual(['awake']);
  });

  it('are ready when they only let others run, and wait when they sleep', () => {
    const { scheduler } = setUp();
    for (const ms of [0, 1]) {
      scheduler.spawn(
        `yields ${ms}`,
        (function* (): Waiting {
          yield ms;
        })(),
      );
    }
    scheduler.run();
    expect([...scheduler.tasks()].map((task) => task.at)).toEqual(['ready', 'sleep 1 ms']);
  });

  it('wake in the order in which they began to wait', () => {
    const { scheduler, said } = setUp();
    const queue = new WaitQueue('door');
    for (const name of ['a', 'b', 'c']) {
      scheduler.spawn(
        name,
        (function* (): Waiting {
          yield queue;
          said.push(name);
        })(),
      );
    }
    scheduler.run();
    expect([...scheduler.tasks()].map((task) => task.at)).toEqual(['door', 'door', 'door']);
    scheduler.wake(queue);
    scheduler.run();
    expect(said).toEqual(['a', 'b', 'c']);
  });

  it('run no step while the clock is paused, and go on with the time that was left', () => {
    const { base, clock, scheduler, said } = setUp();
    scheduler.spawn(
      'sleeper',
      (function* (): Waiting {
        yield 100;
        said.push('awake');
      })(),
    );
    base.advanceTo(60);
    clock.pause();
    base.advanceTo(1000);
    scheduler.run();
    expect(said).toEqual([]);
    clock.resume();
    base.advanceTo(1039);
    expect(said).toEqual([]);
    base.advanceTo(1040);
    expect(said).toEqual(['awake']);
  });

  it('give way after a slice, so that a busy guest starves nobody', () => {
    const { base, scheduler, said } = setUp(10);
    const ping = new WaitQueue('ping');
    const pong = new WaitQueue('pong');
    const player = function* (mine: WaitQueue, other: WaitQueue): Waiting {
      for (let turn = 0; turn < 50; turn++) {
        scheduler.wake(other);
        yield mine;
      }
      scheduler.wake(other);
      said.push(mine.name);
    };
    scheduler.spawn('ping', player(ping, pong));
    scheduler.spawn('pong', player(pong, ping));
    scheduler.run();
    expect(said).toEqual([]);
    base.advanceBy(0);
    expect(said).toEqual(['ping', 'pong']);
  });

  it('are joined by others', () => {
    const { base, scheduler, said } = setUp();
    const task = scheduler.spawn(
      'worker',
      (function* (): Waiting {
        yield 5;
        said.push('worker');
      })(),
    );
    scheduler.spawn(
      'joiner',
      (function* (): Waiting {
        yield* join(task);
        said.push('joiner');
      })(),
    );
    base.advanceTo(5);
    expect(said).toEqual(['worker', 'joiner']);
  });
});

describe('a mutex', () => {
  it('is held by one task at a time, in the order of asking', () => {
    const { base, scheduler, said } = setUp();
    const mutex = new Mutex(scheduler, 'lock');
    for (const name of ['a', 'b']) {
      scheduler.spawn(
        name,
        (function* (): Waiting {
          yield* mutex.lock();
          said.push(`${name} in`);
          yield 10;
          said.push(`${name} out`);
          mutex.unlock();
        })(),
      );
    }
    scheduler.run();
    expect(mutex.tryLock()).toBe(false);
    base.advanceTo(20);
    expect(said).toEqual(['a in', 'a out', 'b in', 'b out']);
    expect(mutex.tryLock()).toBe(true);
  });
});

describe('an interrupt', () => {
  const waiter = function* (queue: WaitQueue, said: string[]): Waiting {
    yield queue;
    said.push('woken');
  };

  it('runs what it made ready before it returns, and leaves no timer behind', () => {
    const { base, scheduler, said } = setUp();
    const queue = new WaitQueue('door');
    scheduler.spawn('waiter', waiter(queue, said));
    scheduler.run();
    base.advanceBy(1);
    scheduler.interrupt(() => {
      scheduler.wake(queue);
      said.push('handled');
    });
    expect(said).toEqual(['handled', 'woken']);
    expect(base.nextDueMs()).toBeUndefined();
  });

  it('leaves what it made ready to a later turn when its handler throws', () => {
    const { base, scheduler, said } = setUp();
    const queue = new WaitQueue('door');
    scheduler.spawn('waiter', waiter(queue, said));
    scheduler.run();
    const broken = () =>
      scheduler.interrupt(() => {
        scheduler.wake(queue);
        throw new Error('broken');
      });
    expect(broken).toThrow('broken');
    expect(said).toEqual([]);
    base.advanceBy(1);
    expect(said).toEqual(['woken']);
  });

  it('of a paused guest makes tasks ready that run once it goes on', () => {
    const { base, clock, scheduler, said } = setUp();
    const queue = new WaitQueue('door');
    scheduler.spawn('waiter', waiter(queue, said));
    scheduler.run();
    clock.pause();
    scheduler.interrupt(() => scheduler.wake(queue));
    base.advanceBy(1000);
    expect(said).toEqual([]);
    clock.resume();
    base.advanceBy(1);
    expect(said).toEqual(['woken']);
  });

  it('between the steps of a task waits for its turn to run others', () => {
    const { scheduler, said } = setUp();
    const queue = new WaitQueue('door');
    scheduler.spawn('waiter', waiter(queue, said));
    const interrupted = function* (): Waiting {
      scheduler.interrupt(() => scheduler.wake(queue));
      said.push('interrupted');
    };
    scheduler.spawn('interrupted', interrupted());
    scheduler.run();
    expect(said).toEqual(['interrupted', 'woken']);
  });
});
