import { setTimeout as sleep } from 'node:timers/promises';
import { Prng } from '../../shared/lib/prng.ts';
import { MIB } from '../../shared/lib/units.ts';
import { Controller } from './controller.ts';
import { judge } from './judge.ts';
import { costOf, type ProcessCost } from './processes.ts';
import { SoakFailure, SoakFleet } from './soak-fleet.ts';

export interface ManyOptions {
  readonly guests: number;
  readonly seconds: number;
  readonly seed: number;
  report(line: string): void;
}

const MEMORY_BYTES = 256 * MIB;
const SETTLE_MS = 60_000;
const REPORT_EVERY_MS = 10_000;

/**
 * A host and many guest processes for a while under constant retargeting: ledgers and lists are
 * equal at the end, canaries intact, and the memory and CPU it took are reported. Throws
 * SoakFailure.
 */
export async function manySoak({ guests, seconds, seed, report }: ManyOptions): Promise<void> {
  const fleet = new SoakFleet({
    guests,
    memoryBytes: MEMORY_BYTES,
    seed,
    resumeWindowMs: 30_000,
  });
  const prng = new Prng(seed).fork('many');
  const controllers = fleet.ids.map((id) => controllerOf(fleet, id, prng));
  let left: number[] = [];
  try {
    const upMs = performance.now();
    await fleet.start();
    for (const id of fleet.ids) await fleet.settled(id, SETTLE_MS);
    report(`${guests} guests of 256 MiB and a host up in ${since(upMs)} s`);
    const before = costs(fleet);
    const startMs = performance.now();
    for (const controller of controllers) controller.run();
    while (performance.now() - startMs < seconds * 1000) {
      await sleep(Math.min(REPORT_EVERY_MS, seconds * 1000 - (performance.now() - startMs)));
      report(`${since(startMs)} s: ${targetsOf(controllers)} targets`);
    }
    await Promise.all(controllers.map((controller) => controller.pause()));
    const after = costs(fleet);
    const settleMs = performance.now();
    for (const id of fleet.ids) await fleet.settled(id, SETTLE_MS);
    report(`settled ${since(settleMs)} s after the last target`);
    let frames = 0;
    let moved = 0;
    for (const [index, id] of fleet.ids.entries()) {
      const judged = await judge(fleet, id, controllers[index] as Controller);
      frames += judged.frames;
      moved += judged.pagesMoved;
    }
    const rate = (moved / seconds / 1000).toFixed(0);
    report(`ledgers and lists equal: ${frames} frames; no canary wrong`);
    report(`${targetsOf(controllers)} targets, ${moved} pages moved, ${rate}k a second`);
    for (const line of costLines(before, after, seconds)) report(line);
  } finally {
    const ends = controllers.map((controller) => controller.end());
    left = await fleet.end();
    await Promise.all(ends);
  }
  if (left.length > 0) throw new SoakFailure(`processes remain: ${left.join(' ')}`);
}

function controllerOf(fleet: SoakFleet, id: string, prng: Prng): Controller {
  return new Controller({
    qmpPath: fleet.qmpPath(id),
    prng: prng.fork(`controller ${id}`),
    leastBytes: MEMORY_BYTES / 2,
    mostBytes: MEMORY_BYTES,
    pauseMs: 100,
  });
}

/** The host's first. */
function costs(fleet: SoakFleet): (ProcessCost | undefined)[] {
  return ['host', ...fleet.ids].map((name) => costOf(fleet.pid(name)));
}

function costLines(
  before: readonly (ProcessCost | undefined)[],
  after: readonly (ProcessCost | undefined)[],
  seconds: number,
): string[] {
  const spent = after.map((cost, index) => {
    return (cost?.cpuSeconds ?? Number.NaN) - (before[index]?.cpuSeconds ?? Number.NaN);
  });
  const peaks = after.map((cost) => (cost?.peakBytes ?? Number.NaN) / MIB);
  const [hostCpu = Number.NaN, ...guestCpu] = spent;
  const [hostPeak = Number.NaN, ...guestPeaks] = peaks;
  const share = (cpu: number): string => `${((100 * cpu) / seconds).toFixed(0)} % of a CPU`;
  const all = guestCpu.reduce((total, cpu) => total + cpu, 0);
  const mean = guestPeaks.reduce((total, peak) => total + peak, 0) / guestPeaks.length;
  return [
    `host: ${hostPeak.toFixed(0)} MiB at most, ${hostCpu.toFixed(1)} s CPU, ${share(hostCpu)}`,
    `a guest: ${mean.toFixed(0)} MiB at most, the largest ${Math.max(...guestPeaks).toFixed(0)}`,
    `all guests: ${all.toFixed(1)} s CPU, ${share(all)}`,
  ];
}

function targetsOf(controllers: readonly Controller[]): number {
  return controllers.reduce((total, { acknowledged }) => total + acknowledged, 0);
}

function since(startMs: number): string {
  return ((performance.now() - startMs) / 1000).toFixed(1);
}
