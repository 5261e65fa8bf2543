import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { MIB } from '../../shared/lib/units.ts';

/** What a part of a fuzz run cost. */
export interface FuzzCost {
  readonly frames: number;
  readonly seconds: number;
  /** Between the first fifth of the run and its end, garbage collected: heap and array buffers. */
  readonly growthMib: number;
  readonly slowestStepMs: number;
  /** How late the event loop came to its work. */
  readonly loopDelayMs: { readonly p99: number; readonly max: number };
}

/** Part of a run before memory is compared with what it is at the end: caches and tables fill. */
const WARM_UP_SHARE = 0.2;
const STEPS_PER_TURN = 100;
const RESOLUTION_MS = 10;

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

/** After a collection and another one for what the first one let go. */
async function heldMib(): Promise<number> {
  collect();
  await nextTurn();
  collect();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return (heapUsed + arrayBuffers) / MIB;
}

export interface Watched {
  readonly framesIn: number;
  step(): void;
}

/** Runs a target until it was sent `frames` frames, in turns of the event loop. */
export async function watch(target: Watched, frames: number): Promise<FuzzCost> {
  const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  const startMs = performance.now();
  let slowestStepMs = 0;
  let warmMib = 0;
  delay.enable();
  while (target.framesIn < frames) {
    for (let step = 0; step < STEPS_PER_TURN; step++) {
      const beforeMs = performance.now();
      target.step();
      slowestStepMs = Math.max(slowestStepMs, performance.now() - beforeMs);
    }
    if (warmMib === 0 && target.framesIn >= frames * WARM_UP_SHARE) warmMib = await heldMib();
    await nextTurn();
  }
  delay.disable();
  const lateMs = (ns: number): number => Math.max(0, ns / 1e6 - RESOLUTION_MS);
  return {
    frames: target.framesIn,
    seconds: (performance.now() - startMs) / 1000,
    growthMib: (await heldMib()) - warmMib,
    slowestStepMs,
    loopDelayMs: { p99: lateMs(delay.percentile(99)), max: lateMs(delay.max) },
  };
}
