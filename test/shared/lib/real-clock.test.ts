import { describe, expect, it } from 'vitest';
import { RealClock } from '../../../shared/lib/real-clock.ts';

describe('the clock of the machine', () => {
  it('tells time that does not go back, and the wall clock', () => {
    const clock = new RealClock();
    const before = clock.now();
    const wallMs = clock.wallMs();
    expect(clock.now()).toBeGreaterThanOrEqual(before);
    expect(Math.abs(wallMs - Date.now())).toBeLessThan(60_000);
  });

  it.each([0, -1, 1])('runs a callback once after %i ms, and not at once', async (delayMs) => {
    const clock = new RealClock();
    let runs = 0;
    await new Promise<void>((resolve) => {
      clock.setTimeout(() => {
        runs++;
        resolve();
      }, delayMs);
      expect(runs).toBe(0);
    });
    expect(runs).toBe(1);
  });

  it('cancels both kinds of handle', async () => {
    const clock = new RealClock();
    const ran: string[] = [];
    clock.clearTimeout(clock.setTimeout(() => ran.push('immediate'), 0));
    clock.clearTimeout(clock.setTimeout(() => ran.push('timer'), 1));
    clock.clearTimeout(undefined);
    await new Promise<void>((resolve) => clock.setTimeout(resolve, 2));
    await new Promise<void>((resolve) => clock.setTimeout(resolve, 0));
    expect(ran).toEqual([]);
  });
});
