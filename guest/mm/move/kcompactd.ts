import { msecsToJiffies, timerWaitMs } from '../../sched/jiffies.ts';
import type { Scheduler, Waiting } from '../../sched/scheduler.ts';
import { GFP_KERNEL } from '../page/gfp.ts';
import { ZONE_NAMES } from '../page/zone.ts';
import { CompactControl } from './compact-control.ts';
import { ZoneCompactor } from './compact-zone.ts';
import type { Compaction } from './compaction.ts';
import { COMPACT, COMPACT_MAX_DEFER_SHIFT, MIGRATE_MODE } from './constants.ts';
import { compactionDeferReset, compactionDeferred, deferCompaction } from './deferral.ts';
import { compactionSuitable, nodeFragmentationScore } from './suitability.ts';

/** HPAGE_FRAG_CHECK_INTERVAL_MSEC: how often it looks by itself; 512 ms on the timer wheel. */
const FRAG_CHECK_INTERVAL_JIFFIES = msecsToJiffies(500);
const HIGHEST_ZONE = ZONE_NAMES.length - 1;

/**
 * The kernel thread that compacts in the background: every half second it looks how fragmented the
 * node is, and when it is woken for an order it compacts until there is a block of it. What sleeps
 * is a timer here, so that an idle guest has no task; each piece of work is a task of its own.
 *
 * Not emulated: freezing.
 */
export class Kcompactd {
  readonly #compaction: Compaction;
  readonly #scheduler: Scheduler;
  /** What it was woken for (kcompactd_max_order, kcompactd_highest_zoneidx). */
  #maxOrder = 0;
  #highestZone = HIGHEST_ZONE;
  /** Ends its sleep; undefined while it works. */
  #timer: unknown;

  constructor(compaction: Compaction, scheduler: Scheduler) {
    this.#compaction = compaction;
    this.#scheduler = scheduler;
  }

  start(): void {
    this.#sleep(FRAG_CHECK_INTERVAL_JIFFIES);
  }

  /** wakeup_kcompactd: somebody wants blocks of this order and does not compact himself. */
  wakeup(order: number, highestZone: number): void {
    if (order === 0) return;
    this.#maxOrder = Math.max(this.#maxOrder, order);
    this.#highestZone = Math.min(this.#highestZone, highestZone);
    if (this.#timer === undefined || !this.#isNodeSuitable()) return;
    this.#compaction.trace.wakeupKcompactd(order, highestZone);
    this.#scheduler.clock.clearTimeout(this.#timer);
    this.#run(this.#doWork());
  }

  /** should_proactive_compact_node. */
  get wantsToCompact(): boolean {
    const { allocator, proactiveness } = this.#compaction.world;
    if (proactiveness.value === 0) return false;
    return nodeFragmentationScore(allocator.zones) > proactiveness.highMark;
  }

  /** What was wanted while it worked keeps it from falling asleep (kcompactd_work_requested). */
  #sleep(jiffies: number): void {
    this.#compaction.trace.kcompactdSleep();
    if (this.#maxOrder > 0) this.#run(this.#doWork());
    else this.#sleepOn(jiffies);
  }

  #sleepOn(jiffies: number): void {
    const { clock } = this.#scheduler;
    const waitMs = timerWaitMs(clock.now(), jiffies);
    this.#timer = clock.setTimeout(() => this.#tick(), waitMs);
  }

  /** What could not be had when it was wanted is tried now; without proactiveness nothing is. */
  #tick(): void {
    if (this.#compaction.proactiveness.value === 0) this.#sleepOn(FRAG_CHECK_INTERVAL_JIFFIES);
    else if (this.#maxOrder > 0) this.#run(this.#doWork());
    else if (this.wantsToCompact) this.#run(this.#compactProactively());
    else this.#sleep(FRAG_CHECK_INTERVAL_JIFFIES);
    this.#scheduler.run();
  }

  #run(body: Waiting): void {
    this.#timer = undefined;
    this.#scheduler.spawn('kcompactd0', body);
  }

  /** Without any progress it looks again only after 32 seconds. */
  *#compactProactively(): Waiting {
    const { zones } = this.#compaction.world.allocator;
    const before = nodeFragmentationScore(zones);
    yield* this.#compaction.compactProactively();
    const isInVain = nodeFragmentationScore(zones) >= before;
    const shift = isInVain ? COMPACT_MAX_DEFER_SHIFT : 0;
    this.#sleep(FRAG_CHECK_INTERVAL_JIFFIES << shift);
  }

  #isNodeSuitable(): boolean {
    const { world, populatedZones } = this.#compaction;
    const request = { order: this.#maxOrder, allocFlags: 0, highestZone: this.#highestZone };
    return populatedZones.some((zone) => {
      if (zone.index > this.#highestZone) return false;
      return compactionSuitable(zone, request, world.trace) === COMPACT.continue;
    });
  }

  /** kcompactd_do_work. */
  *#doWork(): Waiting {
    const { world, populatedZones } = this.#compaction;
    const { allocator, events, trace } = world;
    const order = this.#maxOrder;
    const highestZone = this.#highestZone;
    trace.kcompactdWake(order, highestZone);
    events.compact_daemon_wake++;
    const mode = MIGRATE_MODE.syncLight;
    const control = new CompactControl(populatedZones[0], {
      order,
      mode,
      gfp: GFP_KERNEL,
      highestZone,
    });
    const compactor = new ZoneCompactor(control, world);
    for (const zone of populatedZones) {
      if (zone.index > highestZone || compactionDeferred(zone, order, trace)) continue;
      const request = { order, allocFlags: 0, highestZone: zone.index };
      if (compactionSuitable(zone, request, trace) !== COMPACT.continue) continue;
      const result = yield* compactor.run(zone);
      if (result === COMPACT.success) {
        compactionDeferReset(zone, order, false, trace);
      } else if (result === COMPACT.partialSkipped || result === COMPACT.complete) {
        allocator.drainAllPages();
        deferCompaction(zone, order, trace);
      }
      events.compact_daemon_migrate_scanned += control.totalMigrateScanned;
      events.compact_daemon_free_scanned += control.totalFreeScanned;
    }
    if (this.#maxOrder <= order) this.#maxOrder = 0;
    if (this.#highestZone >= highestZone) this.#highestZone = HIGHEST_ZONE;
    this.#sleep(FRAG_CHECK_INTERVAL_JIFFIES);
  }
}
