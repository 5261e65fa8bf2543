import { PAGE_SIZE } from '../../shared/lib/units.ts';
import { writeWritable } from '../../shared/protocol/bodies.ts';
import {
  type LentBlock,
  PAGE_REPORTING_CAPACITY,
  type PageReporting,
  type ReportingDevice,
} from '../mm/page/reporting.ts';
import { type Scheduler, type Waiting, WaitQueue } from '../sched/scheduler.ts';
import type { Virtqueue } from './virtqueue.ts';

/**
 * The driver's side of free page reporting (virtballoon_free_page_report): one buffer of
 * device-writable ranges a batch, waited for.
 */
export class FreePageReports implements ReportingDevice {
  readonly #scheduler: Scheduler;
  readonly #reporting: PageReporting;
  readonly #acked = new WaitQueue('balloon: acknowledgement of a report');
  #queue: Virtqueue | undefined;

  constructor(scheduler: Scheduler, reporting: PageReporting) {
    this.#scheduler = scheduler;
    this.#reporting = reporting;
  }

  /** A probe. False when the ring is too small for a batch (ENOSPC), or another device reports. */
  register(queue: Virtqueue): boolean {
    if (queue.size < PAGE_REPORTING_CAPACITY) return false;
    this.attach(queue);
    return this.#reporting.register(this);
  }

  /** The queue of a restored device, or of a new host's. */
  attach(queue: Virtqueue): void {
    this.#queue = queue;
    queue.onUsed = () => this.#scheduler.wake(this.#acked);
  }

  /** The device is about to be reset: what is reported from now on fails. */
  detach(): void {
    this.#queue = undefined;
  }

  /** Nothing is reported any more and no block is lent when it ends. */
  *unregister(): Waiting {
    yield* this.#reporting.unregister(this);
  }

  *report(blocks: readonly LentBlock[]): Waiting<boolean> {
    const queue = this.#queue;
    const ranges = blocks.map(({ pfn, order }) => {
      return { address: pfn * PAGE_SIZE, lengthBytes: PAGE_SIZE << order };
    });
    if (queue === undefined || !queue.addInbuf(writeWritable(ranges))) return false;
    while (!queue.getBuf()) yield this.#acked;
    return true;
  }
}
