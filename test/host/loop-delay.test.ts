import { beforeEach, expect, it } from 'vitest';
import { LoopDelayMeter } from '../../host/loop-delay.ts';
import type { Clock } from '../../shared/lib/clock.ts';

/** A loop that comes to its only alarm as late as a test says. */
class LateClock implements Clock {
  #nowMs = 0;
  #alarm: { dueMs: number; callback: () => void } | undefined;

  now(): number {
    return this.#nowMs;
  }

  wallMs(): number {
    return this.#nowMs;
  }

  setTimeout(callback: () => void, delayMs: number): unknown {
    this.#alarm = { dueMs: this.#nowMs + delayMs, callback };
    return this.#alarm;
  }

  clearTimeout(handle: unknown): void {
    if (handle === this.#alarm) this.#alarm = undefined;
  }

  get isArmed(): boolean {
    return this.#alarm !== undefined;
  }

  turn(lateMs: number): void {
    const alarm = this.#alarm;
    if (alarm === undefined) return;
    this.#nowMs = alarm.dueMs + lateMs;
    alarm.callback();
  }
}

let clock: LateClock;
let meter: LoopDelayMeter;
beforeEach(() => {
  clock = new LateClock();
  meter = new LoopDelayMeter(clock);
});

it('is nothing before the first look', () => {
  expect(meter.look()).toEqual({ mean: 0, p99: 0, max: 0 });
});

it('is how late alarms came: their mean, the 99th percentile and the worst', () => {
  for (let count = 0; count < 98; count++) clock.turn(1);
  clock.turn(50);
  clock.turn(250);
  expect(meter.look()).toEqual({ mean: 3.98, p99: 50, max: 250 });
  expect(meter.look().max).toBe(250);
});

it('forgets what is more than a minute ago', () => {
  clock.turn(400);
  for (let count = 0; count < 1199; count++) clock.turn(0);
  expect(meter.look().max).toBe(400);
  clock.turn(0);
  expect(meter.look().max).toBe(0);
});

it('counts an alarm that came early as one in time', () => {
  clock.turn(-0.4);
  expect(meter.look()).toEqual({ mean: 0, p99: 0, max: 0 });
});

it('stops', () => {
  meter.stop();
  expect(clock.isArmed).toBe(false);
});
