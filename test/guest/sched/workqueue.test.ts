import { describe, expect, it } from 'vitest';
import { Scheduler, type Waiting, WaitQueue } from '../../../guest/sched/scheduler.ts';
import { WorkItem, Workqueue, workLifecycle } from '../../../guest/sched/workqueue.ts';
import { VirtualClock } from '../../../shared/lib/clock.ts';
import { PausableClock } from '../../../shared/lib/pausable-clock.ts';
import { expectTableEqualsMachine } from '../../support/lifecycle-equivalence.ts';

function setUp() {
  const base = new VirtualClock();
  const scheduler = new Scheduler(new PausableClock(base));
  const gate = new WaitQueue('gate');
  const said: string[] = [];
  const work = new WorkItem('work', function* (): Waiting {
    said.push('start');
    yield gate;
    said.push('end');
  });
  const open = () => {
    scheduler.wake(gate);
    scheduler.run();
  };
  return { base, scheduler, queue: new Workqueue(scheduler), work, said, open };
}

const run = (scheduler: Scheduler, body: Waiting): void => {
  scheduler.spawn('test', body);
  scheduler.run();
};

describe('a work item', () => {
  it('has a table equal to its state machine', () => {
    expectTableEqualsMachine(workLifecycle.machine, workLifecycle.table);
  });

  it('that is pending is not queued twice', () => {
    const { scheduler, queue, work, said } = setUp();
    expect(queue.queue(work)).toBe(true);
    expect(queue.queue(work)).toBe(false);
    scheduler.run();
    expect(said).toEqual(['start']);
  });

  it('that runs can be queued once more and then runs again, never twice at once', () => {
    const { scheduler, queue, work, said, open } = setUp();
    queue.queue(work);
    scheduler.run();
    expect(queue.queue(work)).toBe(true);
    expect(queue.queue(work)).toBe(false);
    scheduler.run();
    expect(said).toEqual(['start']);
    open();
    expect(said).toEqual(['start', 'end', 'start']);
  });

  it('that waits does not keep the next one from running', () => {
    const { scheduler, queue, work, said } = setUp();
    const other = new WorkItem('other', () => {
      said.push('other');
      return undefined;
    });
    queue.queue(work);
    queue.queue(other);
    scheduler.run();
    expect(said).toEqual(['start', 'other']);
  });

  it('cancelled while pending never runs; cancelled while running is waited for', () => {
    const { scheduler, queue, work, said, open } = setUp();
    queue.queue(work);
    run(scheduler, queue.cancelSync(work));
    expect(work.running || said.includes('end')).toBe(true);
    queue.queue(work);
    let cancelled = false;
    run(
      scheduler,
      (function* (): Waiting {
        yield* queue.cancelSync(work);
        cancelled = true;
      })(),
    );
    expect(cancelled).toBe(false);
    open();
    expect(cancelled).toBe(true);
    expect(said).toEqual(['start', 'end']);
  });

  it('cannot queue itself again while a cancel waits for it', () => {
    const { scheduler, queue, said } = setUp();
    const gate = new WaitQueue('gate');
    const greedy: WorkItem = new WorkItem('greedy', function* (): Waiting {
      said.push('run');
      yield gate;
      queue.queue(greedy);
    });
    queue.queue(greedy);
    scheduler.run();
    let cancelled = false;
    run(
      scheduler,
      (function* (): Waiting {
        yield* queue.cancelSync(greedy);
        cancelled = true;
      })(),
    );
    scheduler.wake(gate);
    scheduler.run();
    expect(cancelled).toBe(true);
    expect(said).toEqual(['run']);
    expect(queue.queue(greedy)).toBe(true);
  });

  it('is not started by a frozen queue, and freezing waits for what runs', () => {
    const { scheduler, queue, work, said, open } = setUp();
    queue.queue(work);
    scheduler.run();
    let frozen = false;
    run(
      scheduler,
      (function* (): Waiting {
        yield* queue.freeze();
        frozen = true;
      })(),
    );
    queue.queue(work);
    expect(frozen).toBe(false);
    open();
    expect(frozen).toBe(true);
    expect(said).toEqual(['start', 'end']);
    queue.thaw();
    scheduler.run();
    expect(said).toEqual(['start', 'end', 'start']);
  });
});
