import { expandRuns, type TracedEvent } from './allocator-run.ts';
import type { Recording } from './recording.ts';
import type { WireBuffer, WireEvent } from './wire-lines.ts';

/**
 * Migrated balloon pages on the wire: one PFN on the inflate queue and one on the deflate queue,
 * each in a buffer of its own, and `actual` is not written. A batch of one page is followed by a
 * write of `actual`; that tells them apart.
 */

/** A page that took another one's place. */
export interface MigratedPair {
  readonly newPfn: number;
  readonly oldPfn: number;
}

/** A migration in a list of wire events: positions of its buffers and of what returned them. */
interface Place extends MigratedPair {
  readonly first: number;
  readonly last: number;
}

/** All migrations on a wire, recorded or emulated, in order. */
export function migratedPairs(wire: readonly TracedEvent[]): MigratedPair[] {
  return places(wire).map(({ newPfn, oldPfn }) => ({ newPfn, oldPfn }));
}

/** The wire without its migrations: what is left is the driver's own batches. */
export function withoutMigrations<Event extends TracedEvent>(wire: readonly Event[]): Event[] {
  const left: Event[] = [];
  let from = 0;
  for (const { first, last } of places(wire)) {
    left.push(...wire.slice(from, first));
    from = last + 1;
  }
  return [...left, ...wire.slice(from)];
}

/**
 * A recording whose migrations are left out: an emulator that does not start from the recorded
 * memory has no reason to make the same.
 */
export function recordingWithoutMigrations(recording: Recording): Recording {
  return { ...recording, wire: withoutMigrations<WireEvent>(recording.wire) };
}

function places(wire: readonly TracedEvent[]): Place[] {
  const found: Place[] = [];
  for (let index = 0; index + 3 < wire.length; index++) {
    const newPfn = single(wire[index], 'inflate');
    if (newPfn < 0 || wire[index + 1].ev !== 'used') continue;
    const oldPfn = single(wire[index + 2], 'deflate');
    if (oldPfn < 0 || wire[index + 3].ev !== 'used') continue;
    found.push({ newPfn, oldPfn, first: index, last: index + 3 });
    index += 3;
  }
  return found;
}

/** The PFN of a buffer of one page on this queue, or -1. */
function single({ ev, queue, n, runs }: TracedEvent, wanted: WireBuffer['queue']): number {
  if (ev !== 'buf' || queue !== wanted || n !== 1 || runs === undefined) return -1;
  return expandRuns(runs)[0];
}
