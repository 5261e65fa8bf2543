import { BALLOON_CHANGE_PERIOD_MS } from '../../shared/limits.ts';

/** A recorded BALLOON_CHANGE; both times on the wire's clock, milliseconds. */
export interface ChangeTimes {
  /** When the recorder read it. */
  readonly arrivalMs: number;
  /** Its own time stamp: the write of `actual` it reports. */
  readonly stampMs: number;
}

/** How late QEMU's main loop runs the timer at most; what came later was read late. */
const LATENCY_MS = 20;
/** The stamp against the write it reports. */
const STAMP_JITTER_MS = 0.32;

/**
 * When QEMU's throttle timer expired, from the times of the events that came out. The monitor
 * lets a change through when it is idle and starts a timer of one second; changes meanwhile
 * replace each other, and at expiry the last one goes out and the timer starts again, or the
 * monitor is idle. So an event either arrived with an expiry (a change had waited), or was
 * stamped a while after the last expiry; then that expiry found nothing.
 *
 * An arrival is the expiry, to the recorder's delay. Where the recorder read late (it was busy
 * with the guest's console) the expiry lies earlier: at least a second before the next one, and
 * otherwise at the earliest moment possible, a second after the one before and not before the
 * event's stamp.
 */
export function throttleExpiries(events: readonly ChangeTimes[]): number[] {
  const latest = latestMoments(events);
  const expiries: number[] = [];
  let sentMs = Number.NEGATIVE_INFINITY;
  for (const [index, event] of events.entries()) {
    const dueMs = sentMs + BALLOON_CHANGE_PERIOD_MS;
    if (event.stampMs > dueMs + LATENCY_MS) {
      if (index > 0) expiries.push(dueMs);
      sentMs = event.stampMs;
      continue;
    }
    const earliestMs = Math.max(dueMs, event.stampMs + STAMP_JITTER_MS);
    sentMs = expiryOf(index, earliestMs, events, latest);
    expiries.push(sentMs);
  }
  if (events.length > 0) expiries.push(sentMs + BALLOON_CHANGE_PERIOD_MS);
  return expiries;
}

/** No later than read, and at least one period before the event after it went out. */
function latestMoments(events: readonly ChangeTimes[]): number[] {
  let nextMs = Number.POSITIVE_INFINITY;
  return events
    .map((event) => event.arrivalMs)
    .reverse()
    .map((arrivalMs) => {
      nextMs = Math.min(arrivalMs, nextMs - BALLOON_CHANGE_PERIOD_MS);
      return nextMs;
    })
    .reverse();
}

function expiryOf(
  index: number,
  earliestMs: number,
  events: readonly ChangeTimes[],
  latest: readonly number[],
): number {
  const latestMs = latest[index] ?? earliestMs;
  const arrivalMs = events[index]?.arrivalMs ?? earliestMs;
  const untilNextMs = (latest[index + 1] ?? Number.POSITIVE_INFINITY) - arrivalMs;
  const confirmed = untilNextMs <= BALLOON_CHANGE_PERIOD_MS + LATENCY_MS && latestMs === arrivalMs;
  return confirmed || latestMs - earliestMs <= LATENCY_MS ? latestMs : earliestMs;
}
