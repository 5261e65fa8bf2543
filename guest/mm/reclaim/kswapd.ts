import { setup } from 'xstate';
import { compileLifecycle } from '../../../shared/lifecycle/compile.ts';
import { type Flow, runFlow } from '../../sched/flow.ts';
import { HZ, timerWaitMs } from '../../sched/jiffies.ts';
import { type Task, type Waiting, WaitQueue } from '../../sched/scheduler.ts';
import { __GFP_DIRECT_RECLAIM, GFP_KERNEL, ZONES } from '../page/gfp.ts';
import { PAGEBLOCK_ORDER } from '../page/page-map.ts';
import { zoneWatermarkOk } from '../page/watermark.ts';
import type { Zone } from '../page/zone.ts';
import type { ReclaimNode } from './reclaim-node.ts';
import { MAX_RECLAIM_RETRIES } from './reclaimable.ts';
import { DEF_PRIORITY, ScanControl, SWAP_CLUSTER_MAX } from './scan-control.ts';
import type { NodeShrinker } from './shrink-node.ts';

/** How long kswapd naps before it sleeps for good. */
const NAP_JIFFIES = HZ / 10;
/** No zone was asked for since it looked last (MAX_NR_ZONES). */
const NO_ZONE = -1;

const kswapdMachine = setup({}).createMachine({
  id: 'kswapd',
  initial: 'reading',
  states: {
    reading: { description: 'Takes over what it is wanted for.', on: { wanted: 'balancing' } },
    balancing: {
      description: 'Reclaims until a zone is above its high watermark, or in vain.',
      on: { lesser: 'resting', same: 'asked' },
    },
    asked: {
      description: 'What came in meanwhile counts for how it sleeps.',
      on: { rest: 'resting' },
    },
    resting: { description: 'May it sleep?', on: { balanced: 'napping', unbalanced: 'reading' } },
    napping: { description: 'A tenth of a second.', on: { woken: 'reading', quiet: 'leaving' } },
    leaving: { description: 'Still balanced?', on: { balanced: 'asleep', unbalanced: 'reading' } },
    asleep: { description: 'Until an allocation wakes it.', type: 'final' },
  },
});
const KSWAPD_EVENT = {
  wanted: 0,
  lesser: 1,
  same: 2,
  rest: 3,
  balanced: 4,
  unbalanced: 5,
  woken: 6,
  quiet: 7,
} as const;

export const kswapdLifecycle = {
  machine: kswapdMachine,
  table: compileLifecycle(kswapdMachine, {
    states: {
      reading: 0,
      balancing: 1,
      asked: 2,
      resting: 3,
      napping: 4,
      leaving: 5,
      asleep: 6,
    },
    events: KSWAPD_EVENT,
  }),
};

export interface KswapdOptions {
  readonly shrinker: NodeShrinker;
  /** wakeup_kcompactd. */
  readonly wakeKcompactd: (order: number, highestZone: number) => void;
  /** reset_isolation_suitable: compaction forgets where it found nothing. */
  readonly resetSkipHints: () => void;
}

/**
 * The kernel thread that reclaims in the background (kswapd of Linux 6.1): woken when a zone is at
 * its low watermark, it goes on to the high one; woken for a watermark boost, it reclaims as much
 * without any I/O and takes the boost back. It wakes kcompactd before it sleeps. Asleep there is
 * no task.
 *
 * Not emulated: freezing, pressure stall information, soft limits.
 */
export class Kswapd {
  readonly #node: ReclaimNode;
  readonly #options: KswapdOptions;
  readonly #nap = new WaitQueue('kswapd naps');
  /** The run at hand, or the last one. */
  #task: Task | undefined;
  /** What it is wanted for (kswapd_order, kswapd_highest_zoneidx). */
  #order = 0;
  #highestZone = NO_ZONE;
  /** What this run is for, the order it finished at, and the zone. */
  #allocOrder = 0;
  #reclaimOrder = 0;
  #zone = ZONES - 1;

  constructor(options: KswapdOptions) {
    this.#options = options;
    this.#node = options.shrinker.node;
  }

  /** kswapd_is_running: it has the CPU or wants it. */
  get isRunning(): boolean {
    return this.#isUp && this.#task?.waitingAt === undefined;
  }

  /** wakeup_kswapd: a request of this order found `highestZone` and those below short. */
  wakeup(order: number, gfp: number, highestZone: number): void {
    this.#highestZone = Math.max(this.#highestZone, highestZone);
    this.#order = Math.max(this.#order, order);
    if (this.#isUp && !this.#nap.isActive) return;
    const isHopeless = this.#node.kswapdFailures >= MAX_RECLAIM_RETRIES;
    const isContent = this.#isBalanced(order, highestZone) && !this.#isBoosted(highestZone);
    if (isHopeless || isContent) {
      const mayCompact = (gfp & __GFP_DIRECT_RECLAIM) !== 0;
      if (!mayCompact) this.#options.wakeKcompactd(order, highestZone);
      return;
    }
    const { scheduler } = this.#node;
    if (this.#isUp) scheduler.wake(this.#nap);
    else this.#task = scheduler.spawn('kswapd0', this.#run());
  }

  /** It has a task: it may nap or wait, but it is not asleep for good. */
  get #isUp(): boolean {
    return this.#task !== undefined && !this.#task.ended;
  }

  *#run(): Waiting {
    yield* runFlow(KSWAPD, this);
  }

  read(): number {
    this.#allocOrder = this.#order;
    if (this.#highestZone !== NO_ZONE) this.#zone = this.#highestZone;
    this.#order = 0;
    this.#highestZone = NO_ZONE;
    return KSWAPD_EVENT.wanted;
  }

  *balance(): Waiting<number> {
    this.#reclaimOrder = yield* this.#balancePgdat(this.#allocOrder, this.#zone);
    return this.#reclaimOrder < this.#allocOrder ? KSWAPD_EVENT.lesser : KSWAPD_EVENT.same;
  }

  lookAgain(): number {
    this.#allocOrder = this.#order;
    this.#reclaimOrder = this.#order;
    if (this.#highestZone !== NO_ZONE) this.#zone = this.#highestZone;
    return KSWAPD_EVENT.rest;
  }

  /** The tests of kswapd_try_to_sleep, before and after the nap. */
  trySleep(): number {
    if (this.#maySleep()) return KSWAPD_EVENT.balanced;
    this.#node.spaces.vmstat.kswapd_high_wmark_hit_quickly++;
    return KSWAPD_EVENT.unbalanced;
  }

  *napFor(): Waiting<number> {
    this.#options.resetSkipHints();
    this.#options.wakeKcompactd(this.#allocOrder, this.#zone);
    const napMs = timerWaitMs(this.#node.scheduler.clock.now(), NAP_JIFFIES);
    const isWoken = yield* this.#node.sleep(this.#nap, napMs);
    if (!isWoken) return KSWAPD_EVENT.quiet;
    if (this.#highestZone === NO_ZONE) this.#highestZone = this.#zone;
    this.#order = Math.max(this.#order, this.#reclaimOrder);
    this.#node.spaces.vmstat.kswapd_low_wmark_hit_quickly++;
    return KSWAPD_EVENT.woken;
  }

  /** prepare_kswapd_sleep. */
  #maySleep(): boolean {
    const node = this.#node;
    if (node.kswapdFailures >= MAX_RECLAIM_RETRIES) return true;
    if (!this.#isBalanced(this.#reclaimOrder, this.#zone)) return false;
    node.isCongested = false;
    node.isDirty = false;
    node.isWritebackHeavy = false;
    return true;
  }

  /** balance_pgdat: returns the order it finished reclaiming at. */
  *#balancePgdat(order: number, highestZone: number): Waiting<number> {
    const node = this.#node;
    const zones = this.#zonesUpTo(highestZone);
    const boosts = zones.map((zone) => zone.watermarkBoost);
    const boosted = boosts.reduce((sum, boost) => sum + boost, 0);
    const sc = new ScanControl({ gfp: GFP_KERNEL, order, highestZone, isKswapd: true });
    node.spaces.vmstat.pageoutrun++;
    for (const zone of zones) zone.reclaimActive = true;
    const isDone = yield* this.#reclaim(sc, boosted);
    if (!isDone && sc.nrReclaimed === 0) node.kswapdFailures++;
    for (const zone of zones) zone.reclaimActive = false;
    if (boosted > 0) {
      zones.forEach((zone, index) => {
        zone.watermarkBoost -= Math.min(zone.watermarkBoost, boosts[index] ?? 0);
      });
      this.#options.wakeKcompactd(PAGEBLOCK_ORDER, highestZone);
    }
    return sc.order;
  }

  /**
   * The loop of balance_pgdat: harder and harder until a zone is balanced. As long as all are, it
   * reclaims for the boost alone. False when it gave up.
   */
  *#reclaim(sc: ScanControl, boosted: number): Waiting<boolean> {
    const { highestZone } = sc;
    let boostLeft = boosted;
    sc.priority = DEF_PRIORITY;
    while (sc.priority >= 1) {
      const isBalanced = this.#isBalanced(sc.order, highestZone);
      if (!isBalanced && boostLeft > 0) {
        boostLeft = 0;
        sc.priority = DEF_PRIORITY;
        continue;
      }
      if (boostLeft === 0 && isBalanced) return true;
      const isGentle = boostLeft > 0 && sc.priority === DEF_PRIORITY - 2;
      sc.mayWritepage = boostLeft === 0 || sc.priority < DEF_PRIORITY - 2;
      sc.maySwap = boostLeft === 0;
      this.#options.shrinker.ageAnon(sc);
      sc.nrScanned = 0;
      const before = sc.nrReclaimed;
      const hasScanned = yield* this.#shrinkNode(sc);
      const reclaimed = sc.nrReclaimed - before;
      boostLeft -= Math.min(boostLeft, reclaimed);
      if (boostLeft > 0 && reclaimed === 0) return false;
      const mustRaise = !isGentle && !hasScanned;
      if (mustRaise || reclaimed === 0) sc.priority--;
    }
    return false;
  }

  /** kswapd_shrink_node: true when enough was scanned to be content with this priority. */
  *#shrinkNode(sc: ScanControl): Waiting<boolean> {
    sc.nrToReclaim = 0;
    for (const zone of this.#zonesUpTo(sc.highestZone)) {
      sc.nrToReclaim += Math.max(zone.highMark, SWAP_CLUSTER_MAX);
    }
    yield* this.#options.shrinker.shrink(sc);
    // Enough for twice the block: whether there is one is compaction's business now.
    if (sc.order > 0 && sc.nrReclaimed >= 2 << sc.order) sc.order = 0;
    return sc.nrScanned >= sc.nrToReclaim;
  }

  /** pgdat_balanced: is there a zone above its high watermark, boost included? */
  #isBalanced(order: number, highestZone: number): boolean {
    const zones = this.#zonesUpTo(highestZone);
    const check = { order, allocFlags: 0, highestZone };
    return (
      zones.length === 0 ||
      zones.some((zone) => zoneWatermarkOk(zone, check, zone.highMark, zone.freePagesStat))
    );
  }

  /** pgdat_watermark_boosted. */
  #isBoosted(highestZone: number): boolean {
    return this.#zonesUpTo(highestZone).some((zone) => zone.watermarkBoost > 0);
  }

  #zonesUpTo(highestZone: number): Zone[] {
    return this.#node.zones.filter((zone) => zone.managedPages > 0 && zone.index <= highestZone);
  }
}

const KSWAPD: Flow<Kswapd> = {
  table: kswapdLifecycle.table,
  stages: [
    (kswapd) => kswapd.read(),
    (kswapd) => kswapd.balance(),
    (kswapd) => kswapd.lookAgain(),
    (kswapd) => kswapd.trySleep(),
    (kswapd) => kswapd.napFor(),
    (kswapd) => kswapd.trySleep(),
    undefined,
  ],
};
