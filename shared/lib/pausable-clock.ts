import type { Clock } from './clock.ts';

interface Alarm {
  readonly dueMs: number;
  readonly callback: () => void;
  handle: unknown;
}

/**
 * A clock that can stand still: QEMU's virtual clock, seen by everything that belongs to a paused
 * machine. `wallMs` goes on, because the world does. Alarms that were due while it stood run after
 * `resume` with the time that was left to them.
 */
export class PausableClock implements Clock {
  readonly #base: Clock;
  /** base time minus our time, while running. */
  #offsetMs: number;
  #stoppedAtMs: number | undefined;
  /** Made with the first alarm: most machines of a host never set one. */
  #alarms: Set<Alarm> | undefined;

  constructor(base: Clock) {
    this.#base = base;
    this.#offsetMs = base.now();
  }

  get paused(): boolean {
    return this.#stoppedAtMs !== undefined;
  }

  now(): number {
    return this.#stoppedAtMs ?? this.#base.now() - this.#offsetMs;
  }

  wallMs(): number {
    return this.#base.wallMs();
  }

  setTimeout(callback: () => void, delayMs: number): unknown {
    const alarm: Alarm = { dueMs: this.now() + Math.max(0, delayMs), callback, handle: undefined };
    this.#alarms ??= new Set();
    this.#alarms.add(alarm);
    if (!this.paused) this.#arm(alarm);
    return alarm;
  }

  clearTimeout(handle: unknown): void {
    const alarm = handle as Alarm | undefined;
    if (alarm === undefined || !this.#alarms?.delete(alarm)) return;
    this.#base.clearTimeout(alarm.handle);
  }

  pause(): void {
    if (this.paused) return;
    this.#stoppedAtMs = this.now();
    for (const alarm of this.#alarms ?? []) this.#base.clearTimeout(alarm.handle);
  }

  resume(): void {
    if (this.#stoppedAtMs === undefined) return;
    this.#offsetMs = this.#base.now() - this.#stoppedAtMs;
    this.#stoppedAtMs = undefined;
    for (const alarm of this.#alarms ?? []) this.#arm(alarm);
  }

  #arm(alarm: Alarm): void {
    alarm.handle = this.#base.setTimeout(() => {
      this.#alarms?.delete(alarm);
      alarm.callback();
    }, alarm.dueMs - this.now());
  }
}
