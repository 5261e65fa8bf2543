import { VIOLATION_NAMES } from '../../host/device/violations.ts';
import type { Controller } from './controller.ts';
import { SoakFailure, type SoakFleet } from './soak-fleet.ts';

export interface Judged {
  /** Frames in the balloon, the same ones on both sides. */
  readonly frames: number;
  /** Inflated and deflated, as the host counted since it was started. */
  readonly pagesMoved: number;
}

/** What Linux' own driver does: it kicks the statistics queue early (G34). */
const LINUX_DOES = 'buffer-before-driver-ok';

/**
 * Compares both sides of a settled guest: every frame, every canary, the target that was
 * acknowledged, and that the driver did nothing wrong, as it would if a buffer came twice or not
 * at all. Throws SoakFailure.
 */
export async function judge(fleet: SoakFleet, id: string, controller: Controller): Promise<Judged> {
  const [list, dump, { pfns, counters }] = await Promise.all([
    fleet.list(),
    fleet.dump(id, true),
    fleet.ledger(id),
  ]);
  const frames = [...(dump.pfns ?? [])].sort((a, b) => a - b);
  if (frames.length !== pfns.length || !frames.every((pfn, index) => pfn === pfns[index])) {
    const both = `${frames.length} in the list, ${pfns.length} in the ledger`;
    throw new SoakFailure(`${id}: ledger and balloon list differ: ${both}`);
  }
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
  return { frames: frames.length, pagesMoved: inflated + deflated };
}
