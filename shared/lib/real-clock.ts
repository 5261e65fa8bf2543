import { performance } from 'node:perf_hooks';
import type { Clock } from './clock.ts';

/** The machine's clock. Only impure files construct it; a zero delay goes through setImmediate. */
export class RealClock implements Clock {
  now(): number {
    return performance.now();
  }

  wallMs(): number {
    return performance.timeOrigin + performance.now();
  }

  setTimeout(callback: () => void, delayMs: number): unknown {
    return delayMs <= 0 ? setImmediate(callback) : setTimeout(callback, delayMs);
  }

  clearTimeout(handle: unknown): void {
    // One kind of handle is enough to tell apart: Immediate objects have no `refresh`.
    const timer = handle as NodeJS.Timeout | NodeJS.Immediate | undefined;
    if (timer === undefined) return;
    if ('refresh' in timer) clearTimeout(timer);
    else clearImmediate(timer);
  }
}
