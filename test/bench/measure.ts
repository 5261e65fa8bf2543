/**
 * Timing for benchmarks. Absolute figures move by a factor of two on a shared machine, so a
 * benchmark runs what it measures and its raw baseline in turns and compares medians of one run.
 */

/** Wall time in nanoseconds. */
export function nowNs(): number {
  return Number(process.hrtime.bigint());
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1];
}

/** One thing to measure: does `operations` operations and returns how long they took. */
export interface Contender {
  readonly operations: number;
  /** Nanoseconds; what has to be prepared is not in them. */
  run(): number | Promise<number>;
}

/** Median nanoseconds an operation, by contender. The first round warms up and is not counted. */
export async function inTurns<Name extends string>(
  rounds: number,
  contenders: Readonly<Record<Name, Contender>>,
): Promise<Record<Name, number>> {
  const names = Object.keys(contenders) as Name[];
  const taken = new Map<Name, number[]>(names.map((name) => [name, []]));
  for (let round = -1; round < rounds; round++) {
    for (const name of names) {
      const { operations, run } = contenders[name];
      const ns = await run();
      if (round >= 0) taken.get(name)?.push(ns / operations);
    }
  }
  const medians = names.map((name) => [name, median(taken.get(name) ?? [])]);
  return Object.fromEntries(medians) as Record<Name, number>;
}

/** A contender that is a plain loop. */
export function loop(operations: number, body: () => void): Contender {
  return {
    operations,
    run: () => {
      const start = nowNs();
      body();
      return nowNs() - start;
    },
  };
}

/** Memory of this process in bytes once garbage is collected; needs --expose-gc. */
export function settledMemory(): NodeJS.MemoryUsage {
  if (globalThis.gc === undefined) throw new Error('this process was started without --expose-gc');
  globalThis.gc();
  globalThis.gc();
  return process.memoryUsage();
}

/** User and system time of this process in seconds. */
export function cpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

/** Millions of operations a second from nanoseconds an operation. */
export function millions(ns: number): number {
  return 1e3 / ns;
}
