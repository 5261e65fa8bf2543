import { readdirSync, readFileSync } from 'node:fs';
import { getHeapStatistics } from 'node:v8';
import type { LoopDelay } from './loop-delay.ts';

/** How much of a limit is in use. */
export interface LimitUse {
  readonly now: number;
  readonly max: number;
}

/** How a host process is, as GET /health and the control channel tell it. */
export interface HostHealth {
  readonly status: 'ok';
  readonly uptimeSeconds: number;
  /** Over the last minute. */
  readonly eventLoopDelayMs: LoopDelay;
  readonly memory: {
    readonly heapBytes: number;
    /** Beyond it the process ends: node's --max-old-space-size. */
    readonly heapLimitBytes: number;
    readonly residentBytes: number;
  };
  /** Limits that peers can fill, by name. */
  readonly limits: Readonly<Record<string, LimitUse>>;
}

/** Looks at this process. Impure: the process, V8, /proc. */
export function lookAtProcess(
  eventLoopDelayMs: LoopDelay,
  limits: Readonly<Record<string, LimitUse>>,
): HostHealth {
  const { heap_size_limit: heapLimitBytes, used_heap_size: heapBytes } = getHeapStatistics();
  return {
    status: 'ok',
    uptimeSeconds: Math.round(process.uptime()),
    eventLoopDelayMs,
    memory: { heapBytes, heapLimitBytes, residentBytes: process.memoryUsage.rss() },
    limits: { ...limits, ...openFiles() },
  };
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
