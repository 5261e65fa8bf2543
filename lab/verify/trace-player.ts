import type { GuestMemory } from '../../guest/mm/memory.ts';
import { __GFP_MOVABLE, GFP_BALLOON } from '../../guest/mm/page/gfp.ts';
import type { FallbackTaken, KmemTrace } from '../../guest/mm/page/tracepoints.ts';
import type { Zone } from '../../guest/mm/page/zone.ts';
import { batchedFrees, type KmemEvent, REFUSED_PFN } from '../../guest/workload/kmem-trace.ts';
import { RecordedAllocations } from '../../guest/workload/recorded-allocations.ts';

/**
 * Plays the requests of a recorded kmem trace to the emulated allocator and compares what it does
 * with what the real one did. Inputs are the requests alone: order and GFP flags of an allocation,
 * and which earlier allocation a free gives back, named by the PFN it had in the recording. All
 * other PFNs of the recording are expectations.
 */

/** How many of one kind of event were expected and came out equal, item by item. */
export interface Tally {
  readonly expected: number;
  readonly produced: number;
  readonly equal: number;
  readonly firstDifference: TraceDifference | undefined;
}

/** Numbers as the trace writes them: PFN, order, migratetype and so on. */
export interface TraceDifference {
  /** Line in the file; undefined where the recording has no more of the kind. */
  readonly line: number | undefined;
  readonly expected: readonly number[] | undefined;
  /** Empty where the emulation has no more of the kind. */
  readonly actual: readonly number[];
}

export interface ReplayReport {
  readonly allocations: Tally;
  /** Beside these those that the balloon driver made itself, where it is driven. */
  readonly driverAllocations: Tally;
  readonly zoneLocked: Tally;
  readonly drains: Tally;
  readonly fallbacks: Tally;
  /** Frees that were asked for, the batched ones at their B. */
  readonly frees: number;
  /** Of those the ones that name a frame which is not allocated: only after a difference. */
  readonly impossibleFrees: number;
  readonly firstImpossibleFree: KmemEvent | undefined;
}

/**
 * A balloon that is driven by its own driver: where the trace has the first request of a batch,
 * the driver is given its turn and makes the requests of the batch itself.
 */
export interface BalloonTurns {
  /** Lets the driver do what comes next; returns how many pages it allocated or freed. */
  next(): { readonly allocated: number; readonly freed: number };
  /** Told of every block that a request of the trace has had. */
  allocated?(pfn: number, order: number): void;
}

/**
 * Things that happen between two events of the trace and are no requests of it, by the event they
 * come before. None of the comparisons sees what they do to the allocator.
 */
export type Interludes = ReadonlyMap<KmemEvent, (stage: TraceStage) => void>;

export interface TraceStage {
  /** The page is known by its new frame from now on. */
  moved(oldPfn: number, newPfn: number): void;
  /** Plays one request, which is left out later. */
  playNow(event: KmemEvent): void;
}

/**
 * Plays `events` to a guest booted from the dump before them. With `balloon` the requests of the
 * recorded balloon driver are not played: they say when the guest's own driver has its turn.
 */
export function replayTrace(
  memory: GuestMemory,
  events: readonly KmemEvent[],
  balloon?: BalloonTurns,
  interludes: Interludes = new Map(),
): ReplayReport {
  return new TracePlayer(memory, events, balloon).play(interludes);
}

/** Compares one kind of event in the order it comes. */
class Comparison {
  readonly #expected: readonly KmemEvent[];
  #produced = 0;
  #equal = 0;
  #firstDifference: TraceDifference | undefined;

  constructor(expected: readonly KmemEvent[]) {
    this.#expected = expected;
  }

  produced(...values: readonly number[]): void {
    const expected = this.#expected[this.#produced++];
    const wanted = expected && numbersOf(expected);
    if (wanted && values.every((value, index) => value === wanted[index])) this.#equal++;
    else this.#firstDifference ??= { line: expected?.line, expected: wanted, actual: values };
  }

  tally(): Tally {
    const missing = this.#expected[this.#produced];
    const firstMissing: TraceDifference | undefined = missing && {
      line: missing.line,
      expected: numbersOf(missing),
      actual: [],
    };
    return {
      expected: this.#expected.length,
      produced: this.#produced,
      equal: this.#equal,
      firstDifference: this.#firstDifference ?? firstMissing,
    };
  }
}

function numbersOf(event: KmemEvent): number[] {
  const { pfn, order, migratetype, extra, fallbackType = 0 } = event;
  return [pfn, order, migratetype, extra, fallbackType];
}

class TracePlayer implements KmemTrace, TraceStage {
  readonly #memory: GuestMemory;
  readonly #events: readonly KmemEvent[];
  readonly #comparisons: Record<'A' | 'Z' | 'D' | 'X', Comparison>;
  readonly #driverAllocations: Comparison;
  readonly #allocations: RecordedAllocations;
  /** Frees that are part of a batch: they act at their B. */
  readonly #batched: ReadonlySet<KmemEvent>;
  readonly #batch = new Int32Array(4096);
  /** Requests that an interlude has played already. */
  readonly #played = new Set<KmemEvent>();
  /** The allocation whose refill was seen and done, but whose A is yet to come. */
  #early: KmemEvent | undefined;
  /** Index of an A, or of the end: between the refill seen last and it there is none. */
  #nextA = 0;
  /** The zone that the emulated allocator took blocks from last. */
  #lastZone: Zone;
  /** Of the allocation seen last. */
  #migratetype: number | undefined;
  #frees = 0;
  #impossibleFrees = 0;
  #firstImpossibleFree: KmemEvent | undefined;
  #kswapdRuns = false;
  readonly #balloon: BalloonTurns | undefined;
  /** Recorded PFNs that the recorded balloon holds: 1 at their index. */
  readonly #ballooned: Uint8Array;
  /** Requests of the recorded balloon that the driver's last turn has made already. */
  #ahead = { allocated: 0, freed: 0 };

  constructor(memory: GuestMemory, events: readonly KmemEvent[], balloon?: BalloonTurns) {
    this.#memory = memory;
    this.#events = events;
    this.#balloon = balloon;
    this.#ballooned = new Uint8Array(balloon === undefined ? 0 : memory.pages.pageCount);
    const isPlayed = (event: KmemEvent): boolean => !this.#isBalloonRequest(event);
    const kind = (name: KmemEvent['kind']) =>
      new Comparison(events.filter((event) => event.kind === name && isPlayed(event)));
    this.#comparisons = { A: kind('A'), Z: kind('Z'), D: kind('D'), X: kind('X') };
    this.#driverAllocations = new Comparison(events.filter((one) => this.#isBalloonRequest(one)));
    this.#allocations = new RecordedAllocations(memory.pages);
    this.#batched = batchedFrees(events);
    this.#lastZone = memory.allocator.zones[0];
  }

  play(interludes: Interludes): ReplayReport {
    this.#memory.allocator.traceSink = this;
    for (let index = 0; index < this.#events.length; index++) {
      const event = this.#events[index];
      const interlude = interludes.get(event);
      if (interlude !== undefined) {
        this.#memory.allocator.traceSink = undefined;
        interlude(this);
        this.#memory.allocator.traceSink = this;
      }
      if (this.#played.has(event)) continue;
      this.#reclaiming(event.byKswapd === true);
      if (event.kind === 'A') this.#allocationSeen(event);
      else if (event.kind === 'Z') this.#refillSeen(index);
      else if (event.kind === 'F' && !this.#batched.has(event)) this.#free(event);
      else if (event.kind === 'B') index = this.#freeBatch(index);
    }
    this.#reclaiming(false);
    this.#memory.allocator.traceSink = undefined;
    const { A, Z, D, X } = this.#comparisons;
    return {
      allocations: A.tally(),
      driverAllocations: this.#driverAllocations.tally(),
      zoneLocked: Z.tally(),
      drains: D.tally(),
      fallbacks: X.tally(),
      frees: this.#frees,
      impossibleFrees: this.#impossibleFrees,
      firstImpossibleFree: this.#firstImpossibleFree,
    };
  }

  /** ZONE_RECLAIM_ACTIVE: when it began and ended was not recorded, but what kswapd did then. */
  #reclaiming(byKswapd: boolean): void {
    if (byKswapd === this.#kswapdRuns) return;
    this.#kswapdRuns = byKswapd;
    for (const zone of this.#memory.allocator.zones) zone.reclaimActive = byKswapd;
  }

  playNow(event: KmemEvent): void {
    this.#played.add(event);
    if (event.kind === 'A') this.#allocate(event);
    else if (event.kind === 'F') this.#free(event);
  }

  /** A frame has the name it was recorded under where all is equal: its new one is its own. */
  moved(oldPfn: number, newPfn: number): void {
    if (this.#ballooned[oldPfn] === 1) {
      this.#ballooned[oldPfn] = 0;
      this.#ballooned[newPfn] = 1;
      return;
    }
    this.#allocations.moved(oldPfn, newPfn);
  }

  mm_page_alloc(pfn: number, _order: number, migratetype: number, gfp: number): void {
    this.#migratetype = migratetype;
    const byDriver = this.#balloon !== undefined && gfp === GFP_BALLOON;
    if (byDriver) this.#driverAllocations.produced(pfn);
  }

  mm_page_free(): void {}

  mm_page_free_batched(): void {}

  mm_page_alloc_zone_locked(pfn: number, order: number, type: number, refill: boolean): void {
    this.#lastZone = this.#memory.allocator.zoneOf(pfn);
    this.#comparisons.Z.produced(pfn, order, type, refill ? 1 : 0);
  }

  mm_page_pcpu_drain(pfn: number, order: number, migratetype: number): void {
    this.#comparisons.D.produced(pfn, order, migratetype);
  }

  mm_page_alloc_extfrag(taken: FallbackTaken): void {
    const { pfn, order, migratetype, fallbackOrder, fallbackMigratetype } = taken;
    this.#comparisons.X.produced(pfn, order, migratetype, fallbackOrder, fallbackMigratetype);
  }

  /**
   * A refill takes its blocks before its A; what is freed in between finds the per-CPU lock taken.
   * So the request is played at its first Z.
   */
  #refillSeen(index: number): void {
    if (this.#early !== undefined) return;
    this.#nextA = Math.max(this.#nextA, index);
    while (this.#events[this.#nextA]?.kind !== 'A' && this.#nextA < this.#events.length)
      this.#nextA++;
    this.#early = this.#events[this.#nextA];
    if (this.#early === undefined) return;
    if (this.#isBalloonRequest(this.#early)) {
      this.#balloonTurn('allocated');
      return;
    }
    this.#allocate(this.#early);
    this.#lastZone.pcp.locked = this.#events[index].extra === 1;
  }

  #allocationSeen(event: KmemEvent): void {
    if (this.#isBalloonRequest(event)) {
      if (event.pfn !== REFUSED_PFN) this.#balloonHad(event);
    } else if (this.#early !== event) this.#allocate(event);
    this.#early = undefined;
    this.#lastZone.pcp.locked = false;
  }

  #balloonHad(event: KmemEvent): void {
    if (this.#early !== event) this.#balloonTurn('allocated');
    this.#ahead.allocated--;
    this.#ballooned[event.pfn] = 1;
  }

  #allocate(event: KmemEvent): void {
    const { allocator } = this.#memory;
    this.#migratetype = undefined;
    const pfn = allocator.alloc(event.order, event.extra);
    if (pfn < 0) {
      this.#comparisons.A.produced(REFUSED_PFN);
      return;
    }
    // During an interlude nobody listens to the tracepoint.
    this.#comparisons.A.produced(pfn, event.order, this.#migratetype ?? event.migratetype);
    if (event.pfn === REFUSED_PFN) {
      allocator.free(pfn, event.order);
      return;
    }
    this.#allocations.had(event.pfn, pfn);
    this.#balloon?.allocated?.(pfn, event.order);
    // On the LRU or in the recorded balloon: both count as movable when a pageblock is taken over.
    if ((event.extra & __GFP_MOVABLE) !== 0) allocator.lruAdd(pfn, event.order);
  }

  #free(event: KmemEvent): void {
    if (this.#ballooned[event.pfn] === 1) {
      this.#ballooned[event.pfn] = 0;
      this.#balloonTurn('freed');
      this.#ahead.freed--;
      return;
    }
    const pfn = this.#frameOf(event, event.order);
    if (pfn >= 0) this.#memory.allocator.free(pfn, event.order);
  }

  #isBalloonRequest(event: KmemEvent): boolean {
    return this.#balloon !== undefined && event.kind === 'A' && event.extra === GFP_BALLOON;
  }

  /** Unless its last turn was ahead of the trace, the driver has its turn until it is. */
  #balloonTurn(what: 'allocated' | 'freed'): void {
    for (let turn = 0; this.#ahead[what] <= 0 && turn < BALLOON_TURNS_MAX; turn++) {
      const { allocated = 0, freed = 0 } = this.#balloon?.next() ?? {};
      this.#ahead.allocated += allocated;
      this.#ahead.freed += freed;
    }
  }

  /** Plays the run of B events that begins at `index`; returns the index of its last. */
  #freeBatch(index: number): number {
    let count = 0;
    let at = index;
    for (; this.#events[at]?.kind === 'B' && at - index < this.#batch.length; at++) {
      const pfn = this.#frameOf(this.#events[at], 0);
      if (pfn >= 0) this.#batch[count++] = pfn;
    }
    this.#memory.allocator.freeList(this.#batch, count);
    return at - 1;
  }

  /** The emulated frame of a recorded one; -1 for a free that cannot be played. */
  #frameOf(event: KmemEvent, order: number): number {
    const pfn = this.#allocations.take(event.pfn, order);
    this.#frees++;
    if (pfn < 0) {
      this.#impossibleFrees++;
      this.#firstImpossibleFree ??= event;
    }
    return pfn;
  }
}

/** A turn may only acknowledge, reach the target, or tell; one of a few has the requests. */
const BALLOON_TURNS_MAX = 4;
