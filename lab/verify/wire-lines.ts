import { z } from 'zod';
import { MAX_BUFFER_PFNS } from '../../shared/limits.ts';
import type { QueueName } from '../../shared/virtio/balloon.ts';
import { checked, parse, readLines, UnusableRecording } from './files.ts';

/** Lines of wire.jsonl.gz. Times are milliseconds since QEMU started, to 1 us. */
export type WireEvent =
  | { readonly ev: 'status'; readonly tMs: number; readonly val: number }
  | { readonly ev: 'target'; readonly tMs: number; readonly num_pages: number }
  | {
      readonly ev: 'config-get';
      readonly tMs: number;
      readonly num_pages: number;
      readonly actual: number;
    }
  | ConfigSet
  | WireBuffer
  | { readonly ev: 'used'; readonly tMs: number; readonly len: number };

export interface ConfigSet {
  readonly ev: 'config-set';
  readonly tMs: number;
  readonly actual: number;
}

export interface WireBuffer {
  readonly ev: 'buf';
  readonly tMs: number;
  readonly queue: QueueName;
  /** Device-readable and device-writable descriptors. */
  readonly outn: number;
  readonly inn: number;
  readonly n: number;
  /** PFNs as [first, count, step], in the order told. */
  readonly runs: readonly (readonly [first: number, count: number, step: number])[];
}

const whole = z.number().int();
const count = whole.min(0);
/** A field of config space or of a ring. */
const le32 = count.max(2 ** 32 - 1);

const LABEL = z.enum(['inflate', 'deflate', 'stats']);

const LINE = z.discriminatedUnion('ev', [
  z.object({ ev: z.literal('status'), t: count, val: count.max(255) }),
  z.object({ ev: z.literal('target'), t: count, num_pages: le32 }),
  z.object({ ev: z.literal('config-get'), t: count, num_pages: le32, actual: le32 }),
  z.object({ ev: z.literal('config-set'), t: count, actual: le32 }),
  z.object({
    ev: z.literal('buf'),
    t: count,
    queue: LABEL,
    outn: le32,
    inn: le32,
    n: count.max(MAX_BUFFER_PFNS),
    runs: z.array(z.tuple([le32, count.max(MAX_BUFFER_PFNS), whole])),
  }),
  z.object({ ev: z.literal('used'), t: count, len: le32 }),
]);

/** Reads wire.jsonl.gz; throws UnusableRecording. */
export function readWire(
  directory: string,
  options: Readonly<Record<string, string>>,
): WireEvent[] {
  return readLines(directory, 'wire.jsonl.gz').map(({ text, where }): WireEvent => {
    const { t, ...event } = checked(LINE, parse(text, where), where);
    const tMs = t / 1000;
    if (event.ev !== 'buf') return { ...event, tMs };
    const told = event.runs.reduce((sum, [, count]) => sum + count, 0);
    if (told !== event.n) {
      throw new UnusableRecording(`${where}: n is ${event.n}, its runs have ${told} PFNs`);
    }
    return { ...event, tMs, queue: queueName(event.queue, event.inn, options) };
  });
}

/**
 * The recorder labelled queues by the position of their ring. With reporting or hinting that puts
 * `inflate` on the statistics queue and `deflate` on the reporting or hint queue.
 */
function queueName(
  label: z.output<typeof LABEL>,
  writable: number,
  options: Readonly<Record<string, string>>,
): QueueName {
  const hinting = options['free-page-hint'] === 'on';
  const reporting = options['free-page-reporting'] === 'on';
  if (!hinting && !reporting) return label;
  if (label !== 'deflate') return 'stats';
  return reporting && (writable > 0 || !hinting) ? 'reporting' : 'free_page';
}
