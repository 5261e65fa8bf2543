import type { WireTraceEvent } from '../../host/vmm/wire-trace.ts';
import type { Check } from '../verify/types.ts';

/** A table with a header; the first column is left aligned, the others right. */
export function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [header, ...rows];
  const widths = header.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)));
  const line = (row: readonly string[]): string =>
    row
      .map((cell, column) => {
        const width = widths[column] ?? 0;
        return column === 0 ? cell.padEnd(width) : cell.padStart(width);
      })
      .join('  ')
      .trimEnd();
  const rule = widths.map((width) => '-'.repeat(width)).join('  ');
  return `${[line(header), rule, ...rows.map(line)].join('\n')}\n`;
}

const CHECK_LABELS: Readonly<Record<string, string>> = {
  'wire.features': 'feature bits 0 to 5 and 32',
  'wire.status': 'device status values',
  'wire.buffers': 'buffers: queue, PFNs, used length',
  'wire.config': '`actual` written',
  'qmp.replies': 'QMP replies outside a resize',
};

/** One row a judged check: how many items the recording has, how many Puff did alike. */
export function checkRows(checks: readonly Check[]): string[][] {
  return checks.flatMap(({ name, total, equal }) => {
    const label = CHECK_LABELS[name];
    if (label === undefined) return [];
    return [[label, String(total), String(equal), equal === total ? 'equal' : 'DIFFERENT']];
  });
}

/** Something with the wire events of either side. */
type Timed =
  | { readonly ev: 'buf'; readonly queue: string; readonly n: number; readonly tMs: number }
  | { readonly ev: 'config-set'; readonly actual: number; readonly tMs: number }
  | { readonly ev: string; readonly tMs: number };

/** Pages a second of one queue: from its first buffer to the write of `actual` after the last. */
export function pagesPerSecond(events: readonly Timed[], queue: string): number {
  let pages = 0;
  let firstMs: number | undefined;
  let lastMs = 0;
  let pending = false;
  for (const event of events) {
    if ('queue' in event && event.ev === 'buf' && event.queue === queue) {
      firstMs ??= event.tMs;
      pages += event.n;
      pending = true;
    } else if (event.ev === 'config-set' && pending) {
      lastMs = event.tMs;
      pending = false;
    }
  }
  const seconds = (lastMs - (firstMs ?? 0)) / 1000;
  return seconds > 0 ? Math.round(pages / seconds) : 0;
}

/** Puff's trace on the recordings' scale of milliseconds. */
export function traceTimes(trace: readonly WireTraceEvent[]): Timed[] {
  return trace.map((event) => ({ ...event, tMs: event.t / 1000 }));
}

/** An event as it is listed: its name and the balloon's size in MiB where it has one. */
export function eventText(event: string, data: object | undefined): string {
  const actual = (data as { readonly actual?: unknown } | undefined)?.actual;
  return typeof actual === 'number' ? `${event} ${Math.round(actual / 2 ** 20)} MiB` : event;
}
