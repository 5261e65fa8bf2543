import type { GuestMemory } from '../../guest/mm/memory.ts';
import {
  __GFP_MOVABLE,
  __GFP_NOMEMALLOC,
  GFP_BALLOON,
  GFP_NAMES,
} from '../../guest/mm/page/gfp.ts';
import { adoptAllocation } from '../../guest/mm/page/image.ts';
import { PAGE_STATE } from '../../guest/mm/page/page-lifecycle.ts';
import type { FallbackTaken, KmemTrace } from '../../guest/mm/page/tracepoints.ts';
import type { Zone } from '../../guest/mm/page/zone.ts';

/**
 * Plays the requests of a recorded kmem trace to the emulated allocator and compares what it does
 * with what the real one did. Inputs are the requests alone: order and GFP flags of an allocation,
 * and which earlier allocation a free gives back, named by the PFN it had in the recording. All
 * other PFNs of the recording are expectations.
 */

/** A line of the trace: A, F and B are requests, A's PFN, Z, D and X are what came of them. */
export interface KmemEvent {
  readonly kind: 'A' | 'F' | 'B' | 'Z' | 'D' | 'X';
  readonly pfn: number;
  readonly order: number;
  /** Of A, Z and D; 0 else. */
  readonly migratetype: number;
  /** Of A: GFP flags. Of Z: 1 for a per-CPU refill. Of X: the fallback's order. 0 else. */
  readonly extra: number;
  /** Line in the file, from 1. */
  readonly line: number;
}

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
  readonly actual: readonly number[];
}

export interface ReplayReport {
  readonly allocations: Tally;
  /** Beside these those that the balloon driver made itself, where it is driven. */
  readonly driverAllocations: Tally;
  readonly zoneLocked: Tally;
  readonly drains: Tally;
  readonly fallbacks: Tally;
  /** Frees that name a frame which is not allocated: only after a difference. */
  readonly impossibleFrees: number;
}

/** A trace that cannot be read; the message names the line. */
export class UnusableTrace extends Error {
  override readonly name = 'UnusableTrace';
}

/** Numbers that a line of each kind has. */
const FIELD_COUNTS: Readonly<Record<string, number>> = { A: 3, F: 2, B: 1, Z: 4, D: 3 };

const MARKER = /tracing_mark_write: DUMP-(before|after)/;
const FALLBACK =
  /^pfn=0x([0-9a-f]+) alloc_order=(\d+) fallback_order=(\d+) .*alloc_migratetype=(\d+)/;

/** Reads what lies between the two dumps. Throws UnusableTrace. */
export function parseKmemTrace(text: string): KmemEvent[] {
  const events: KmemEvent[] = [];
  let between = false;
  let line = 0;
  for (const content of text.split('\n')) {
    line++;
    const fields = content.split(' ');
    if (fields[1] === '>') {
      const marker = MARKER.exec(content)?.[1];
      if (marker !== undefined) between = marker === 'before';
    } else if (between) {
      const event = parseFields(fields, line);
      if (event !== undefined) events.push(event);
    }
  }
  return events;
}

/** Fields of a line: task, kind, then what the kind has. Kinds nobody compares are left out. */
function parseFields(fields: readonly string[], line: number): KmemEvent | undefined {
  const kind = fields[1];
  if (kind === 'X') return parseFallback(fields.slice(2).join(' '), line);
  const count = FIELD_COUNTS[kind];
  if (count === undefined) return undefined;
  const numbers = fields.slice(2, 2 + count).map(Number);
  const usable = numbers.length === count && numbers.every((value) => value >= 0);
  if (!usable) throw new UnusableTrace(`line ${line}: ${fields.join(' ')}`);
  const [pfn, order = 0, migratetype = 0, refill = 0] = numbers;
  const extra = kind === 'A' ? parseGfp(fields[5] ?? '', line) : refill;
  return { kind: kind as KmemEvent['kind'], pfn, order, migratetype, extra, line };
}

function parseFallback(text: string, line: number): KmemEvent {
  const match = FALLBACK.exec(text);
  if (match === null) throw new UnusableTrace(`line ${line}: ${text}`);
  const [pfn, order, extra, migratetype] = match.slice(1);
  return {
    kind: 'X',
    pfn: Number.parseInt(pfn, 16),
    order: Number(order),
    migratetype: Number(migratetype),
    extra: Number(extra),
    line,
  };
}

function parseGfp(text: string, line: number): number {
  let flags = 0;
  for (const name of text.split('|')) {
    const flag = GFP_NAMES[name];
    if (flag === undefined) throw new UnusableTrace(`line ${line}: unknown GFP flag ${name}`);
    flags |= flag;
  }
  return flags;
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
    const wanted = expected && [expected.pfn, expected.order, expected.migratetype, expected.extra];
    if (wanted && values.every((value, index) => value === wanted[index])) this.#equal++;
    else this.#firstDifference ??= { line: expected?.line, expected: wanted, actual: values };
  }

  tally(): Tally {
    return {
      expected: this.#expected.length,
      produced: this.#produced,
      equal: this.#equal,
      firstDifference: this.#firstDifference,
    };
  }
}

class TracePlayer implements KmemTrace, TraceStage {
  readonly #memory: GuestMemory;
  readonly #events: readonly KmemEvent[];
  readonly #comparisons: Record<'A' | 'Z' | 'D' | 'X', Comparison>;
  readonly #driverAllocations: Comparison;
  /** Emulated PFN + 1 of an allocation that is live, by its recorded PFN. */
  readonly #live: Int32Array;
  /** Frees that are part of a batch: they act at their B. */
  readonly #batched: Set<KmemEvent>;
  readonly #batch = new Int32Array(4096);
  /** Requests that an interlude has played already. */
  readonly #played = new Set<KmemEvent>();
  /** The allocation whose refill was seen and done, but whose A is yet to come. */
  #early: KmemEvent | undefined;
  /** The zone that the emulated allocator took blocks from last. */
  #lastZone: Zone;
  #impossibleFrees = 0;
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
    this.#live = new Int32Array(memory.pages.pageCount);
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
      if (event.kind === 'A') this.#allocationSeen(event);
      else if (event.kind === 'Z') this.#refillSeen(index);
      else if (event.kind === 'F' && !this.#batched.has(event)) this.#free(event);
      else if (event.kind === 'B') index = this.#freeBatch(index);
    }
    this.#memory.allocator.traceSink = undefined;
    const { A, Z, D, X } = this.#comparisons;
    return {
      allocations: A.tally(),
      driverAllocations: this.#driverAllocations.tally(),
      zoneLocked: Z.tally(),
      drains: D.tally(),
      fallbacks: X.tally(),
      impossibleFrees: this.#impossibleFrees,
    };
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
    if (this.#live[oldPfn] === oldPfn + 1) this.#live[oldPfn] = 0;
    this.#live[newPfn] = newPfn + 1;
  }

  mm_page_alloc(pfn: number, _order: number, _migratetype: number, gfp: number): void {
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
    this.#comparisons.X.produced(taken.pfn, taken.order, taken.migratetype, taken.fallbackOrder);
  }

  /**
   * A refill takes its blocks before its A; what is freed in between finds the per-CPU lock taken.
   * So the request is played at its first Z.
   */
  #refillSeen(index: number): void {
    if (this.#early !== undefined) return;
    let at = index;
    while (at < this.#events.length && this.#events[at].kind !== 'A') at++;
    if (at === this.#events.length) return;
    this.#early = this.#events[at];
    if (this.#isBalloonRequest(this.#early)) {
      this.#balloonTurn('allocated');
      return;
    }
    this.#allocate(this.#early);
    this.#lastZone.pcp.locked = this.#events[index].extra === 1;
  }

  #allocationSeen(event: KmemEvent): void {
    if (this.#isBalloonRequest(event)) {
      if (this.#early !== event) this.#balloonTurn('allocated');
      this.#ahead.allocated--;
      this.#ballooned[event.pfn] = 1;
    } else if (this.#early !== event) this.#allocate(event);
    this.#early = undefined;
    this.#lastZone.pcp.locked = false;
  }

  #allocate(event: KmemEvent): void {
    const { allocator } = this.#memory;
    const pfn = allocator.alloc(event.order, event.extra);
    this.#comparisons.A.produced(pfn);
    if (pfn < 0) return;
    this.#live[event.pfn] = pfn + 1;
    this.#balloon?.allocated?.(pfn, event.order);
    const movable = (event.extra & __GFP_MOVABLE) !== 0 && (event.extra & __GFP_NOMEMALLOC) === 0;
    if (movable) allocator.lruAdd(pfn, event.order);
  }

  #free(event: KmemEvent): void {
    if (this.#ballooned[event.pfn] === 1) {
      this.#ballooned[event.pfn] = 0;
      this.#balloonTurn('freed');
      this.#ahead.freed--;
      return;
    }
    const pfn = this.#frameOf(event.pfn, event.order);
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
      const pfn = this.#frameOf(this.#events[at].pfn, 0);
      if (pfn >= 0) this.#batch[count++] = pfn;
    }
    this.#memory.allocator.freeList(this.#batch, count);
    return at - 1;
  }

  /**
   * The emulated frame of a recorded one; what was allocated before the trace is where it was.
   * After a difference the frame may be anyone's: -1, and the free is not played.
   */
  #frameOf(recordedPfn: number, order: number): number {
    const { pages } = this.#memory;
    const known = this.#live[recordedPfn] - 1;
    this.#live[recordedPfn] = 0;
    if (known >= 0 && pages.allocOrder(known) === order) return known;
    const state = pages.states.stateOf(recordedPfn);
    if (known < 0 && (state === PAGE_STATE.allocated || state === PAGE_STATE.lru)) {
      adoptAllocation(pages, recordedPfn, order);
      return recordedPfn;
    }
    this.#impossibleFrees++;
    return -1;
  }
}

/** A turn may only acknowledge, reach the target, or tell; one of a few has the requests. */
const BALLOON_TURNS_MAX = 4;

/** Every B belongs to the last F of its page. */
function batchedFrees(events: readonly KmemEvent[]): Set<KmemEvent> {
  const batched = new Set<KmemEvent>();
  const lastFree = new Map<number, KmemEvent>();
  for (const event of events) {
    if (event.kind === 'F') lastFree.set(event.pfn, event);
    const free = event.kind === 'B' ? lastFree.get(event.pfn) : undefined;
    if (free !== undefined) batched.add(free);
  }
  return batched;
}
