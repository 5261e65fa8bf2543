import { setTimeout as sleep } from 'node:timers/promises';
import { VIOLATION_NAMES } from '../../host/device/violations.ts';
import type { GuestDump } from '../../shared/control/schemas.ts';
import type { Controller } from './controller.ts';
import { SoakFailure, type SoakFleet } from './soak-fleet.ts';

export interface Judged {
  /** Frames in the balloon, the same ones on both sides. */
  readonly frames: number;
  /** Inflated and deflated, as the host counted since it was started. */
  readonly pagesMoved: number;
  /** Looks that came while compaction had pages of the balloon in its hands. */
  readonly repeats: number;
}

/** Compaction holds on to the pages of a balloon for milliseconds, or until it has a CPU again. */
const AGREE_MS = 30_000;

/** What Linux' own driver does: it kicks the statistics queue early (G34). */
const LINUX_DOES = 'buffer-before-driver-ok';

/**
 * Compares both sides of a settled guest: every frame, every canary, the target that was
 * acknowledged, and that the driver did nothing wrong, as it would if a buffer came twice or not
 * at all. Throws SoakFailure.
 */
export async function judge(fleet: SoakFleet, id: string, controller: Controller): Promise<Judged> {
  const [list, { dump, frames, counters, repeats }] = await Promise.all([
    fleet.list(),
    agree(fleet, id),
  ]);
  if (dump.canariesWrong > 0) throw new SoakFailure(`${id}: ${dump.canariesWrong} wrong canaries`);
  const targetBytes = list.find((one) => one.id === id)?.targetBytes;
  const possible = controller.possibleTargets;
  if (targetBytes === undefined || !possible.includes(targetBytes)) {
    const seen = `it is ${targetBytes}, not ${possible.join(' or ')}`;
    throw new SoakFailure(`${id}: the acknowledged target was not kept: ${seen}`);
  }
  for (const name of VIOLATION_NAMES) {
    const count = counters[name] ?? 0;
    if (count > 0 && name !== LINUX_DOES) throw new SoakFailure(`${id}: ${name} ${count} times`);
  }
  const { inflated_pages: inflated = 0, deflated_pages: deflated = 0 } = counters;
  return { frames, pagesMoved: inflated + deflated, repeats };
}

interface Agreement {
  readonly dump: GuestDump;
  readonly frames: number;
  readonly counters: Readonly<Record<string, number>>;
  readonly repeats: number;
}

/**
 * Looks until list and ledger hold the same frames: pages that compaction has isolated or is just
 * moving are in the ledger and not on the list. Throws SoakFailure when they stay apart.
 */
async function agree(fleet: SoakFleet, id: string): Promise<Agreement> {
  const startMs = performance.now();
  for (let repeats = 0; ; repeats++) {
    const [dump, { pfns, counters }] = await Promise.all([fleet.dump(id, true), fleet.ledger(id)]);
    const frames = [...(dump.pfns ?? [])].sort((a, b) => a - b);
    const equal =
      frames.length === pfns.length && frames.every((pfn, index) => pfn === pfns[index]);
    if (equal && dump.isolatedPages === 0) {
      return { dump, frames: frames.length, counters, repeats };
    }
    if (performance.now() - startMs < AGREE_MS) {
      await sleep(20);
      continue;
    }
    const both = `${frames.length} in the list, ${pfns.length} in the ledger`;
    const moving = `${dump.isolatedPages} isolated`;
    throw new SoakFailure(`${id}: ledger and balloon list differ: ${both}, ${moving}`);
  }
}
