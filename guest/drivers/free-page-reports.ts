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
  readonly #returned = new WaitQueue('balloon: end of a report');
  #queue: Virtqueue | undefined;
  #isRegistered = false;
  /** Blocks of the report that the host has now. */
  #lent: readonly LentBlock[] = [];

  constructor(scheduler: Scheduler, reporting: PageReporting) {
    this.#scheduler = scheduler;
    this.#reporting = reporting;
  }

  /** A probe: the ring has to hold a batch, and one device of a guest can report, the first. */
  register(queue: Virtqueue): 'registered' | 'ENOSPC' | 'EBUSY' {
    if (queue.size < PAGE_REPORTING_CAPACITY) return 'ENOSPC';
    this.attach(queue);
    this.#isRegistered = this.#reporting.register(this);
    return this.#isRegistered ? 'registered' : 'EBUSY';
  }

  /** Is the frame in a block of the report that the host has now? */
  hasLent(pfn: number): boolean {
    return this.#lent.some((block) => pfn >= block.pfn && pfn < block.pfn + (1 << block.order));
  }

  /** The queue of a restored device; what could not be reported meanwhile is reported now. */
  restore(queue: Virtqueue): void {
    this.attach(queue);
    if (this.#isRegistered) this.#reporting.notify();
  }

  /** The queue of a new host's device. */
  attach(queue: Virtqueue): void {
    this.#queue = queue;
    queue.onUsed = () => this.#scheduler.wake(this.#acked);
  }

  /** The device is about to be reset: what is reported from now on fails. */
  detach(): void {
    this.#queue = undefined;
  }

  /**
   * The same before a suspend, and waits for the report that the host has now: Linux leaves it to
   * a queue that is gone.
   */
  *suspend(): Waiting {
    this.detach();
    while (this.#lent.length > 0) yield this.#returned;
  }

  /** Nothing is reported any more and no block is lent when it ends. */
  *unregister(): Waiting {
    yield* this.#reporting.unregister(this);
    this.#isRegistered = false;
  }

  *report(blocks: readonly LentBlock[]): Waiting<boolean> {
    const queue = this.#queue;
    const ranges = blocks.map(({ pfn, order }) => {
      return { address: pfn * PAGE_SIZE, lengthBytes: PAGE_SIZE << order };
    });
    if (queue === undefined || !queue.addInbuf(writeWritable(ranges))) return false;
    this.#lent = blocks;
    while (!queue.getBuf()) yield this.#acked;
    this.#lent = [];
    this.#scheduler.wake(this.#returned);
    return true;
  }
}
