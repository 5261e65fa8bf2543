import { PAGE_SIZE } from '../../shared/lib/units.ts';
import { balloonActual, type Conversation, conversation, setsTarget } from './exchanges.ts';
import type { Recording } from './recording.ts';
import type { ConfigSet } from './wire-lines.ts';

/**
 * Step 2 of `puff verify`: brings the two clocks of a recording together. qmp.jsonl counts from
 * the client's connection, in steps of 0.1 ms; wire.jsonl counts from QEMU's start, in
 * microseconds. One unknown constant lies between them: QMP time = wire time + offset.
 *
 * First times alone are used. The nth `balloon` that succeeded is the nth `target` on the wire,
 * logged while QEMU served the request, so its reply came no earlier; an event came no earlier
 * than its own time stamp, and a BALLOON_CHANGE is stamped within 0.32 ms of the `config-set` it
 * reports (found by value), which ties the wall clock to the wire. The shortest of these delays
 * is the first estimate, and all of them bound the offset.
 *
 * Then the recording is calibrated against itself: within those bounds the offset is chosen for
 * which the most `query-balloon` replies, and events that came on the throttle's tick, equal the
 * last `actual` on the wire at their time. This uses recorded values of both files and nothing
 * that an emulator does; the offset is a fraction of a millisecond and the same for the whole
 * recording, so it cannot hide a wrong value, it only settles which side of a write that was
 * under way a request fell on. How many replies agree is reported with the offset.
 *
 * Not modelled: a recorder whose delay changes, clocks that drift against each other.
 */
export interface Alignment {
  /** QMP time = wire time + offsetMs. */
  readonly offsetMs: number;
  /** The first estimate, from times alone. */
  readonly estimateMs: number;
  /** Where the offset can be at all, given the times. */
  readonly windowMs: readonly [low: number, high: number];
  /** Offsets around the chosen one with the same number of agreeing values. */
  readonly feasibleMs: readonly [low: number, high: number];
  /** `query-balloon` replies that equal the last `actual` on the wire. */
  readonly replies: { readonly total: number; readonly consistent: number };
  /** Wall clock = wire time + wallOffsetMs; undefined if no BALLOON_CHANGE was recorded. */
  readonly wallOffsetMs: number | undefined;
  /** Wire time at which the request with this index set its target. */
  readonly targetTimesMs: ReadonlyMap<number, number>;
}

/** Half a step of the QMP clock on either side, and what the two roundings add up to. */
const QMP_RESOLUTION_MS = 0.1;
/** BALLOON_CHANGE's stamp against the config-set it reports. */
const WALL_JITTER_MS = 0.32;
/** How far from the first estimate the offset is looked for. */
const SEARCH_MS = 2;
/** An event this close after the second following the one before came on the throttle's tick. */
const PUNCTUAL_MS = 20;

/** A value QMP gave at a time of its clock: the balloon's size in pages. */
interface Sample {
  readonly tMs: number;
  readonly pages: number;
}

/** Offsets between which nothing changes, and how many samples agree there. */
interface Span {
  low: number;
  high: number;
  readonly agreeing: number;
}

/** Computes the alignment. Pure; a recording without targets and events gets a coarse one. */
export function align(recording: Recording): Alignment {
  const talk = conversation(recording);
  const sets = recording.wire.filter((event) => event.ev === 'config-set');
  const wallOffsetMs = wallOffset(recording, talk, sets);
  const targetTimesMs = matchTargets(recording, talk);
  const bounds = offsetBounds(talk, targetTimesMs, wallOffsetMs);
  const estimateMs = bounds === undefined ? coarseOffset(recording) : bounds.estimateMs;
  const windowMs = bounds?.windowMs ?? ([estimateMs, estimateMs] as const);
  const replies = replySamples(recording, talk);
  const samples = [...replies, ...punctualEvents(recording, talk)];
  const best = bestSpan(windowMs, estimateMs, samples, sets);
  const offsetMs = (best.low + best.high) / 2;
  const consistent = agreeing(replies, sets, offsetMs);
  return {
    offsetMs,
    estimateMs,
    windowMs,
    feasibleMs: [best.low, best.high],
    replies: { total: replies.length, consistent },
    wallOffsetMs,
    targetTimesMs,
  };
}

/**
 * The wall clock's offset under which the most events fall on a write of the value they carry:
 * the middle of the densest group among all differences of a stamp and a write of that value.
 */
function wallOffset(
  { memoryBytes }: Recording,
  { events }: Conversation,
  sets: readonly ConfigSet[],
): number | undefined {
  const offsets = events.flatMap(({ event }) => {
    const actual = event.name === 'BALLOON_CHANGE' ? event.data?.actual : undefined;
    if (typeof actual !== 'number') return [];
    const pages = (memoryBytes - actual) / PAGE_SIZE;
    return sets.filter((set) => set.actual === pages).map((set) => event.wallMs - set.tMs);
  });
  offsets.sort((a, b) => a - b);
  let group: readonly [first: number, length: number] = [0, 0];
  for (let first = 0, end = 0; first < offsets.length; first++) {
    while (end < offsets.length && offsets[end] - offsets[first] <= 2 * WALL_JITTER_MS) end++;
    if (end - first > group[1]) group = [first, end - first];
  }
  return offsets.at(group[0] + (group[1] >> 1));
}

/** Pairs successful requests with targets, in order; none if the recording has them unequal. */
function matchTargets(recording: Recording, { exchanges }: Conversation): Map<number, number> {
  const targets = recording.wire.filter((event) => event.ev === 'target');
  const requests = exchanges.flatMap((exchange, index) => (setsTarget(exchange) ? [index] : []));
  if (targets.length !== requests.length) return new Map();
  return new Map(requests.map((request, index) => [request, targets[index].tMs]));
}

interface Bounds {
  readonly estimateMs: number;
  readonly windowMs: readonly [low: number, high: number];
}

function offsetBounds(
  { exchanges, events }: Conversation,
  targets: ReadonlyMap<number, number>,
  wallOffsetMs: number | undefined,
): Bounds | undefined {
  const atLeast: number[] = [];
  const atMost: number[] = [];
  for (const [index, targetMs] of targets) {
    const { request, replies } = exchanges[index];
    atLeast.push(request.tMs - targetMs);
    atMost.push(replies[0].tMs - targetMs);
  }
  for (const { event } of events) {
    if (wallOffsetMs !== undefined) atMost.push(event.tMs - (event.wallMs - wallOffsetMs));
  }
  if (atMost.length === 0) return undefined;
  const estimateMs = atMost.reduce((least, ms) => Math.min(least, ms));
  const low = atLeast.reduce(
    (most, ms) => Math.max(most, ms - QMP_RESOLUTION_MS),
    estimateMs - SEARCH_MS,
  );
  return { estimateMs, windowMs: [Math.min(low, estimateMs), estimateMs + QMP_RESOLUTION_MS] };
}

/**
 * Without targets and events nothing ties the clocks and nothing depends on them: the client is
 * taken to connect when the driver had set DRIVER_OK (bit 2).
 */
function coarseOffset({ qmp, wire }: Recording): number {
  const ready = wire.find((event) => event.ev === 'status' && (event.val & 4) !== 0);
  return qmp[0].tMs - (ready?.tMs ?? 0);
}

function replySamples({ memoryBytes }: Recording, { exchanges }: Conversation): Sample[] {
  return exchanges.flatMap(({ replies }) =>
    replies.flatMap(({ tMs, message }) => {
      const actual = balloonActual(message);
      return actual === undefined ? [] : [{ tMs, pages: (memoryBytes - actual) / PAGE_SIZE }];
    }),
  );
}

/** Delayed events carry the value at their arrival, if the recorder was there to read them. */
function punctualEvents({ memoryBytes }: Recording, { events }: Conversation): Sample[] {
  const changes = events.filter(({ event }) => event.name === 'BALLOON_CHANGE');
  return changes.flatMap(({ event }, index) => {
    const sinceMs = event.tMs - (changes[index - 1]?.event.tMs ?? event.tMs);
    const actual = event.data?.actual;
    const punctual = sinceMs >= 1000 - QMP_RESOLUTION_MS && sinceMs <= 1000 + PUNCTUAL_MS;
    if (!punctual || typeof actual !== 'number') return [];
    return [{ tMs: event.tMs, pages: (memoryBytes - actual) / PAGE_SIZE }];
  });
}

/** Of the spans with the most agreeing samples the one nearest to the estimate. */
function bestSpan(
  [low, high]: readonly [number, number],
  estimateMs: number,
  samples: readonly Sample[],
  sets: readonly ConfigSet[],
): Span {
  const edges = new Set([low, high]);
  for (const { tMs } of samples) {
    for (let index = lastAt(sets, tMs - low); index >= 0; index--) {
      const edge = tMs - sets[index].tMs;
      if (edge >= high) break;
      edges.add(edge);
    }
  }
  const sorted = [...edges].sort((a, b) => a - b);
  const spans: Span[] = [];
  for (const [index, start] of sorted.entries()) {
    const end = sorted[index + 1] ?? high;
    const count = agreeing(samples, sets, (start + end) / 2);
    const previous = spans.at(-1);
    if (previous?.agreeing === count) previous.high = end;
    else spans.push({ low: start, high: end, agreeing: count });
  }
  const most = spans.reduce((count, span) => Math.max(count, span.agreeing), 0);
  const distance = (span: Span): number =>
    Math.max(span.low - estimateMs, estimateMs - span.high, 0);
  const best = spans.filter((span) => span.agreeing === most);
  return best.reduce((a, b) => (distance(b) < distance(a) ? b : a));
}

function agreeing(
  samples: readonly Sample[],
  sets: readonly ConfigSet[],
  offsetMs: number,
): number {
  return samples.filter((sample) => {
    const index = lastAt(sets, sample.tMs - offsetMs);
    return sample.pages === (index < 0 ? 0 : sets[index].actual);
  }).length;
}

/** Index of the last write at or before a wire time, -1 before the first. */
function lastAt(sets: readonly ConfigSet[], tMs: number): number {
  let low = 0;
  let high = sets.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sets[middle].tMs <= tMs) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
