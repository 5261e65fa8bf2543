import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  HZ,
  msecsToJiffies,
  msleepMs,
  timerGranularityMs,
  timerWaitMs,
} from '../../../guest/sched/jiffies.ts';

const instant = fc.double({ min: 0, max: 1e9, noNaN: true });

describe('a timer of the kernel', () => {
  it('is never early, and late by at most one bucket of its level', () => {
    fc.assert(
      fc.property(instant, fc.integer({ min: 1, max: 4000 }), (nowMs, jiffies) => {
        const lateMs = timerWaitMs(nowMs, jiffies) - (jiffies * 1000) / HZ;
        expect(lateMs).toBeGreaterThan(-1e-3);
        expect(lateMs).toBeLessThanOrEqual(timerGranularityMs(jiffies));
      }),
    );
  });

  it.each([
    [62, 4],
    [63, 32],
    [503, 32],
    [504, 256],
  ])('of %i ticks is on a level of %i ms', (jiffies, granularityMs) => {
    expect(timerGranularityMs(jiffies)).toBe(granularityMs);
  });

  it('of 2 * HZ expires as recorded: 2,015 and 2,025 ms are possible', () => {
    const waits = Array.from({ length: 32 }, (_, phaseMs) => timerWaitMs(phaseMs, 2 * HZ));
    expect(Math.min(...waits)).toBeLessThan(2015);
    expect(Math.max(...waits)).toBeGreaterThan(2025);
  });
});

describe('msleep', () => {
  it('sleeps a tick more than asked for, up to the next one: 204 to 208 ms for 200', () => {
    fc.assert(
      fc.property(instant, (nowMs) => {
        const sleptMs = msleepMs(nowMs, 200);
        expect(sleptMs).toBeGreaterThan(204 - 1e-3);
        expect(sleptMs).toBeLessThanOrEqual(208);
      }),
    );
  });

  it('again and again has the recorded period of 208 ms', () => {
    let nowMs = 17.3;
    const wakes = Array.from({ length: 4 }, () => {
      nowMs += msleepMs(nowMs, 200);
      return nowMs;
    });
    expect(wakes.map((wakeMs) => wakeMs - wakes[0])).toEqual([0, 208, 416, 624]);
  });

  it('counts whole ticks', () => {
    expect([1, 4, 5, 200].map(msecsToJiffies)).toEqual([1, 1, 2, 50]);
  });
});
