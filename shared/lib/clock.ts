/**
 * Time as an argument. Nothing below the impure files (see docs/ARCHITECTURE.md) reads the
 * machine's clock: it gets a `Clock`. The shape of setTimeout/clearTimeout is what xstate's actors
 * accept as their clock, so state machines with delays run on virtual time as well.
 */
export interface Clock {
  /** Milliseconds since some start, never going back; fractions allowed. */
  now(): number;
  /** Wall-clock milliseconds since the epoch, for time stamps in events and statistics. */
  wallMs(): number;
  /** Runs `callback` once after `delayMs`; returns a handle for clearTimeout. */
  setTimeout(callback: () => void, delayMs: number): unknown;
  clearTimeout(handle: unknown): void;
}

interface Alarm {
  readonly dueMs: number;
  readonly order: number;
  /** Undefined once it ran or was cancelled. */
  callback: (() => void) | undefined;
}

/**
 * Time that moves only when told. Alarms run in order of due time, then of creation, so a run is
 * a function of its inputs. An alarm set while alarms run is taken into account in the same call.
 */
export class VirtualClock implements Clock {
  #nowMs = 0;
  #order = 0;
  readonly #wallStartMs: number;
  /** A binary heap on (dueMs, order); cancelled alarms are dropped when they surface. */
  readonly #heap: Alarm[] = [];

  constructor(wallStartMs = 0) {
    this.#wallStartMs = wallStartMs;
  }

  now(): number {
    return this.#nowMs;
  }

  wallMs(): number {
    return this.#wallStartMs + this.#nowMs;
  }

  setTimeout(callback: () => void, delayMs: number): unknown {
    const alarm = { dueMs: this.#nowMs + Math.max(0, delayMs), order: this.#order++, callback };
    this.#push(alarm);
    return alarm;
  }

  clearTimeout(handle: unknown): void {
    if (handle !== undefined) (handle as Alarm).callback = undefined;
  }

  /** Due time of the next alarm, or undefined when nothing is set. */
  nextDueMs(): number | undefined {
    this.#dropCancelled();
    return this.#heap[0]?.dueMs;
  }

  /** Runs every alarm due up to and including `timeMs`, then stands at `timeMs`. */
  advanceTo(timeMs: number): void {
    for (;;) {
      this.#dropCancelled();
      const alarm = this.#heap[0];
      if (alarm === undefined || alarm.dueMs > timeMs) break;
      this.#pop();
      this.#nowMs = Math.max(this.#nowMs, alarm.dueMs);
      const { callback } = alarm;
      alarm.callback = undefined;
      callback?.();
    }
    this.#nowMs = Math.max(this.#nowMs, timeMs);
  }

  advanceBy(deltaMs: number): void {
    this.advanceTo(this.#nowMs + deltaMs);
  }

  #dropCancelled(): void {
    while (this.#heap.length > 0 && this.#heap[0]?.callback === undefined) this.#pop();
  }

  #push(alarm: Alarm): void {
    const heap = this.#heap;
    let index = heap.push(alarm) - 1;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (!this.#before(index, parent)) break;
      this.#swap(index, parent);
      index = parent;
    }
  }

  #pop(): void {
    const heap = this.#heap;
    this.#swap(0, heap.length - 1);
    heap.pop();
    for (let index = 0; ; ) {
      const left = 2 * index + 1;
      const right = left + 1;
      let least = index;
      if (left < heap.length && this.#before(left, least)) least = left;
      if (right < heap.length && this.#before(right, least)) least = right;
      if (least === index) return;
      this.#swap(index, least);
      index = least;
    }
  }

  #before(a: number, b: number): boolean {
    const first = this.#heap[a] as Alarm;
    const second = this.#heap[b] as Alarm;
    return (
      first.dueMs < second.dueMs || (first.dueMs === second.dueMs && first.order < second.order)
    );
  }

  #swap(a: number, b: number): void {
    const heap = this.#heap;
    const kept = heap[a] as Alarm;
    heap[a] = heap[b] as Alarm;
    heap[b] = kept;
  }
}
