import { GFP_BALLOON } from '../mm/page/gfp.ts';
import type { Spaces } from '../mm/space/spaces.ts';
import type { Waiting } from '../sched/scheduler.ts';
import { batchedFrees, type KmemEvent, REFUSED_PFN } from './kmem-trace.ts';
import { PAGES_PER_STEP } from './process.ts';
import { RecordedAllocations } from './recorded-allocations.ts';

/** What came of the requests of a trace. */
export interface TraceReport {
  readonly allocations: number;
  /** Of those the ones that had the recorded frame. */
  readonly sameFrames: number;
  /** Allocations that there was no memory for. */
  readonly failed: number;
  readonly frees: number;
  /** Frees that name nothing that is allocated here: what they would free had failed. */
  readonly impossibleFrees: number;
}

/**
 * Plays the requests of a recorded `kmem-trace` in a guest that booted from the dump before them,
 * beside everything else that the guest does and as fast as it can. The recorded balloon's requests
 * are left out: the guest has a balloon of its own. What is allocated at the end stays so, as its
 * recorded owners live on.
 *
 * Not emulated: who the owners are and what they wrote. All of it is the kernel's, and nothing
 * moves or reclaims it; the times between the requests, which were not recorded; the per-CPU lock
 * that a refill holds (lab/verify plays that).
 */
export class TraceProgram {
  readonly #spaces: Spaces;
  readonly #events: readonly KmemEvent[];
  readonly #allocations: RecordedAllocations;
  /** Recorded frames of the recorded balloon. */
  readonly #ballooned = new Set<number>();
  readonly #report = {
    ...{ allocations: 0, sameFrames: 0, failed: 0 },
    ...{ frees: 0, impossibleFrees: 0 },
  };
  readonly #batch: number[] = [];

  /** To be made when the guest has booted and before anything asked it for memory. */
  constructor(spaces: Spaces, events: readonly KmemEvent[]) {
    this.#spaces = spaces;
    this.#events = events;
    this.#allocations = new RecordedAllocations(spaces.allocator.pages);
  }

  get report(): TraceReport {
    return this.#report;
  }

  /** Plays every request; a free of a batch waits for the batch, as in the kernel. */
  *run(): Waiting {
    const batched = batchedFrees(this.#events);
    for (const [index, event] of this.#events.entries()) {
      if (event.kind !== 'B') this.#freeBatch();
      if (event.kind === 'A') yield* this.#allocate(event);
      else if (event.kind === 'B') this.#addToBatch(event);
      else if (event.kind === 'F' && !batched.has(event)) this.#free(event);
      if (index % PAGES_PER_STEP === PAGES_PER_STEP - 1) yield 0;
    }
    this.#freeBatch();
  }

  *#allocate(event: KmemEvent): Waiting {
    if (event.extra === GFP_BALLOON) {
      if (event.pfn !== REFUSED_PFN) this.#ballooned.add(event.pfn);
      return;
    }
    this.#report.allocations++;
    const pfn = yield* this.#spaces.supply.allocPages(event.order, event.extra);
    if (pfn < 0) {
      this.#report.failed++;
      return;
    }
    if (event.pfn === REFUSED_PFN) {
      // Nobody has it in the recording, so that nobody would free it.
      this.#spaces.allocator.free(pfn, event.order);
      return;
    }
    if (pfn === event.pfn) this.#report.sameFrames++;
    this.#allocations.had(event.pfn, pfn);
  }

  #free(event: KmemEvent): void {
    const pfn = this.#take(event);
    if (pfn >= 0) this.#spaces.allocator.free(pfn, event.order);
  }

  #addToBatch(event: KmemEvent): void {
    const pfn = this.#take(event);
    if (pfn >= 0) this.#batch.push(pfn);
  }

  #freeBatch(): void {
    if (this.#batch.length === 0) return;
    const pfns = Int32Array.from(this.#batch.splice(0));
    this.#spaces.allocator.freeList(pfns, pfns.length);
  }

  /** The block that a free gives back; -1 for the balloon's and for what is not there. */
  #take({ pfn: recordedPfn, order }: KmemEvent): number {
    if (this.#ballooned.delete(recordedPfn)) return -1;
    this.#report.frees++;
    const pfn = this.#allocations.take(recordedPfn, order);
    if (pfn < 0) this.#report.impossibleFrees++;
    return pfn;
  }
}
