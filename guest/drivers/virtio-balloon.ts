import { fail } from '../../shared/lib/assert.ts';
import type { Log } from '../../shared/lib/log.ts';
import {
  CONFIG_ACTUAL,
  CONFIG_NUM_PAGES,
  CONFIG_POISON_VAL,
  type QueueName,
  queueLayout,
  VIRTIO_BALLOON_F_DEFLATE_ON_OOM,
  VIRTIO_BALLOON_F_FREE_PAGE_HINT,
  VIRTIO_BALLOON_F_MUST_TELL_HOST,
  VIRTIO_BALLOON_F_PAGE_POISON,
  VIRTIO_BALLOON_F_REPORTING,
  VIRTIO_BALLOON_F_STATS_VQ,
  VIRTIO_BALLOON_OOM_NR_PAGES,
} from '../../shared/virtio/balloon.ts';
import {
  type Features,
  featureSet,
  hasFeature,
  VIRTIO_F_VERSION_1,
} from '../../shared/virtio/features.ts';
import type { BalloonDevInfo } from '../mm/balloon/balloon-dev-info.ts';
import {
  balloonDevinfoAlloc,
  balloonDevinfoFree,
  type DevinfoHolder,
} from '../mm/balloon/devinfo-holder.ts';
import type { GuestMemory } from '../mm/memory.ts';
import { PAGE_POISON } from '../mm/page/prepare.ts';
import type { PageReporting } from '../mm/page/reporting.ts';
import type { OomNotifierChain } from '../mm/reclaim/oom.ts';
import type { Shrinkers } from '../mm/reclaim/shrinkers.ts';
import { type Flow, runFlow } from '../sched/flow.ts';
import { TICK_MS } from '../sched/jiffies.ts';
import type { Scheduler, Waiting } from '../sched/scheduler.ts';
import { WorkItem, type Workqueue } from '../sched/workqueue.ts';
import { BalloonBatch } from './balloon-batch.ts';
import { RESIZE_EVENT, resizeLifecycle } from './balloon-flows.ts';
import type { BalloonStatistics } from './balloon-stats.ts';
import { FreePageHinting } from './free-page-hinting.ts';
import { FreePageReports } from './free-page-reports.ts';
import type { VirtioDevice } from './virtio-device.ts';
import type { Virtqueue } from './virtqueue.ts';

/** VIRTIO_BALLOON_OOM_NOTIFY_PRIORITY: the balloon is asked before others. */
export const OOM_NOTIFY_PRIORITY = 80;

/**
 * While compaction has every page that is left, Linux asks for them again and again, and writes
 * `actual` each time. Compaction may wait for another device's host: here a tick passes between
 * two attempts, or a loop would never end on virtual time and flood a host on any other.
 */
const ISOLATED_WAIT_MS = TICK_MS;

/** What this driver can do of what a device may offer. Never more is accepted (G08, G11). */
const DRIVER_FEATURES = featureSet([
  VIRTIO_BALLOON_F_MUST_TELL_HOST,
  VIRTIO_BALLOON_F_STATS_VQ,
  VIRTIO_BALLOON_F_DEFLATE_ON_OOM,
  VIRTIO_BALLOON_F_FREE_PAGE_HINT,
  VIRTIO_BALLOON_F_PAGE_POISON,
  VIRTIO_BALLOON_F_REPORTING,
  VIRTIO_F_VERSION_1,
]);

type Queues = Partial<Record<QueueName, Virtqueue>>;

export interface BalloonDriverOptions {
  /** Name of the device on the virtio bus, for the log. */
  readonly name: string;
  readonly device: VirtioDevice;
  readonly memory: GuestMemory;
  readonly scheduler: Scheduler;
  readonly workqueue: Workqueue;
  readonly oomNotifiers: OomNotifierChain;
  readonly shrinkers: Shrinkers;
  readonly pageReporting: PageReporting;
  readonly statistics: BalloonStatistics;
  readonly log: Log;
  /** Reclaims where there is no page for the balloon; see BalloonBatchOptions. */
  readonly allocSlow?: (gfp: number) => Waiting<number>;
}

/**
 * The virtio_balloon driver as Linux 6.1's: probe, the resize work, statistics, the OOM notifier,
 * free page hinting and reporting, page poison, remove, freeze and restore. One page is one
 * 4096-byte unit (PPP is 1).
 *
 * Not emulated: wake-up events of power management. As in Linux `poison_val` is not written again
 * after a suspend, although the reset before it made the device forget it (against N55).
 */
export class VirtioBalloon {
  readonly #options: BalloonDriverOptions;
  readonly #device: VirtioDevice;
  readonly #batch: BalloonBatch;
  readonly #sizeWork: WorkItem;
  readonly #statsWork: WorkItem;
  readonly #hinting: FreePageHinting;
  readonly #reports: FreePageReports;
  #stopUpdate = true;
  readonly #holder: DevinfoHolder = { vbDevInfo: undefined };
  #statsVq: Virtqueue | undefined;
  #unregisterOom: (() => void) | undefined;
  #unregisterShrinker: (() => void) | undefined;
  /** Pages still to go in this round of the resize work. */
  #diff = 0;

  constructor(options: BalloonDriverOptions) {
    const { device, memory, scheduler, workqueue, log } = options;
    this.#options = options;
    this.#device = options.device;
    const { allocSlow } = options;
    this.#batch = new BalloonBatch({ allocator: memory.allocator, scheduler, log, allocSlow });
    this.#sizeWork = new WorkItem('update_balloon_size', () => this.#updateBalloonSize());
    this.#statsWork = new WorkItem('update_balloon_stats', () => this.#updateBalloonStats());
    this.#hinting = new FreePageHinting({ device, allocator: memory.allocator, workqueue });
    this.#reports = new FreePageReports(scheduler, options.pageReporting);
  }

  get numPages(): number {
    return this.#batch.numPages;
  }

  /** The pages in the balloon, for comparison with the host's ledger; from probe to remove. */
  get book(): BalloonDevInfo | undefined {
    return this.#holder.vbDevInfo;
  }

  /** Did the host get this frame from this device: in the balloon, or lent with a report? */
  hasGiven(pfn: number): boolean {
    const { balloons, pages } = this.#options.memory;
    if (pages.book(pfn) !== 0) return balloons.bookOf(pfn) === this.book;
    return this.#reports.hasLent(pfn);
  }

  /** Pages the host wants: `num_pages` as the config space shows it now. */
  get targetPages(): number {
    return this.#device.readConfig32(CONFIG_NUM_PAGES);
  }

  /** Pages allocated for hints of free pages. */
  get hintedPages(): number {
    return this.#hinting.heldPages;
  }

  /** True while the resize work runs or is queued. */
  get resizing(): boolean {
    return this.#sizeWork.running || this.#sizeWork.pending;
  }

  /** The feature part of virtio_dev_probe: what both sides know, less what validate clears. */
  acceptedFeatures(): Features {
    const common = this.#device.offered & DRIVER_FEATURES;
    // A kernel that does not poison its free pages needs no value written back (N02)...
    if (!this.#options.memory.allocator.pagePoison) {
      return common & ~featureSet([VIRTIO_BALLOON_F_PAGE_POISON]);
    }
    // ...one that does may report them only to a device that knows the value (N03).
    if (hasFeature(common, VIRTIO_BALLOON_F_PAGE_POISON)) return common;
    return common & ~featureSet([VIRTIO_BALLOON_F_REPORTING]);
  }

  /**
   * virtballoon_probe: queues and statistics, the shrinker, the OOM notifier, the poison value,
   * reporting, DRIVER_OK, a first look. False when a queue is too small (ENOSPC) or another device
   * of the guest reports free pages already (EBUSY): page_reporting_register takes one. The device
   * then keeps its queues, and every probe before its next reset fails as well (ENOENT).
   */
  *probe(): Waiting<boolean> {
    this.#stopUpdate = false;
    const book = balloonDevinfoAlloc(this.#holder, this.#options.memory, {
      adjustManagedPageCount: !this.#negotiated(VIRTIO_BALLOON_F_DEFLATE_ON_OOM),
      migration: this.#batch.migration,
    });
    const queues = this.#initVqs(book);
    if (queues === undefined) return this.#probeFailed('ENOENT');
    const { free_page: freePage, reporting } = queues;
    if (freePage !== undefined && !this.#hinting.probe(freePage)) {
      return this.#probeFailed('ENOSPC');
    }
    this.#register();
    this.#writePoison();
    const registered = reporting === undefined ? undefined : this.#reports.register(reporting);
    if (registered === 'ENOSPC' || registered === 'EBUSY') return this.#probeFailed(registered);
    this.#device.onConfigChanged = () => this.#changed();
    yield* this.#device.ready();
    if (this.#towardsTarget() !== 0) this.#changed();
    return true;
  }

  /** virtballoon_remove: everything is deflated before the reset. */
  *remove(): Waiting {
    yield* this.#stop();
    yield* this.#removeCommon();
    balloonDevinfoFree(this.#holder);
  }

  /**
   * A new host does not take this driver: what is in the balloon is given back without a word, for
   * the host that knew of it is gone and its queues with it. Puff's extension, as `announce`.
   */
  *abandon(): Waiting {
    yield* this.#stop();
    yield* this.#leakAll();
    this.#detach();
    balloonDevinfoFree(this.#holder);
  }

  /** Nothing asks for a resize, a hint or a page any more, and nothing of it runs. */
  *#stop(): Waiting {
    const { workqueue } = this.#options;
    yield* this.#reports.unregister();
    this.#unregister();
    this.#stopUpdate = true;
    yield* workqueue.cancelSync(this.#sizeWork);
    yield* workqueue.cancelSync(this.#statsWork);
    yield* this.#hinting.cancel();
  }

  /** virtballoon_freeze: the works are frozen already; deflates, resets and drops the queues. */
  *freeze(): Waiting {
    yield* this.#reports.suspend();
    yield* this.#removeCommon();
  }

  /** virtballoon_restore: queues again, DRIVER_OK, resize if the target differs, `actual`. */
  *restore(): Waiting {
    const book = this.book ?? fail('a driver that was never probed cannot be restored');
    const { free_page: freePage, reporting } = this.#newVqs(book);
    if (freePage !== undefined) this.#hinting.restore(freePage);
    if (reporting !== undefined) this.#reports.restore(reporting);
    this.#device.onConfigChanged = () => this.#changed();
    yield* this.#device.ready();
    if (this.#towardsTarget() !== 0) this.#changed();
    this.#writeActual();
  }

  /** To a new host: queues, DRIVER_OK, the balloon list from its oldest page on, `actual`. */
  *announce(): Waiting {
    const book = this.book ?? fail('only a driver that was probed announces its balloon');
    this.#hinting.detach();
    yield* this.#batch.hold();
    const { free_page: freePage, reporting } = this.#newVqs(book);
    if (freePage !== undefined) this.#hinting.probe(freePage);
    this.#writePoison();
    if (reporting !== undefined) this.#reports.attach(reporting);
    this.#device.onConfigChanged = () => this.#changed();
    yield* this.#device.ready();
    yield* this.#batch.announce();
    this.#writeActual();
    if (this.#towardsTarget() !== 0) this.#changed();
  }

  /** A recorded guest goes on with its balloon inflated: tells the host its pages, oldest first. */
  *takeOver(pfns: readonly number[]): Waiting {
    this.#batch.adopt(pfns);
    yield* this.#batch.hold();
    yield* this.#batch.announce();
    this.#writeActual();
  }

  #negotiated(bit: number): boolean {
    return hasFeature(this.#device.negotiated, bit);
  }

  /** Whom memory management asks for pages before it kills. */
  #register(): void {
    const { oomNotifiers, shrinkers } = this.#options;
    if (this.#negotiated(VIRTIO_BALLOON_F_FREE_PAGE_HINT)) {
      this.#unregisterShrinker = shrinkers.register(this.#hinting);
    }
    if (this.#negotiated(VIRTIO_BALLOON_F_DEFLATE_ON_OOM)) {
      const notify = (): Waiting<number> => this.#oomNotify();
      this.#unregisterOom = oomNotifiers.register(OOM_NOTIFY_PRIORITY, notify);
    }
  }

  #unregister(): void {
    this.#unregisterOom?.();
    this.#unregisterOom = undefined;
    this.#unregisterShrinker?.();
    this.#unregisterShrinker = undefined;
  }

  /** Undoes what a probe has done; the device keeps its status, the driver core adds FAILED. */
  #probeFailed(errno: string): false {
    const { log, name } = this.#options;
    log.warn({ device: name, errno }, `probe of ${name} failed`);
    this.#unregister();
    this.#hinting.detach();
    this.#reports.detach();
    this.#stopUpdate = true;
    balloonDevinfoFree(this.#holder);
    return false;
  }

  /** N55: the value is there before DRIVER_OK. */
  #writePoison(): void {
    if (!this.#negotiated(VIRTIO_BALLOON_F_PAGE_POISON)) return;
    this.#device.writeConfig32(CONFIG_POISON_VAL, PAGE_POISON);
  }

  /** Of a device that was reset. */
  #newVqs(book: BalloonDevInfo): Queues {
    return this.#initVqs(book) ?? fail('a device that was reset has no queue enabled');
  }

  #initVqs(book: BalloonDevInfo): Queues | undefined {
    const names = queueLayout(this.#device.negotiated);
    const found = this.#device.findVqs(names);
    if (found === undefined) return undefined;
    const queues: Queues = Object.fromEntries(names.map((name, index) => [name, found[index]]));
    const { inflate, deflate, stats } = queues;
    if (inflate === undefined || deflate === undefined) fail('every balloon has two queues');
    this.#batch.attach({ inflate, deflate, book });
    this.#statsVq = stats;
    if (stats !== undefined) this.#initStats(stats);
    return queues;
  }

  #initStats(statsVq: Virtqueue): void {
    statsVq.onUsed = () => {
      if (!this.#stopUpdate) this.#options.workqueue.queue(this.#statsWork);
    };
    // Added and kicked before DRIVER_OK, as Linux does (against G34; recorded).
    statsVq.addOutbuf(this.#options.statistics.collect());
  }

  *#removeCommon(): Waiting {
    yield* this.#leakAll();
    this.#writeActual();
    this.#detach();
    yield* this.#device.reset();
  }

  /** Pages that compaction has isolated come back, moved or not: until then others run. */
  *#leakAll(): Waiting {
    while (this.#batch.numPages > 0) yield* this.#leakSome(this.#batch.numPages);
  }

  *#leakSome(pages: number): Waiting<number> {
    const leaked = yield* this.#batch.leak(pages);
    if (leaked === 0) yield ISOLATED_WAIT_MS;
    return leaked;
  }

  #detach(): void {
    this.#hinting.detach();
    this.#device.onConfigChanged = undefined;
    this.#reports.detach();
  }

  /** virtballoon_changed, in interrupt context. */
  #changed(): void {
    if (this.#stopUpdate) return;
    this.#options.workqueue.queue(this.#sizeWork);
    this.#hinting.changed();
  }

  #towardsTarget(): number {
    return this.targetPages - this.#batch.numPages;
  }

  #writeActual(): void {
    this.#device.writeConfig32(CONFIG_ACTUAL, this.#batch.numPages);
  }

  *#updateBalloonSize(): Waiting {
    yield* runFlow(RESIZE, {
      measure: () => {
        this.#diff = this.#towardsTarget();
        if (this.#diff === 0) return RESIZE_EVENT.reached;
        return this.#diff > 0 ? RESIZE_EVENT.above : RESIZE_EVENT.below;
      },
      fill: () => this.#fillRound(),
      leak: () => this.#leakRound(),
      report: () => {
        this.#writeActual();
        return this.#diff === 0 ? RESIZE_EVENT.written : RESIZE_EVENT.again;
      },
      requeue: () => {
        this.#options.workqueue.queue(this.#sizeWork);
        return RESIZE_EVENT.queued;
      },
    });
  }

  *#fillRound(): Waiting<number> {
    this.#diff -= yield* this.#batch.fill(this.#diff);
    return RESIZE_EVENT.filled;
  }

  *#leakRound(): Waiting<number> {
    this.#diff += yield* this.#leakSome(-this.#diff);
    return RESIZE_EVENT.leaked;
  }

  /** stats_handle_request: nothing to do unless the host returned the buffer. */
  #updateBalloonStats(): undefined {
    if (!this.#statsVq?.getBuf()) return;
    this.#statsVq.addOutbuf(this.#options.statistics.collect());
  }

  /** virtio_balloon_oom_notify: gives back 256 pages; the resize work is not queued. */
  *#oomNotify(): Waiting<number> {
    const freed = yield* this.#batch.leak(VIRTIO_BALLOON_OOM_NR_PAGES);
    this.#writeActual();
    return freed;
  }
}

interface ResizeStages {
  measure(): number;
  fill(): Waiting<number>;
  leak(): Waiting<number>;
  report(): number;
  requeue(): number;
}

const RESIZE: Flow<ResizeStages> = {
  table: resizeLifecycle.table,
  stages: [
    (stages) => stages.measure(),
    (stages) => stages.fill(),
    (stages) => stages.leak(),
    (stages) => stages.report(),
    (stages) => stages.requeue(),
    undefined,
  ],
};
