import { type StateValueFrom, setup } from 'xstate';
import { compileLifecycle } from '../../shared/lifecycle/compile.ts';
import { type Scheduler, type Waiting, WaitQueue } from './scheduler.ts';

/**
 * Work items as Linux' concurrency-managed workqueues run them: an item runs in a task of its own,
 * one at a time, in the order of queueing; while one waits the next may run; an item that runs can
 * be queued once more. A freezable queue starts nothing while it is frozen.
 *
 * Not emulated: worker pools, max_active, CPU affinity, WQ_MEM_RECLAIM rescuers.
 */
const workMachine = setup({}).createMachine({
  id: 'work item',
  initial: 'idle',
  states: {
    idle: { on: { queue: 'pending' } },
    pending: { on: { start: 'running', cancel: 'idle' } },
    running: { on: { queue: 'runningPending', finish: 'idle', cancel: 'cancelling' } },
    runningPending: { on: { finish: 'pending', cancel: 'cancelling' } },
    // While a cancel waits for it, an item cannot be queued again, not even by itself.
    cancelling: { on: { finish: 'idle', cancel: 'cancelling' } },
  },
});
const STATE = {
  idle: 0,
  pending: 1,
  running: 2,
  runningPending: 3,
  cancelling: 4,
} as const satisfies Record<StateValueFrom<typeof workMachine>, number>;
const EVENT = { queue: 0, start: 1, finish: 2, cancel: 3 } as const;
export const workLifecycle = {
  machine: workMachine,
  table: compileLifecycle(workMachine, { states: STATE, events: EVENT }),
};

export class WorkItem {
  readonly name: string;
  /** What never waits returns nothing. */
  readonly body: () => Waiting | undefined;
  readonly finished: WaitQueue;
  state: number = STATE.idle;

  constructor(name: string, body: () => Waiting | undefined) {
    this.name = name;
    this.body = body;
    this.finished = new WaitQueue(`${name} finishes`);
  }

  get running(): boolean {
    return this.state >= STATE.running;
  }

  get pending(): boolean {
    return this.state === STATE.pending || this.state === STATE.runningPending;
  }
}

export class Workqueue {
  readonly #scheduler: Scheduler;
  readonly #thawed = new WaitQueue('frozen workqueue');
  readonly #running = new Set<WorkItem>();
  #frozen = false;

  constructor(scheduler: Scheduler) {
    this.#scheduler = scheduler;
  }

  /** queue_work: false when the item was pending already. */
  queue(work: WorkItem): boolean {
    if (!workLifecycle.table.can(work.state, EVENT.queue)) return false;
    this.#move(work, EVENT.queue);
    if (work.state === STATE.pending) this.#scheduler.spawn(work.name, this.#run(work));
    return true;
  }

  /** cancel_work_sync: what is pending will not run, what runs is waited for. */
  *cancelSync(work: WorkItem): Waiting {
    if (workLifecycle.table.can(work.state, EVENT.cancel)) this.#move(work, EVENT.cancel);
    while (work.running) yield work.finished;
  }

  /** Starts nothing more and waits for what runs, as the freezer does with freezable queues. */
  *freeze(): Waiting {
    this.#frozen = true;
    for (const work of this.#running) {
      while (work.running) yield work.finished;
    }
  }

  thaw(): void {
    this.#frozen = false;
    this.#scheduler.wake(this.#thawed);
  }

  *#run(work: WorkItem): Waiting {
    while (this.#frozen) yield this.#thawed;
    if (work.state !== STATE.pending) return;
    this.#move(work, EVENT.start);
    this.#running.add(work);
    try {
      const waiting = work.body();
      if (waiting !== undefined) yield* waiting;
    } finally {
      this.#running.delete(work);
      this.#move(work, EVENT.finish);
      this.#scheduler.wake(work.finished);
    }
    if (work.state === STATE.pending) this.#scheduler.spawn(work.name, this.#run(work));
  }

  #move(work: WorkItem, event: number): void {
    work.state = workLifecycle.table.step(work.state, event);
  }
}
