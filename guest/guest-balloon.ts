import { Counters } from '../shared/lib/counters.ts';
import type { Log } from '../shared/lib/log.ts';
import type { PfnRange } from '../shared/lib/pfn-ranges.ts';
import { MAX_REPORT_PAGES } from '../shared/limits.ts';
import { readPairs } from '../shared/protocol/bodies.ts';
import { type HostToGuest, Op } from '../shared/protocol/messages.ts';
import { BalloonStatistics, type LinuxVersion } from './drivers/balloon-stats.ts';
import { DriverCore } from './drivers/driver-core.ts';
import { type BalloonDriverOptions, VirtioBalloon } from './drivers/virtio-balloon.ts';
import { VirtioDevice, type VirtioPort } from './drivers/virtio-device.ts';
import type { GuestMemory } from './mm/memory.ts';
import type { Vmstat } from './mm/vmstat.ts';
import type { Scheduler } from './sched/scheduler.ts';
import { Workqueue } from './sched/workqueue.ts';

/** What a host of a further device asked for and did not get. */
const REFUSALS = ['discard_pages_refused', 'power_verbs_refused'] as const;
export type BalloonRefusal = (typeof REFUSALS)[number];

/** What all balloons of a guest have in common. */
export type SharedParts = Pick<
  BalloonDriverOptions,
  'memory' | 'scheduler' | 'oomNotifiers' | 'shrinkers' | 'pageReporting' | 'log' | 'allocSlow'
> & { readonly vmstat: Vmstat; readonly linux: LinuxVersion };

export interface GuestBalloonOptions {
  /** What its host calls the machine: the name of the device to operators. */
  readonly id: string;
  /** Its place on the virtio bus: 0 is the device the machine was built with. */
  readonly index: number;
  /** Where its messages go: the connection to its own host. */
  readonly port: VirtioPort;
}

/**
 * One balloon device of a guest with all that is its own: the virtio device, the driver with its
 * book, the driver core, statistics, a workqueue and the port to its host. Memory, CPU, notifiers
 * and shrinkers are the guest's (struct virtio_balloon of Linux 6.1 is made for each probe).
 *
 * The host of the first device is the machine's hypervisor. Any other host has plugged in a device
 * and no more: it may discard what that device gave it, and what it says of power is refused.
 *
 * Not emulated: a slot of its own for each device; where it is plugged nobody asks.
 */
export class GuestBalloon {
  readonly id: string;
  readonly device: VirtioDevice;
  readonly driver: VirtioBalloon;
  readonly core: DriverCore;
  readonly statistics: BalloonStatistics;
  readonly refused = new Counters<BalloonRefusal>(REFUSALS);
  readonly #isFirst: boolean;
  readonly #memory: GuestMemory;
  readonly #scheduler: Scheduler;
  readonly #log: Log;

  constructor({ id, index, port }: GuestBalloonOptions, shared: SharedParts) {
    const { memory, scheduler, vmstat, linux, log } = shared;
    const name = `virtio${index}`;
    this.id = id;
    this.#isFirst = index === 0;
    this.#memory = memory;
    this.#scheduler = scheduler;
    this.#log = log;
    // Of the driver's own: in Linux, works of a queue that all share do not wait for each other,
    // and a device that gets a new host must not freeze the others.
    const workqueue = new Workqueue(scheduler);
    this.device = new VirtioDevice(scheduler, port, log);
    this.statistics = new BalloonStatistics(memory, vmstat, linux);
    const { device, statistics } = this;
    this.driver = new VirtioBalloon({ ...shared, name, device, statistics, workqueue });
    this.core = new DriverCore({ name, device, driver: this.driver, workqueue, scheduler });
  }

  /** Delivers one message of the device's host, then runs what it made ready. */
  handle(message: HostToGuest): void {
    this.#scheduler.interrupt(() => this.#deliver(message));
  }

  /** A new session: its host knows nothing of what was, or is another. */
  hostLost(): void {
    this.core.hostLost();
    this.#scheduler.run();
  }

  /**
   * The device is gone for good, without a word: the driver is removed from what does not answer
   * any more (virtio_pci_remove of a device that is not present) and its pages come back.
   */
  pulledOut(): void {
    this.core.hostLost();
    if (this.core.hasDevice) this.core.requestUnplug(0);
    this.#scheduler.run();
  }

  #deliver(message: HostToGuest): void {
    switch (message[0]) {
      case Op.discard:
        this.#discard(readPairs(message[1]));
        break;
      case Op.unplug:
        this.core.requestUnplug(message[1]);
        break;
      case Op.device:
        this.device.handle(message);
        this.core.appeared();
        break;
      default:
        // What the host sent before it knew that the device was given back is void.
        if (this.core.hasDevice) this.device.handle(message);
    }
  }

  /**
   * These frames lost their content. All of memory is the first host's; another one's word is taken
   * for what its device gave away, and for as many frames as an honest message can have.
   */
  #discard(ranges: readonly PfnRange[]): void {
    if (this.#isFirst) {
      this.#memory.discard(ranges);
      return;
    }
    let looksLeft = MAX_REPORT_PAGES;
    let refused = 0;
    for (const { start, count } of ranges) {
      const looked = Math.min(count, looksLeft);
      looksLeft -= looked;
      refused += count - this.#discardGiven(start, looked);
    }
    if (refused === 0) return;
    if (this.refused.get('discard_pages_refused') === 0) {
      this.#log.warn({ device: this.id, pages: refused }, 'discards of frames of others refused');
    }
    this.refused.add('discard_pages_refused', refused);
  }

  /** Zeroes those of the frames that this device gave to its host; returns how many. */
  #discardGiven(start: number, count: number): number {
    const { pages } = this.#memory;
    const end = Math.min(start + count, pages.pageCount);
    let zeroed = 0;
    for (let pfn = start; pfn < end; pfn++) {
      if (!this.driver.hasGiven(pfn)) continue;
      pages.tags[pfn] = 0;
      zeroed++;
    }
    return zeroed;
  }
}
