import { readdirSync, readFileSync } from 'node:fs';
import { type IntervalHistogram, monitorEventLoopDelay } from 'node:perf_hooks';
import { getHeapStatistics } from 'node:v8';

/** How much of a limit is in use. */
export interface LimitUse {
  readonly now: number;
  readonly max: number;
}

/** How a host process is, as GET /health and the control channel tell it. */
export interface HostHealth {
  readonly status: 'ok';
  readonly uptimeSeconds: number;
  /** How late the event loop came to its work since it was last asked; milliseconds. */
  readonly eventLoopDelayMs: { readonly mean: number; readonly p99: number; readonly max: number };
  readonly memory: {
    readonly heapBytes: number;
    /** Beyond it the process ends: node's --max-old-space-size. */
    readonly heapLimitBytes: number;
    readonly residentBytes: number;
  };
  /** Limits that peers can fill, by name. */
  readonly limits: Readonly<Record<string, LimitUse>>;
}

const RESOLUTION_MS = 20;
const NS_PER_MS = 1e6;

/** Watches the event loop of this process. Impure: real timers, /proc. */
export class HealthMeter {
  readonly #delay: IntervalHistogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });

  constructor() {
    this.#delay.enable();
  }

  stop(): void {
    this.#delay.disable();
  }

  look(limits: Readonly<Record<string, LimitUse>>): HostHealth {
    const { heap_size_limit: heapLimitBytes, used_heap_size: heapBytes } = getHeapStatistics();
    return {
      status: 'ok',
      uptimeSeconds: Math.round(process.uptime()),
      eventLoopDelayMs: this.#takeDelay(),
      memory: { heapBytes, heapLimitBytes, residentBytes: process.memoryUsage.rss() },
      limits: { ...limits, ...openFiles() },
    };
  }

  /** The histogram's values are times between two looks, so they hold the resolution as well. */
  #takeDelay(): HostHealth['eventLoopDelayMs'] {
    const delay = this.#delay;
    const ms = (ns: number): number => {
      const late = delay.count === 0 ? 0 : Math.max(0, ns / NS_PER_MS - RESOLUTION_MS);
      return Math.round(late * 1000) / 1000;
    };
    const taken = { mean: ms(delay.mean), p99: ms(delay.percentile(99)), max: ms(delay.max) };
    delay.reset();
    return taken;
  }
}

/** Descriptors of this process, where the system tells: each connection takes one. */
function openFiles(): Record<string, LimitUse> {
  try {
    const [, max] = /^Max open files +(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8')) ?? [];
    if (max === undefined) return {};
    return { openFiles: { now: readdirSync('/proc/self/fd').length, max: Number(max) } };
  } catch {
    return {};
  }
}
