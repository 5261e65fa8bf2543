/** What a benchmark tells: rows of a figure, its raw baseline, the goal and what is known of it. */

export interface Goal {
  /** What is held against the bound: the figure itself, or its ratio to the baseline. */
  readonly of: 'ratio' | 'figure';
  readonly bound: number;
  readonly direction: 'at least' | 'at most';
}

export interface Row {
  readonly what: string;
  readonly figure: number;
  readonly unit: string;
  /** The same figure of the raw baseline in this run. */
  readonly raw?: number;
  readonly goal?: Goal;
  /** Figures of other machines and of real guests, to read this one beside. */
  readonly beside?: string;
}

export interface Report {
  readonly name: string;
  readonly title: string;
  /** What the raw baseline is. */
  readonly baseline?: string;
  readonly rows: readonly Row[];
}

export const atLeast = (of: Goal['of'], bound: number): Goal => ({
  of,
  bound,
  direction: 'at least',
});
export const atMost = (of: Goal['of'], bound: number): Goal => ({
  of,
  bound,
  direction: 'at most',
});

function ratioOf({ figure, raw }: Row): number | undefined {
  return raw === undefined ? undefined : figure / raw;
}

/** Undefined for a row without a goal. */
function isMet(row: Row): boolean | undefined {
  if (row.goal === undefined) return undefined;
  const { of, bound, direction } = row.goal;
  const value = of === 'figure' ? row.figure : (ratioOf(row) ?? Number.NaN);
  return direction === 'at least' ? value >= bound : value <= bound;
}

export function formatReport(report: Report): string {
  const lines = [`${report.name}: ${report.title}`];
  if (report.baseline !== undefined) lines.push(`  raw: ${report.baseline}`);
  const width = Math.max(...report.rows.map(({ what }) => what.length));
  for (const row of report.rows) lines.push(`  ${formatRow(row, width)}`);
  return lines.join('\n');
}

/** One line of JSON: the rows as they are, with ratio and whether the goal is met. */
export function jsonReport(report: Report): string {
  const rows = report.rows.map((row) => ({ ...row, ratio: ratioOf(row), met: isMet(row) }));
  return JSON.stringify({ ...report, rows });
}

function formatRow(row: Row, width: number): string {
  const parts = [row.what.padEnd(width), `${number(row.figure)} ${row.unit}`.padStart(18)];
  const ratio = ratioOf(row);
  if (ratio !== undefined) parts.push(`raw ${number(row.raw ?? 0)}`, `ratio ${ratio.toFixed(2)}`);
  if (row.goal !== undefined) {
    const { of, direction, bound } = row.goal;
    const verdict = isMet(row) ? 'met' : 'MISSED';
    parts.push(`goal: ${of} ${direction} ${bound} ${verdict}`);
  }
  if (row.beside !== undefined) parts.push(`(${row.beside})`);
  return parts.join('  ');
}

function number(value: number): string {
  if (Math.abs(value) >= 1000) return Math.round(value).toString();
  return value.toPrecision(3);
}

/** The last line: how many goals there are, and the rows that miss theirs. */
export function summary(reports: readonly Report[]): string {
  const goals = reports.flatMap(({ name, rows }) =>
    rows.filter((row) => row.goal !== undefined).map((row) => ({ name, row })),
  );
  const missed = goals.filter(({ row }) => !isMet(row));
  const where = missed.map(({ name, row }) => `${name} (${row.what})`).join(', ');
  return missed.length === 0
    ? `all ${goals.length} goals met`
    : `${missed.length} of ${goals.length} goals missed: ${where}`;
}
