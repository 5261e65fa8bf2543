import type { HugePageSize } from '../shared/control/schemas.ts';
import type { Log } from '../shared/lib/log.ts';
import type { PausableClock } from '../shared/lib/pausable-clock.ts';
import type { PfnRange } from '../shared/lib/pfn-ranges.ts';
import { Prng } from '../shared/lib/prng.ts';
import type { HostToGuest } from '../shared/protocol/messages.ts';
import type { BalloonStatistics, LinuxVersion } from './drivers/balloon-stats.ts';
import type { DriverCore, DriverVerb } from './drivers/driver-core.ts';
import type { VirtioBalloon } from './drivers/virtio-balloon.ts';
import type { VirtioDevice, VirtioPort } from './drivers/virtio-device.ts';
import type { GuestBalloon } from './guest-balloon.ts';
import { GuestBalloons } from './guest-balloons.ts';
import type { BalloonCompaction } from './mm/balloon/compaction-mode.ts';
import { GuestMemory } from './mm/memory.ts';
import { ContigAllocator } from './mm/move/alloc-contig.ts';
import { Compaction } from './mm/move/compaction.ts';
import { Kcompactd } from './mm/move/kcompactd.ts';
import { RecordedPages } from './mm/move/recorded-pages.ts';
import { SpacePages } from './mm/move/space-pages.ts';
import { endBoosts } from './mm/page/fallback.ts';
import { __GFP_DIRECT_RECLAIM, gfpZone } from './mm/page/gfp.ts';
import type { FreeListDump } from './mm/page/image.ts';
import type { RecordedFrames } from './mm/page/page-dump.ts';
import { PageReporting } from './mm/page/reporting.ts';
import { OomNotifierChain } from './mm/reclaim/oom.ts';
import { OutOfMemory } from './mm/reclaim/out-of-memory.ts';
import { Reclaim } from './mm/reclaim/reclaim.ts';
import { Shrinkers } from './mm/reclaim/shrinkers.ts';
import type { SlowPath } from './mm/space/alloc-pages.ts';
import { bootSpaces } from './mm/space/boot-spaces.ts';
import { GiganticPagePool } from './mm/space/gigantic-page-pool.ts';
import { HugePagePool } from './mm/space/huge-page-pool.ts';
import type { Spaces, SpacesOptions } from './mm/space/spaces.ts';
import { newVmstat, type Vmstat } from './mm/vmstat.ts';
import { Scheduler, type Task, type Waiting } from './sched/scheduler.ts';
import { Workqueue } from './sched/workqueue.ts';
import type { KmemEvent } from './workload/kmem-trace.ts';
import { ProcessTable, runProcess } from './workload/processes.ts';
import { type Program, startProgram } from './workload/programs.ts';
import { TraceProgram } from './workload/trace-program.ts';

/** transparent_hugepage= of the command line, how slow the disk is, checks of every TLB use. */
export type SpaceTuning = Pick<SpacesOptions, 'thp' | 'diskMs' | 'checks'>;

export interface KernelOptions {
  readonly memoryBytes: number;
  readonly image?: FreeListDump | undefined;
  /**
   * The image is of a recorded guest that goes on: what it does not tell of the frames in use.
   * Their owners are not emulated, and nothing runs by itself.
   */
  readonly recordedFrames?: RecordedFrames;
  /** page_poison=1 on the kernel's command line. */
  readonly pagePoison?: boolean | undefined;
  /** How pages of the balloon are moved, if at all; `movable` if left out. */
  readonly balloonCompaction?: BalloonCompaction | undefined;
  readonly spaces?: SpaceTuning;
  /** Size of the swap device; there is none if left out. */
  readonly swapBytes?: number | undefined;
  /**
   * `off`: requests come from a trace, and kswapd and direct reclaim do nothing by themselves; so
   * it is in a recorded guest that goes on.
   */
  readonly reclaim?: 'off';
  readonly clock: PausableClock;
  readonly seed: number;
  readonly linux: LinuxVersion;
  readonly log: Log;
  /** Name of the first balloon device: the guest's id. */
  readonly id?: string;
  /** To the first device's host. */
  readonly port: VirtioPort;
  /** Devices that other hosts plug in, in their order on the bus. */
  readonly furtherBalloons?: readonly { readonly id: string; readonly port: VirtioPort }[];
}

/**
 * One boot of a guest: memory, scheduler, balloons behind their virtio devices, processes. A
 * power-on makes a new one. It has no socket and no timer but those it is given.
 */
export class Kernel {
  readonly memory: GuestMemory;
  readonly vmstat: Vmstat = newVmstat();
  readonly scheduler: Scheduler;
  readonly balloons: GuestBalloons;
  readonly oomNotifiers = new OomNotifierChain();
  readonly shrinkers = new Shrinkers();
  readonly pageReporting: PageReporting;
  readonly spaces: Spaces;
  readonly processes: ProcessTable;
  readonly compaction: Compaction;
  readonly kcompactd: Kcompactd;
  readonly hugePagePool: HugePagePool;
  /** Ranges larger than any block: huge pages of 1 GiB. */
  readonly contig: ContigAllocator;
  readonly giganticPagePool: GiganticPagePool;
  readonly reclaim: Reclaim;
  readonly #prng: Prng;
  readonly #isRecorded: boolean;
  readonly #reclaimsByItself: boolean;

  constructor(options: KernelOptions) {
    const { clock, log } = options;
    this.#prng = new Prng(options.seed);
    this.#isRecorded = options.recordedFrames !== undefined;
    this.#reclaimsByItself = !this.#isRecorded && options.reclaim !== 'off';
    this.memory = GuestMemory.boot({
      memoryBytes: options.memoryBytes,
      ...(options.image === undefined ? {} : { image: options.image }),
      pagePoison: options.pagePoison ?? false,
      balloonCompaction: options.balloonCompaction ?? 'movable',
      hooks: {
        wakeKswapd: (_zone, order, gfp, highestZone) => this.#wakeKswapd(order, gfp, highestZone),
      },
    });
    this.scheduler = new Scheduler(clock);
    this.pageReporting = new PageReporting({
      zones: this.memory.allocator.zones,
      scheduler: this.scheduler,
      // system_wq, which no suspend of a device freezes.
      workqueue: new Workqueue(this.scheduler),
    });
    this.balloons = this.#newBalloons(options);
    const { vmstat, scheduler } = this;
    const { allocator } = this.memory;
    this.spaces = bootSpaces({ ...options.spaces, allocator, vmstat, scheduler });
    this.processes = new ProcessTable({ spaces: this.spaces, log });
    this.compaction = new Compaction({
      kswapdIsRunning: () => this.reclaim.kswapd.isRunning,
      allocator,
      balloons: this.memory.balloons,
      lru:
        options.recordedFrames === undefined
          ? new SpacePages(this.spaces, this.memory.balloons.compactBalloon)
          : new RecordedPages(allocator, options.recordedFrames),
    });
    this.kcompactd = new Kcompactd(this.compaction, scheduler);
    this.reclaim = this.#newReclaim(options.swapBytes ?? 0);
    this.spaces.supply.slowPath = this.#slowPath();
    this.spaces.isPreempted = () => this.reclaim.kswapd.isRunning;
    this.hugePagePool = new HugePagePool(this.spaces.supply, vmstat);
    this.contig = this.#newContigAllocator();
    this.giganticPagePool = new GiganticPagePool(this.contig, this.hugePagePool);
  }

  /** What runs by itself from boot on: kcompactd, but in a guest whose times were recorded. */
  powerOn(): void {
    if (!this.#isRecorded) this.kcompactd.start();
  }

  /** compact_memory: moves what can be moved, until the scanners of every zone have met. */
  compactMemory(): Task {
    const task = this.scheduler.spawn('compact_memory', this.compaction.compactMemory());
    this.scheduler.run();
    return task;
  }

  /** nr_hugepages: so many huge pages in the pool of a size, or as many as are to be had. */
  setNrHugepages(count: number, size: HugePageSize = '2M'): Task {
    const task = this.scheduler.spawn('nr_hugepages', this.#resizePool(count, size));
    this.scheduler.run();
    return task;
  }

  *#resizePool(count: number, size: HugePageSize): Waiting {
    yield* (size === '1G' ? this.giganticPagePool : this.hugePagePool).resize(count);
  }

  #newContigAllocator(): ContigAllocator {
    return new ContigAllocator({
      ...this.compaction.world,
      supply: this.spaces.supply,
      ...(this.#reclaimsByItself && { reclaimClean: (pfns) => this.reclaim.reclaimClean(pfns) }),
    });
  }

  #newBalloons({
    id = 'vm0',
    port,
    furtherBalloons = [],
    linux,
    log,
  }: KernelOptions): GuestBalloons {
    const { memory, scheduler, oomNotifiers, shrinkers, pageReporting, vmstat } = this;
    const allocSlow = (gfp: number): Waiting<number> => this.spaces.supply.allocSlow(0, gfp);
    return new GuestBalloons([{ id, port }, ...furtherBalloons], {
      ...{ memory, scheduler, oomNotifiers, shrinkers, pageReporting, vmstat },
      ...{ linux, log, allocSlow },
    });
  }

  #newReclaim(swapBytes: number): Reclaim {
    const { compaction, kcompactd, shrinkers, spaces } = this;
    return new Reclaim({
      spaces,
      shrinkers,
      compaction,
      swapBytes,
      wakeKcompactd: (order, highestZone) => kcompactd.wakeup(order, highestZone),
      resetSkipHints: () => compaction.resetSkipHints(),
    });
  }

  /** The slow path of allocations with its steps: reclaim, the OOM notifiers and the killer. */
  #slowPath(): SlowPath {
    const { compaction, processes, reclaim, vmstat } = this;
    const outOfMemory = new OutOfMemory({
      allocator: this.memory.allocator,
      vmstat,
      notifiers: this.oomNotifiers,
      killWorst: () => processes.killWorst(),
    });
    return compaction.slowPath({
      reclaim: (order, gfp, asking) =>
        this.#reclaimsByItself
          ? reclaim.tryToFreePages({ order, gfp, asking })
          : compaction.reclaimByShrinkers(order, gfp, this.#shrink),
      mayOom: (order, gfp) => outOfMemory.mayOom(order, gfp),
    });
  }

  /** What there is to reclaim in a guest whose pages have no owners. */
  readonly #shrink = (): number => {
    this.vmstat.allocstall++;
    return this.shrinkers.shrink(0, this.vmstat);
  };

  /**
   * wakeup_kswapd. Where reclaim is left to a trace, boosts end at once, and those who do not
   * compact for themselves still leave it to kcompactd.
   */
  #wakeKswapd(order: number, gfp: number, highestZone: number): void {
    if (this.#reclaimsByItself) {
      this.reclaim.kswapd.wakeup(order, gfp, highestZone);
      return;
    }
    endBoosts(this.memory.allocator.zones, highestZone);
    if ((gfp & __GFP_DIRECT_RECLAIM) === 0) this.kcompactd.wakeup(order, gfpZone(gfp));
  }

  get regions(): readonly PfnRange[] {
    return this.memory.regions;
  }

  /** Of the first balloon device: the device itself, its driver, its driver core. */
  get device(): VirtioDevice {
    return this.balloons.first.device;
  }

  get balloon(): VirtioBalloon {
    return this.balloons.first.driver;
  }

  get core(): DriverCore {
    return this.balloons.first.core;
  }

  /** Counters of the machine: what every device tells its host. */
  get statistics(): BalloonStatistics {
    return this.balloons.first.statistics;
  }

  /** Delivers one message of the first device's host, then runs what it made ready. */
  handle(message: HostToGuest): void {
    this.balloons.first.handle(message);
  }

  /**
   * Starts an operator's action, for one device or for all (GuestBalloons); throws DriverError when
   * the driver's state forbids it.
   */
  verb(verb: DriverVerb, balloon: GuestBalloon = this.balloons.first): Task {
    const task = this.scheduler.spawn(verb, this.balloons.begin(verb, balloon));
    this.scheduler.run();
    return task;
  }

  /** Plays the requests recorded after the image that the guest booted from, from now on. */
  playTrace(events: readonly KmemEvent[]): { readonly program: TraceProgram; readonly task: Task } {
    const program = new TraceProgram(this.spaces, events);
    const process = this.processes.create('kmem-trace');
    const task = this.scheduler.spawn(process.name, runProcess(process, program.run()));
    return { program, task };
  }

  /** Starts a program of `guest/workload` as a process. */
  start(program: Program): Task {
    const process = this.processes.create(program.name);
    const prng = this.#prng.fork(`process ${process.pid}`);
    const world = { processes: this.processes, prng };
    const task = this.scheduler.spawn(program.name, startProgram(program, process, world));
    this.scheduler.run();
    return task;
  }
}
