import { type StateValueFrom, setup } from 'xstate';
import { compileLifecycle } from '../../shared/lifecycle/compile.ts';
import { HZ, timerWaitMs } from './jiffies.ts';
import type { Scheduler, Waiting } from './scheduler.ts';
import type { WorkItem, Workqueue } from './workqueue.ts';

/** The timer of a delayed work; what comes after it is the work item's own life. */
const timerMachine = setup({}).createMachine({
  id: 'delayed work',
  initial: 'idle',
  states: {
    idle: { on: { arm: 'armed', cancel: 'idle' } },
    armed: { on: { expire: 'idle', cancel: 'idle' } },
  },
});
const STATE = {
  idle: 0,
  armed: 1,
} as const satisfies Record<StateValueFrom<typeof timerMachine>, number>;
const EVENT = { arm: 0, expire: 1, cancel: 2 } as const;
export const delayedWorkLifecycle = {
  machine: timerMachine,
  table: compileLifecycle(timerMachine, { states: STATE, events: EVENT }),
};

/**
 * struct delayed_work: a work item that is queued when a timer of the kernel's wheel expires. The
 * timer runs on the guest's clock and stands still with it.
 */
export class DelayedWork {
  readonly #scheduler: Scheduler;
  readonly #workqueue: Workqueue;
  readonly #work: WorkItem;
  #state: number = STATE.idle;
  #timer: unknown;

  constructor(scheduler: Scheduler, workqueue: Workqueue, work: WorkItem) {
    this.#scheduler = scheduler;
    this.#workqueue = workqueue;
    this.#work = work;
  }

  /** The timer runs, or the work waits to be run. */
  get pending(): boolean {
    return this.#state === STATE.armed || this.#work.pending;
  }

  /** queue_delayed_work: false when it was pending already. */
  schedule(delaySeconds: number): boolean {
    if (this.pending) return false;
    this.#move(EVENT.arm);
    const waitMs = timerWaitMs(this.#scheduler.clock.now(), delaySeconds * HZ);
    this.#timer = this.#scheduler.clock.setTimeout(() => {
      this.#move(EVENT.expire);
      this.#workqueue.queue(this.#work);
      this.#scheduler.run();
    }, waitMs);
    return true;
  }

  /** cancel_delayed_work_sync: neither timer nor work is left; what runs is waited for. */
  *cancelSync(): Waiting {
    this.#scheduler.clock.clearTimeout(this.#timer);
    this.#move(EVENT.cancel);
    yield* this.#workqueue.cancelSync(this.#work);
    // What ran may have armed the timer once more.
    this.#scheduler.clock.clearTimeout(this.#timer);
    this.#move(EVENT.cancel);
  }

  #move(event: number): void {
    this.#state = delayedWorkLifecycle.table.step(this.#state, event);
  }
}
