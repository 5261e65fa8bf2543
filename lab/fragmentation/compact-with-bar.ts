import { join } from 'node:path';
import { LineClient } from '../../shared/control/line-client.ts';
import type { CompactionSummary, GuestDump } from '../../shared/control/schemas.ts';
import type { Clock } from '../../shared/lib/clock.ts';
import type { Fleet } from '../fleet.ts';
import { type Output, Progress } from '../progress.ts';

/** Of the balloon's pages compaction moves about this part: 0.34 to 0.38 with 1 to 64 GiB. */
const MOVED_PART = 0.36;
const LOOK_EVERY_MS = 500;

/** Whose guest it is, when to look, and where the bar is drawn. */
export interface Watched {
  readonly fleet: Fleet;
  readonly clock: Clock;
  readonly output: Output;
}

/**
 * compact_memory of a guest of the fleet, with a bar of how many of the balloon's `listPages` were
 * moved so far. The control channel answers in order, so that whoever looks meanwhile has one of
 * its own. Rejects with ControlRequestError.
 */
export async function compactWithBar(
  { fleet, clock, output }: Watched,
  id: string,
  listPages: number,
): Promise<CompactionSummary> {
  const watcher = await LineClient.connect(join(fleet.directory, `${id}.ctl`));
  const progress = new Progress(output, `${id}: compact_memory`);
  const total = Math.round(listPages * MOVED_PART);
  let timer: unknown;
  const lookLater = (): void => {
    // Looking ends with the connection: why that ended, the request below is told as well.
    timer = clock.setTimeout(() => void look().then(lookLater, () => undefined), LOOK_EVERY_MS);
  };
  const look = async (): Promise<void> => {
    const { compaction } = await watcher.request<GuestDump>({ verb: 'dump' });
    const moved = compaction.balloon_migrate ?? 0;
    progress.show(moved, Math.max(moved, total), `${moved} pages moved`);
  };
  lookLater();
  try {
    const summary = await fleet.guest<CompactionSummary>(id, { verb: 'compact_memory' });
    progress.show(1, 1, `${summary.balloonMigrated} pages moved`);
    return summary;
  } finally {
    clock.clearTimeout(timer);
    watcher.close();
    progress.end();
  }
}
