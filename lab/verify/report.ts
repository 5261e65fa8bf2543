import type { Alignment } from './align.ts';
import type { Check, Difference, TaskCount } from './types.ts';

/** What `puff verify` found in one recording. */
export interface VerifyReport {
  readonly recording: string;
  readonly checks: readonly Check[];
  /** How the recording's two clocks were brought together. */
  readonly alignment: Alignment;
}

/** Longest text of one side of a difference on a terminal; `--json` has all of it. */
const MAX_VALUE_LENGTH = 160;

/** Were all items of all checks equal? */
export function allEqual({ checks }: VerifyReport): boolean {
  return checks.every((check) => check.equal === check.total);
}

/** `--json`: one object on one line, without the newline. */
export function jsonLine({ recording, checks }: VerifyReport): string {
  return JSON.stringify({
    recording,
    checks: checks.map(({ name, total, equal, firstDifference, tasks }) => {
      return { name, total, equal, firstDifference, ...(tasks && { tasks }) };
    }),
  });
}

/**
 * For people: a line per check with recording, check, equal of total, the first difference, and
 * the same counts by task where tasks are told apart.
 */
export function reportText({ recording, checks, alignment }: VerifyReport): string {
  const counts = checks.map((check) => `${check.equal}/${check.total}`);
  const nameWidth = Math.max(...checks.map((check) => check.name.length));
  const countWidth = Math.max(...counts.map((text) => text.length));
  const lines = checks.map(({ name, firstDifference, tasks = [] }, index) => {
    const result = firstDifference === null ? 'ok' : differenceText(firstDifference);
    const count = counts[index].padStart(countWidth);
    const line = `${recording}  ${name.padEnd(nameWidth)}  ${count}  ${result}`;
    return tasks.length === 0 ? line : `${line}; ${tasks.map(taskText).join(', ')}`;
  });
  return `${[...lines, `${recording}  ${clocksText(alignment)}`].join('\n')}\n`;
}

function taskText({ task, recorded, total, equal }: TaskCount): string {
  const names = recorded.length === 0 ? '' : ` (${recorded.join(', ')})`;
  return `${task ?? 'nobody known'}${names} ${equal}/${total}`;
}

function differenceText({ index, expected, actual }: Difference): string {
  return `item ${index}: recorded ${valueText(expected)}, Puff ${valueText(actual)}`;
}

function valueText(value: unknown): string {
  if (value === null) return 'nothing';
  const text = JSON.stringify(value);
  return text.length > MAX_VALUE_LENGTH ? `${text.slice(0, MAX_VALUE_LENGTH)}...` : text;
}

function clocksText({ offsetMs, windowMs, replies }: Alignment): string {
  const [low, high] = windowMs.map((ms) => ms.toFixed(2));
  return (
    `clocks: QMP = wire + (${offsetMs.toFixed(3)} ms, possible ${low} to ${high}); ` +
    `${replies.consistent} of ${replies.total} query-balloon replies agree with the wire`
  );
}
