import { MAX_GUEST_PAGES } from '../../shared/limits.ts';
import { gfpFromText } from '../mm/page/gfp-text.ts';
import { MAX_ORDER } from '../mm/page/page-map.ts';

/**
 * The requests of a recorded `kmem-trace`, as text: what a kernel asked of its page allocator
 * between two dumps of it, and what came of it. Whoever plays one gives each free the allocation
 * whose recorded PFN it names (recorded-allocations.ts).
 */

/** A line of the trace: A, F and B are requests, A's PFN, Z, D and X are what came of them. */
export interface KmemEvent {
  readonly kind: 'A' | 'F' | 'B' | 'Z' | 'D' | 'X';
  readonly pfn: number;
  readonly order: number;
  /** Of A, Z and D; 0 else. */
  readonly migratetype: number;
  /** Of A: GFP flags. Of Z: 1 for a per-CPU refill. Of X: the fallback's order. 0 else. */
  readonly extra: number;
  /** Of X: the migratetype it was taken from. */
  readonly fallbackType?: number;
  /** Whoever asked or freed is kswapd: it reclaims. */
  readonly byKswapd?: true;
  /** Line in the file, from 1. */
  readonly line: number;
}

/** The PFN of an A that was refused: frame 0 is never to be had. */
export const REFUSED_PFN = 0;

/** A trace that cannot be read; the message names the line. */
export class UnusableTrace extends Error {
  override readonly name = 'UnusableTrace';
}

const QUOTED_LENGTH = 100;

function unusable(line: number, text: string): UnusableTrace {
  return new UnusableTrace(`line ${line}: ${text.slice(0, QUOTED_LENGTH)}`);
}

/** Numbers that a line of each kind has. */
const FIELD_COUNTS: Readonly<Record<string, number>> = { A: 3, F: 2, B: 1, Z: 4, D: 3 };

const MARKER = /tracing_mark_write: DUMP-(before|after)/;
const FALLBACK = new RegExp(
  '^pfn=0x([0-9a-f]+) alloc_order=(\\d+) fallback_order=(\\d+) .*' +
    'alloc_migratetype=(\\d+) fallback_migratetype=(\\d+)',
);

/** Reads what lies between the two dumps. Throws UnusableTrace. */
export function parseKmemTrace(text: string): KmemEvent[] {
  const events: KmemEvent[] = [];
  let between = false;
  let line = 0;
  for (const content of text.split('\n')) {
    line++;
    const fields = content.split(' ');
    if (fields[1] === '>') {
      const marker = MARKER.exec(content)?.[1];
      if (marker !== undefined) between = marker === 'before';
    } else if (between) {
      const event = parseFields(fields, line);
      if (event !== undefined) events.push(event);
    }
  }
  return events;
}

/** Fields of a line: task, kind, then what the kind has. Kinds nobody compares are left out. */
function parseFields(fields: readonly string[], line: number): KmemEvent | undefined {
  const kind = fields[1];
  if (kind === 'X') return parseFallback(fields.slice(2).join(' '), line);
  const count = FIELD_COUNTS[kind];
  if (count === undefined) return undefined;
  const numbers = fields.slice(2, 2 + count).map(Number);
  const [pfn, order = 0, migratetype = 0, refill = 0] = numbers;
  const isWhole = numbers.every((value) => Number.isSafeInteger(value) && value >= 0);
  const isFrame = order < MAX_ORDER && pfn < MAX_GUEST_PAGES;
  const usable = numbers.length === count && isWhole && isFrame;
  if (!usable) throw unusable(line, fields.join(' '));
  const extra = kind === 'A' ? parseGfp(fields[5] ?? '', line) : refill;
  const byKswapd = fields[0].startsWith('kswapd') && { byKswapd: true as const };
  return { kind: kind as KmemEvent['kind'], pfn, order, migratetype, extra, line, ...byKswapd };
}

function parseFallback(text: string, line: number): KmemEvent {
  const match = FALLBACK.exec(text);
  if (match === null) throw unusable(line, text);
  const [pfn, order, extra, migratetype, fallbackType] = match.slice(1);
  return {
    kind: 'X',
    pfn: Number.parseInt(pfn, 16),
    order: Number(order),
    migratetype: Number(migratetype),
    extra: Number(extra),
    fallbackType: Number(fallbackType),
    line,
  };
}

function parseGfp(text: string, line: number): number {
  const parsed = gfpFromText(text);
  if ('unknown' in parsed) throw unusable(line, `unknown GFP flag ${parsed.unknown}`);
  return parsed.flags;
}

/** Every B belongs to the last F of its page. */
export function batchedFrees(events: readonly KmemEvent[]): ReadonlySet<KmemEvent> {
  const batched = new Set<KmemEvent>();
  const lastFree = new Map<number, KmemEvent>();
  for (const event of events) {
    if (event.kind === 'F') lastFree.set(event.pfn, event);
    const free = event.kind === 'B' ? lastFree.get(event.pfn) : undefined;
    if (free !== undefined) batched.add(free);
  }
  return batched;
}
