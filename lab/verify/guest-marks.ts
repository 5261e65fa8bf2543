import type { Recording } from './recording.ts';
import type { RecordedProgram } from './types.ts';
import type { WireEvent } from './wire-lines.ts';

/**
 * Moments at which something happened that nobody wrote down and the wire shows: a program of the
 * guest by what memory management did for it, a round of free page hinting by the reads of config
 * it caused. Indices are those of `Recording.wire`.
 */

/** Reports follow one another within this time unless memory was freed in between. */
const REPORT_PASS_GAP_MS = 2100;

/** One program makes the balloon give back again and again, recorded at most 40 ms apart. */
const GIVE_BACK_GAP_MS = 1000;

export interface ProgramMark {
  readonly program: RecordedProgram;
  /** The wire event that shows it. */
  readonly wireIndex: number;
  /** The balloon gave pages back for it, or its own memory was reported after its exit. */
  readonly shownBy: 'deflate' | 'report';
}

/** The programs that show on the wire, in their order; those that do not are left out. */
export function findPrograms({ wire, programs, deviceOptions }: Recording): ProgramMark[] {
  const marks: ProgramMark[] = [];
  const shownBy = deviceOptions['deflate-on-oom'] === 'on' ? 'deflate' : 'report';
  const find = shownBy === 'deflate' ? findGiveBack : findLateReport;
  let from = 0;
  for (const program of programs) {
    const wireIndex = find(wire, from);
    if (wireIndex < 0) break;
    marks.push({ program, wireIndex, shownBy });
    from = wireIndex + 1;
  }
  return marks;
}

/** A deflate buffer although the balloon is not above its target, and none shortly before it. */
function findGiveBack(wire: readonly WireEvent[], from: number): number {
  let target = 0;
  let actual = 0;
  let lastMs = Number.NEGATIVE_INFINITY;
  return wire.findIndex((event, index) => {
    if (event.ev === 'target') target = event.num_pages;
    if (event.ev === 'config-set') actual = event.actual;
    if (event.ev !== 'buf' || event.queue !== 'deflate' || actual > target) return false;
    const isFirst = event.tMs - lastMs > GIVE_BACK_GAP_MS;
    lastMs = event.tMs;
    return index >= from && isFirst;
  });
}

/** A report that no earlier one led to. */
function findLateReport(wire: readonly WireEvent[], from: number): number {
  let lastMs: number | undefined;
  return wire.findIndex((event, index) => {
    if (event.ev !== 'buf' || event.queue === 'stats') return false;
    const isLate = lastMs !== undefined && event.tMs - lastMs > REPORT_PASS_GAP_MS;
    lastMs = event.tMs;
    return index >= from && isLate && event.queue === 'reporting';
  });
}

/**
 * When the host showed a new command id: a read of config that nothing else asked for. A probe
 * reads it once, a target twice (the size, and the id that did not change), a write of `actual`
 * once more where the target is not reached; a new id has it read twice.
 */
export function findHintRounds({ wire, deviceOptions }: Recording): number[] {
  if (deviceOptions['free-page-hint'] !== 'on') return [];
  const timesMs: number[] = [];
  let explained = 0;
  for (const event of wire) {
    if (event.ev === 'status' || event.ev === 'config-set') explained = 1;
    else if (event.ev === 'target') explained = 2;
    else if (event.ev === 'config-get' && explained > 0) explained--;
    else if (event.ev === 'config-get') {
      timesMs.push(event.tMs);
      explained = 1;
    }
  }
  return timesMs;
}
