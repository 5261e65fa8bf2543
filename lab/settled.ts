import { dumpGuest } from '../guest/control.ts';
import type { Guest } from '../guest/guest.ts';
import type { HostGuestSummary } from '../shared/control/schemas.ts';
import { type FleetView, isSettled } from './fleet.ts';

/** What `settled` asks of a host: `startHost` returns one. */
export interface ListsGuests {
  list(): readonly HostGuestSummary[];
}

/** The guest did not settle in time; the message holds both sides' view. */
export class NotSettled extends Error {
  override readonly name = 'NotSettled';
}

const EVERY_MS = 5;
const UNPROBED: ReadonlySet<string> = new Set(['absent', 'probing']);

export interface SettledOptions {
  readonly timeoutMs?: number;
  readonly everyMs?: number;
  /** Which of the guest's balloon devices, by its id on `host`; the first if left out. */
  readonly device?: string | undefined;
}

/**
 * Resolves when target, `actual`, ledger and balloon list of a guest's device agree and no balloon
 * buffer is in flight; rejects with NotSettled after `timeoutMs`, with ControlError for a device
 * that the guest does not have. Both sides run in this process.
 */
export async function settled(
  host: ListsGuests,
  guest: Guest,
  { timeoutMs = 10_000, everyMs = EVERY_MS, device = guest.id }: SettledOptions = {},
): Promise<FleetView> {
  for (const startMs = performance.now(); ; await pause(everyMs)) {
    const summary = host.list().find((one) => one.id === device);
    const dump = dumpGuest(guest, false, device);
    if (summary !== undefined && dump.driver === 'bound') {
      const view = { host: summary, dump };
      if (isSettled(view)) return view;
    }
    if (performance.now() - startMs >= timeoutMs) {
      const seen = JSON.stringify({ host: summary ?? null, guest: dump });
      throw new NotSettled(`${device} is not settled after ${timeoutMs} ms: ${seen}`);
    }
  }
}

/** Resolves when the guest's first probe has ended, bound or not, or the guest is off. */
export async function probed(guest: Guest): Promise<void> {
  const isOver = (): boolean => guest.power === 'off' || !UNPROBED.has(guest.kernel.core.state);
  while (!isOver()) await pause(EVERY_MS);
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
