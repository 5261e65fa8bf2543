import { type StateValueFrom, setup } from 'xstate';
import { fail } from '../../../shared/lib/assert.ts';
import { compileLifecycle } from '../../../shared/lifecycle/compile.ts';
import { DelayedWork } from '../../sched/delayed-work.ts';
import type { Scheduler, Waiting } from '../../sched/scheduler.ts';
import { WorkItem, type Workqueue } from '../../sched/workqueue.ts';
import { MIGRATETYPE, MIGRATETYPES } from './gfp.ts';
import { isolateFreePage, keepsFree, putbackIsolatedPage } from './isolate-free.ts';
import { isListEmpty, listNext, listRotateToFront } from './page-list.ts';
import { MAX_ORDER, PAGEBLOCK_ORDER } from './page-map.ts';
import type { FreeNotifier, Zone } from './zone.ts';

/**
 * Free page reporting as mm/page_reporting.c of Linux 6.1 does it: two seconds after a large block
 * became free, free blocks are lent to a device in batches of 32 until it has seen them, and
 * marked, so that each is reported once for every time it becomes free.
 *
 * Not emulated: the module parameter page_reporting_order (it is pageblock_order), a failed
 * allocation of the scatterlist.
 */

/** Blocks of one report. */
export const PAGE_REPORTING_CAPACITY = 32;
/** PAGE_REPORTING_DELAY. */
export const PAGE_REPORTING_DELAY_SECONDS = 2;
/** Reported are blocks of this order and larger (N62 asks for large ones). */
export const PAGE_REPORTING_ORDER = PAGEBLOCK_ORDER;
/** A pass tells of a sixteenth of a free list, so that all of it takes about 30 seconds. */
const PASSES = 16;

/** Whether anybody asked for a pass, and whether one is under way. */
const reportingMachine = setup({}).createMachine({
  id: 'page_reporting',
  initial: 'idle',
  states: {
    idle: { on: { request: 'requested' } },
    requested: { on: { request: 'requested', begin: 'active' } },
    active: { on: { request: 'activeRequested', end: 'idle' } },
    // Linux has no name of its own for it: REQUESTED, seen by the pass at its end.
    activeRequested: { on: { request: 'activeRequested', end: 'requested' } },
  },
});
export const REPORTING_STATE = {
  idle: 0,
  requested: 1,
  active: 2,
  activeRequested: 3,
} as const satisfies Record<StateValueFrom<typeof reportingMachine>, number>;
export const REPORTING_EVENT = { request: 0, begin: 1, end: 2 } as const;
export const reportingLifecycle = {
  machine: reportingMachine,
  table: compileLifecycle(reportingMachine, {
    states: REPORTING_STATE,
    events: REPORTING_EVENT,
  }),
};

/** A free block that is lent to the device: it is in no free list until the report is back. */
export interface LentBlock {
  readonly pfn: number;
  readonly order: number;
}

/** struct page_reporting_dev_info, as far as the device sees it. */
export interface ReportingDevice {
  /** Tells the host of the blocks and waits until it has seen them (N60). False on an error. */
  report(blocks: readonly LentBlock[]): Waiting<boolean>;
}

export interface PageReportingOptions {
  readonly zones: readonly Zone[];
  readonly scheduler: Scheduler;
  readonly workqueue: Workqueue;
}

export class PageReporting implements FreeNotifier {
  readonly order = PAGE_REPORTING_ORDER;
  readonly #zones: readonly Zone[];
  readonly #work: DelayedWork;
  #device: ReportingDevice | undefined;
  #state: number = REPORTING_STATE.idle;
  /** sgl from its offset on: what was isolated last stands first. */
  #batch: LentBlock[] = [];

  constructor({ zones, scheduler, workqueue }: PageReportingOptions) {
    this.#zones = zones;
    const process = new WorkItem('page_reporting_process', () => this.#process());
    this.#work = new DelayedWork(scheduler, workqueue, process);
  }

  /** Name of the state, for dumps. */
  get state(): string {
    return reportingLifecycle.table.stateNames[this.#state];
  }

  /** page_reporting_register: false while another device is registered (EBUSY). */
  register(device: ReportingDevice): boolean {
    if (this.#device !== undefined) return false;
    this.#device = device;
    this.#state = REPORTING_STATE.idle;
    this.notify();
    for (const zone of this.#zones) zone.freeNotifier = this;
    return true;
  }

  /** page_reporting_unregister: when it ends no block is lent any more. */
  *unregister(device: ReportingDevice): Waiting {
    if (this.#device !== device) return;
    for (const zone of this.#zones) zone.freeNotifier = undefined;
    yield* this.#work.cancelSync();
    this.#device = undefined;
    this.#state = REPORTING_STATE.idle;
  }

  /** __page_reporting_request. */
  notify(): void {
    const isFirst = this.#state === REPORTING_STATE.idle;
    this.#move(REPORTING_EVENT.request);
    if (isFirst) this.#work.schedule(PAGE_REPORTING_DELAY_SECONDS);
  }

  /** One pass over all zones; when it was asked for more, there is another in two seconds. */
  *#process(): Waiting {
    this.#move(REPORTING_EVENT.begin);
    for (const zone of this.#zones) {
      if (zone.populated && !(yield* this.#processZone(zone))) break;
    }
    this.#move(REPORTING_EVENT.end);
    if (this.#state === REPORTING_STATE.requested) {
      this.#work.schedule(PAGE_REPORTING_DELAY_SECONDS);
    }
  }

  /** page_reporting_process_zone: false when the device failed. */
  *#processZone(zone: Zone): Waiting<boolean> {
    const mark = zone.lowMark + (PAGE_REPORTING_CAPACITY << PAGE_REPORTING_ORDER);
    if (!keepsFree(zone, mark)) return true;
    for (let order = PAGE_REPORTING_ORDER; order < MAX_ORDER; order++) {
      for (let migratetype = 0; migratetype < MIGRATETYPES; migratetype++) {
        if (migratetype === MIGRATETYPE.isolate) continue;
        if (!(yield* this.#cycle(zone, order, migratetype))) return false;
      }
    }
    return this.#batch.length === 0 || (yield* this.#report(zone));
  }

  /**
   * page_reporting_cycle: fills the batch from one free list and reports it each time it is full.
   * What is not reported in this pass is at the list's head for the next one.
   */
  *#cycle(zone: Zone, order: number, migratetype: number): Waiting<boolean> {
    const { words, pages } = zone;
    const list = zone.freeList(order, migratetype);
    if (isListEmpty(words, list)) return true;
    let budget = Math.ceil(zone.nrFree[order] / (PAGE_REPORTING_CAPACITY * PASSES));
    let succeeded = true;
    let next = listNext(words, list);
    while (next !== list && succeeded) {
      const pfn = next;
      next = listNext(words, pfn);
      if (pages.reported(pfn)) continue;
      if (budget < 0) {
        this.#move(REPORTING_EVENT.request);
        next = pfn;
        break;
      }
      if (this.#batch.length < PAGE_REPORTING_CAPACITY) {
        if (isolateFreePage(zone, pfn, order)) {
          this.#batch.unshift({ pfn, order });
          continue;
        }
        next = pfn;
        break;
      }
      rotateToFront(words, pfn, list);
      succeeded = yield* this.#report(zone);
      budget--;
      // Others had the lists meanwhile: only the head is known.
      next = listNext(words, list);
    }
    if (next !== list) rotateToFront(words, next, list);
    return succeeded;
  }

  /** Reports the batch and puts it back (page_reporting_drain). False on an error. */
  *#report(zone: Zone): Waiting<boolean> {
    const device = this.#device ?? fail('a pass of page reporting has a device');
    const blocks = this.#batch;
    const succeeded = yield* device.report(blocks);
    this.#batch = [];
    const { pages } = zone;
    for (const { pfn, order } of blocks) {
      putbackIsolatedPage(zone, pfn, order, pages.blockType(pfn));
      // One that merged with others has to be reported with them.
      if (succeeded && pages.blockOrder(pfn) === order) pages.setReported(pfn);
    }
    return succeeded;
  }

  #move(event: number): void {
    this.#state = reportingLifecycle.table.step(this.#state, event);
  }
}

/** Where the node is the first already there is nothing to do. */
function rotateToFront(words: Int32Array, node: number, list: number): void {
  if (listNext(words, list) !== node) listRotateToFront(words, node, list);
}
