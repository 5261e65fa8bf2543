import { setup } from 'xstate';
import { compileLifecycle } from '../../../shared/lifecycle/compile.ts';
import { type Flow, runFlow } from '../../sched/flow.ts';
import { type Scheduler, type Waiting, WaitQueue } from '../../sched/scheduler.ts';

/**
 * What a request takes: no recording has a swap device, so these are round numbers of an SSD
 * behind virtio-blk: a tenth of a millisecond until the first page, and 400 MB a second.
 */
const REQUEST_MS = 0.1;
const PAGE_MS = 0.01;

/** Pages in flight before a writer waits for room: a queue of virtio-blk. */
const QUEUE_PAGES = 256;

/** A batch of pages on its way to a device; page by page it is what PG_writeback stands for. */
const writebackMachine = setup({}).createMachine({
  id: 'page_writeback',
  initial: 'submitted',
  states: {
    submitted: { on: { transfer: 'written' } },
    written: { on: { end: 'ended' } },
    ended: { type: 'final' },
  },
});
const WRITEBACK_EVENT = { transfer: 0, end: 1 } as const;

export const writebackLifecycle = {
  machine: writebackMachine,
  table: compileLifecycle(writebackMachine, {
    states: { submitted: 0, written: 1, ended: 2 },
    events: WRITEBACK_EVENT,
  }),
};

interface Batch {
  readonly device: SwapDevice;
  readonly pfns: readonly number[];
  readonly onEnd: (pfn: number) => void;
}

const WRITEBACK: Flow<Batch> = {
  table: writebackLifecycle.table,
  stages: [
    function* ({ device, pfns }) {
      yield* device.transfer(pfns.length);
      return WRITEBACK_EVENT.transfer;
    },
    ({ device, pfns, onEnd }) => {
      for (const pfn of pfns) onEnd(pfn);
      device.endWrite(pfns.length);
      return WRITEBACK_EVENT.end;
    },
    undefined,
  ],
};

/**
 * The block device behind swap, in time alone: one request after the other. What is written is
 * kept with the slots (swap-slots.ts).
 *
 * Not emulated: I/O errors, merging and sorting of requests, plugging beyond one batch.
 */
export class SwapDevice {
  readonly #scheduler: Scheduler;
  readonly #room = new WaitQueue('swap device');
  #busyUntilMs = 0;
  #writingPages = 0;

  constructor(scheduler: Scheduler) {
    this.#scheduler = scheduler;
  }

  /** Pages that are being written. */
  get writingPages(): number {
    return this.#writingPages;
  }

  /** Waits until a request for so many pages has been served. */
  *transfer(pages: number): Waiting {
    const now = this.#scheduler.clock.now();
    this.#busyUntilMs = Math.max(now, this.#busyUntilMs) + REQUEST_MS + pages * PAGE_MS;
    yield this.#busyUntilMs - now;
  }

  /** Starts to write pages; `onEnd` is called for each when it is done. Does not wait. */
  write(pfns: readonly number[], onEnd: (pfn: number) => void): void {
    this.#writingPages += pfns.length;
    this.#scheduler.spawn('swap write', this.#writeBack({ device: this, pfns, onEnd }));
  }

  /** Whoever writes more than the queue holds waits for the device (blk_mq_get_tag). */
  *untilRoom(): Waiting {
    while (this.#writingPages >= QUEUE_PAGES) yield this.#room;
  }

  endWrite(pages: number): void {
    this.#writingPages -= pages;
    this.#scheduler.wake(this.#room);
  }

  *#writeBack(batch: Batch): Waiting {
    yield* runFlow(WRITEBACK, batch);
  }
}
