import { assert } from '../../shared/lib/assert.ts';
import type { PausableClock } from '../../shared/lib/pausable-clock.ts';
import { GUEST_STEPS_PER_SLICE } from '../../shared/limits.ts';

/**
 * Tasks on one CPU. A task is a generator that runs until it yields at a named place; what never
 * waits is a plain function. Ready tasks run first come, first served, so a run is a function of
 * its inputs.
 *
 * Not emulated: preemption, priorities, more than one CPU. Interrupt handlers are plain functions
 * called between two steps of tasks; they wake tasks and queue work.
 */

/** Where a task waits. Woken in the order of arrival. */
export class WaitQueue {
  readonly name: string;
  readonly waiters: Task[] = [];

  constructor(name: string) {
    this.name = name;
  }

  /** waitqueue_active: is there somebody to wake? */
  get isActive(): boolean {
    return this.waiters.length > 0;
  }
}

/** What a task yields: a queue to wait on, or milliseconds to sleep (0 lets others run). */
export type Wait = WaitQueue | number;

/** The body of something that may wait. Use `yield*` to call one from another. */
export type Waiting<Result = void> = Generator<Wait, Result, void>;

export interface Task {
  readonly name: string;
  readonly body: Waiting;
  /** Wait queue or sleep it stands at, for dumps; undefined while ready or running. */
  waitingAt: string | undefined;
  readonly onEnd: WaitQueue;
  ended: boolean;
}

export class Scheduler {
  /** Stands still while the guest is paused; nothing runs then. */
  readonly clock: PausableClock;
  readonly #ready: Task[] = [];
  readonly #tasks = new Set<Task>();
  readonly #stepsPerSlice: number;
  /** The slice that goes on later, when one could not finish. */
  #continuation: unknown;
  #running = false;

  constructor(clock: PausableClock, stepsPerSlice = GUEST_STEPS_PER_SLICE) {
    this.clock = clock;
    this.#stepsPerSlice = stepsPerSlice;
  }

  /** Makes a task ready; it runs in the next slice. */
  spawn(name: string, body: Waiting): Task {
    const onEnd = new WaitQueue(`${name} ends`);
    const task: Task = { name, body, waitingAt: undefined, onEnd, ended: false };
    this.#tasks.add(task);
    this.#makeReady(task);
    return task;
  }

  /** Wakes every task that waits on the queue, as wake_up does for non-exclusive waiters. */
  wake(queue: WaitQueue): void {
    // Most wake-ups find nobody, and to shorten an array takes V8 a tenth of a microsecond.
    if (!queue.isActive) return;
    for (const task of queue.waiters) this.#makeReady(task);
    queue.waiters.length = 0;
  }

  /** An interrupt: calls its handler between two steps of tasks, then runs what that made ready. */
  interrupt(handler: () => void): void {
    const interrupted = this.#running;
    this.#running = true;
    try {
      handler();
    } catch (error) {
      this.#running = interrupted;
      this.#continueLater();
      throw error;
    }
    this.#running = interrupted;
    this.run();
  }

  /** Runs ready tasks, up to a slice's worth of steps; the rest goes on in a later turn. */
  run(): void {
    if (this.#running) return;
    if (this.clock.paused) {
      this.#continueLater();
      return;
    }
    this.#running = true;
    try {
      for (let steps = 0; this.#ready.length > 0; steps++) {
        if (steps === this.#stepsPerSlice) return;
        this.#step(this.#ready.shift() as Task);
      }
    } finally {
      this.#running = false;
      this.#continueLater();
    }
  }

  /** Tasks that have not ended, with where they stand, for dumps and for `settled` checks. */
  *tasks(): Generator<{ name: string; at: string }> {
    for (const task of this.#tasks) yield { name: task.name, at: task.waitingAt ?? 'ready' };
  }

  get idle(): boolean {
    return this.#ready.length === 0 && !this.#running;
  }

  #step(task: Task): void {
    task.waitingAt = undefined;
    const { done, value } = task.body.next();
    if (done) {
      task.ended = true;
      this.#tasks.delete(task);
      this.wake(task.onEnd);
      return;
    }
    if (typeof value === 'number') {
      // Who only lets others run stays ready.
      if (value > 0) task.waitingAt = `sleep ${value} ms`;
      this.clock.setTimeout(() => this.interrupt(() => this.#makeReady(task)), value);
      return;
    }
    const queue = value as WaitQueue;
    task.waitingAt = queue.name;
    queue.waiters.push(task);
  }

  #makeReady(task: Task): void {
    assert(!task.ended, 'only a task that has not ended becomes ready');
    this.#ready.push(task);
    this.#continueLater();
  }

  #continueLater(): void {
    if (this.#running || this.#ready.length === 0 || this.#continuation !== undefined) return;
    this.#continuation = this.clock.setTimeout(() => {
      this.#continuation = undefined;
      this.run();
    }, 0);
  }
}

/** Waits until the task has ended. */
export function* join(task: Task): Waiting {
  while (!task.ended) yield task.onEnd;
}
