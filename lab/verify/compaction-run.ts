import type { Guest } from '../../guest/guest.ts';
import type { CompactEvents } from '../../guest/mm/move/compact-events.ts';
import { RecordedPages } from '../../guest/mm/move/recorded-pages.ts';
import type { PageAllocator } from '../../guest/mm/page/alloc.ts';
import { GFP_KERNEL } from '../../guest/mm/page/gfp.ts';
import type { FreeListDump } from '../../guest/mm/page/image.ts';
import type { RecordedFrames } from '../../guest/mm/page/page-dump.ts';
import type { KmemTrace } from '../../guest/mm/page/tracepoints.ts';
import type { Task, Waiting } from '../../guest/sched/scheduler.ts';
import type { KmemEvent } from '../../guest/workload/kmem-trace.ts';
import { DEFAULT_PROPERTIES } from '../../host/device/offer.ts';
import { QEMU_POLICY } from '../../host/device/violations.ts';
import type { WireTraceEvent } from '../../host/vmm/wire-trace.ts';
import { PAGE_SIZE } from '../../shared/lib/units.ts';
import { type HostToGuest, Op } from '../../shared/protocol/messages.ts';
import { VirtualSession } from '../virtual-session.ts';
import { MigrationFrees, RunningTask, type TaskEvent, type TaskFree } from './compaction-tasks.ts';
import type { Compactor } from './compaction-trace.ts';
import { migratedPairs } from './migrations.ts';
import {
  type BalloonTurns,
  type ReplayReport,
  replayTrace,
  type TraceStage,
} from './trace-player.ts';

/** Something that compacts, between two requests of the trace. */
export interface CompactionStep {
  readonly before: KmemEvent;
  readonly by: Compactor;
  /** What was written to nr_hugepages. */
  readonly hugePages: number;
  /** Requests of other tasks meanwhile, each when so many compaction events have come. */
  readonly meanwhile: readonly {
    readonly event: KmemEvent;
    readonly afterEvents: number;
    /** kswapd is reclaiming: per-CPU lists are kept short. */
    readonly byKswapd: boolean;
  }[];
}

/** Inputs of the checks of compaction. */
export interface CompactionInputs {
  readonly memoryBytes: number;
  readonly before: FreeListDump;
  /** What the dump does not tell of the frames in use. */
  readonly frames: RecordedFrames;
  /** PFNs in the balloon when the dump was made, oldest first. */
  readonly ballooned: readonly number[];
  /** Requests between the dumps; what compaction itself asked for is not among them. */
  readonly events: readonly KmemEvent[];
  readonly steps: readonly CompactionStep[];
  /** Pages the host asked for after the dump, one target after the other. */
  readonly targetPages: readonly number[];
}

export interface CompactionOutcome {
  readonly report: ReplayReport;
  /** Compaction and migration trace events, in order, each with the task that was running. */
  readonly events: readonly TaskEvent[];
  /** Old frames that tasks freed while they migrated, in order. */
  readonly frees: readonly TaskFree[];
  /** PFNs of huge pages for the pool; 0 where there was none to be had. */
  readonly poolPfns: readonly number[];
  /** What passed on the wire after the balloon was taken over. */
  readonly wire: readonly WireTraceEvent[];
}

/** Inputs where only the state before is known, and one thing that compacted. */
export type StepsInputs = Pick<
  CompactionInputs,
  'memoryBytes' | 'before' | 'frames' | 'ballooned'
> &
  Pick<CompactionStep, 'by' | 'hugePages'> & {
    /** Frames that the kernel took for something else before that. */
    readonly kernelPages: number;
  };

export interface StepsOutcome {
  readonly events: CompactEvents;
  /** Balloon pages that moved. */
  readonly migratedPages: number;
  /** Huge pages in the pool. */
  readonly hugePages: number;
  readonly allocator: PageAllocator;
}

const GUEST_ID = 'recorded';

/**
 * A recorded guest goes on: its memory is as in the dump, its balloon driver has the recorded
 * balloon, all requests but the driver's come from the trace, and what compacted then does so
 * now. `atDump` is called where the second dump was made; the targets after it follow.
 */
export function runCompaction(
  inputs: CompactionInputs,
  atDump: (allocator: PageAllocator) => void,
): CompactionOutcome {
  const run = new RecordedGuest(inputs);
  const report = run.play();
  atDump(run.guest.kernel.memory.allocator);
  run.finish();
  const { events, frees, poolPfns, wire } = run;
  return { report, events, frees, poolPfns, wire };
}

/** One step from a recorded state, and what kcompactd does after it. */
export function runSteps({ by, hugePages, kernelPages, ...inputs }: StepsInputs): StepsOutcome {
  const run = new RecordedGuest({ ...inputs, events: [], steps: [], targetPages: [] });
  const { kernel } = run.guest;
  const { allocator } = kernel.memory;
  for (let left = kernelPages; left > 0 && allocator.alloc(0, GFP_KERNEL) >= 0; ) left--;
  run.step({ by, hugePages, meanwhile: [] });
  if (kernel.kcompactd.wantsToCompact) run.step({ by: 'kcompactd', hugePages, meanwhile: [] });
  return {
    events: kernel.compaction.events,
    migratedPages: kernel.memory.balloons.events.balloon_migrate,
    hugePages: kernel.hugePagePool.count,
    allocator,
  };
}

class RecordedGuest implements BalloonTurns {
  readonly guest: Guest;
  readonly events: TaskEvent[] = [];
  readonly poolPfns: number[] = [];
  readonly #running = new RunningTask();
  readonly #migrationFrees = new MigrationFrees();
  readonly #inputs: CompactionInputs;
  readonly #session: VirtualSession;
  readonly #targets: number[];
  /** Acknowledgements that the trace has not come to. */
  readonly #held: (() => void)[] = [];
  #firstWireEvent = 0;

  constructor(inputs: CompactionInputs) {
    this.#inputs = inputs;
    this.#targets = [...inputs.targetPages];
    this.#session = new VirtualSession({ properties: DEFAULT_PROPERTIES, policy: QEMU_POLICY });
    this.guest = this.#session.guest({
      id: GUEST_ID,
      memoryBytes: inputs.memoryBytes,
      image: inputs.before,
      recordedFrames: inputs.frames,
      interpose: (message: HostToGuest, deliver) => {
        if (message[0] === Op.used) this.#held.push(() => deliver(message));
        else deliver(message);
      },
    });
    this.guest.start();
    this.#advance();
    this.#takeOverBalloon();
  }

  get frees(): readonly TaskFree[] {
    return this.#migrationFrees.frees;
  }

  get wire(): readonly WireTraceEvent[] {
    return this.#session.trace(GUEST_ID).slice(this.#firstWireEvent);
  }

  play(): ReplayReport {
    const { events, steps } = this.#inputs;
    const interludes = new Map(
      steps.map(({ before }) => {
        const now = steps.filter((step) => step.before === before);
        const run = (stage: TraceStage): void => {
          for (const step of now) this.#compact(step, stage);
        };
        return [before, run];
      }),
    );
    return replayTrace(this.guest.kernel.memory, events, this, interludes);
  }

  /** The driver's turn: it gets an acknowledgement it waits for, or the next target. */
  next(): { readonly allocated: number; readonly freed: number } {
    const { allocator } = this.guest.kernel.memory;
    const before = { allocated: allocator.pgalloc, freed: allocator.pgfree };
    if (!this.#acknowledge()) this.#setTarget();
    this.#advance();
    return {
      allocated: allocator.pgalloc - before.allocated,
      freed: allocator.pgfree - before.freed,
    };
  }

  /** What was recorded of these frames is over. */
  allocated(pfn: number, order: number): void {
    this.#recordedPages?.forget(pfn, 1 << order);
  }

  /** What the host asked for after the second dump. */
  finish(): void {
    this.#settle();
    while (this.#targets.length > 0) {
      this.#setTarget();
      this.#settle();
    }
  }

  #takeOverBalloon(): void {
    const { ballooned, memoryBytes } = this.#inputs;
    if (ballooned.length > 0) {
      const { kernel } = this.guest;
      this.#runToEnd(kernel.scheduler.spawn('take over', kernel.balloon.takeOver(ballooned)));
      const bytes = memoryBytes - ballooned.length * PAGE_SIZE;
      this.#session.vm(GUEST_ID).balloon?.setTargetBytes(bytes);
      this.#settle();
    }
    this.#firstWireEvent = this.#session.trace(GUEST_ID).length;
  }

  /** Something that compacts, without a trace around it. */
  step(step: Omit<CompactionStep, 'before'>): void {
    this.#compact(step, { moved: () => {}, playNow: () => {} });
  }

  #compact(step: Omit<CompactionStep, 'before'>, stage: TraceStage): void {
    const { kernel } = this.guest;
    const { allocator } = kernel.memory;
    const recordedPages = this.#recordedPages;
    const wire = this.#session.trace(GUEST_ID);
    this.#settle();
    const firstEvent = wire.length;
    if (recordedPages !== undefined) recordedPages.onMoved = (from, to) => stage.moved(from, to);
    kernel.compaction.trace.sink = this.#eventSink(step, stage);
    allocator.traceSink = this.#pageSink();
    const body = this.#running.as(step.by, this.#bodyOf(step));
    this.#runToEnd(kernel.scheduler.spawn(step.by, body));
    allocator.traceSink = undefined;
    for (const { oldPfn, newPfn } of migratedPairs(wire.slice(firstEvent))) {
      stage.moved(oldPfn, newPfn);
    }
  }

  get #recordedPages(): RecordedPages | undefined {
    const { lru } = this.guest.kernel.compaction.world;
    return lru instanceof RecordedPages ? lru : undefined;
  }

  /** kcompactd was woken at a recorded time; whether it compacts then is its own decision. */
  *#bodyOf({ by, hugePages }: Pick<CompactionStep, 'by' | 'hugePages'>): Waiting {
    const { compaction, hugePagePool, kcompactd } = this.guest.kernel;
    if (by === 'compact_memory') yield* compaction.compactMemory();
    else if (by === 'nr_hugepages') yield* hugePagePool.resize(hugePages);
    else if (kcompactd.wantsToCompact) yield* compaction.compactProactively();
  }

  /** Keeps the events, and lets other tasks' requests in where they came. */
  #eventSink(step: Pick<CompactionStep, 'meanwhile'>, stage: TraceStage): (event: string) => void {
    const meanwhile = [...step.meanwhile];
    let count = 0;
    return (event) => {
      const byTask = { task: this.#running.name, event };
      this.events.push(byTask);
      this.#migrationFrees.event(byTask);
      count++;
      while (meanwhile[0]?.afterEvents === count) {
        const request = meanwhile.shift();
        if (request !== undefined) this.#playNow(request, stage);
      }
    };
  }

  /** Another task runs: what it frees is not captured by the one that compacts. */
  #playNow({ event, byKswapd }: CompactionStep['meanwhile'][number], stage: TraceStage): void {
    const { zones } = this.guest.kernel.memory.allocator;
    const captures = zones.map((zone) => zone.capture);
    for (const zone of zones) {
      zone.reclaimActive = byKswapd;
      zone.capture = undefined;
    }
    this.#running.other(() => stage.playNow(event));
    zones.forEach((zone, index) => {
      zone.reclaimActive = false;
      zone.capture = captures[index];
    });
  }

  /** What the pool of huge pages had, and what was freed, by whoever is running. */
  #pageSink(): KmemTrace {
    const running = this.#running;
    return {
      mm_page_alloc: (pfn) => {
        if (running.name === 'nr_hugepages') this.poolPfns.push(pfn);
      },
      mm_page_free: (pfn) => this.#migrationFrees.free(running.name, pfn),
      mm_page_free_batched: () => {},
      mm_page_alloc_zone_locked: () => {},
      mm_page_pcpu_drain: () => {},
      mm_page_alloc_extfrag: () => {},
    };
  }

  #setTarget(): void {
    const { memoryBytes } = this.#inputs;
    const pages = this.#targets.shift() ?? this.guest.kernel.balloon.targetPages;
    this.#session.vm(GUEST_ID).balloon?.setTargetBytes(memoryBytes - pages * PAGE_SIZE);
  }

  #acknowledge(): boolean {
    const next = this.#held.shift();
    next?.();
    return next !== undefined;
  }

  #runToEnd(task: Task): void {
    do this.#advance();
    while (!task.ended && this.#acknowledge());
  }

  #settle(): void {
    do this.#advance();
    while (this.#acknowledge());
  }

  #advance(): void {
    this.#session.clock.advanceBy(0);
  }
}
