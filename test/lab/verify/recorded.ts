import { fileURLToPath } from 'node:url';
import { type Alignment, align } from '../../../lab/verify/align.ts';
import { type Recording, readRecording } from '../../../lab/verify/recording.ts';
import { split } from '../../../lab/verify/split.ts';
import type {
  CheckName,
  Expectations,
  ExpectedEvent,
  Inputs,
  JsonObject,
  Observed,
  ObservedMessage,
} from '../../../lab/verify/types.ts';

export const NAMES = [
  'inflate-deflate-1g',
  'stats-512m',
  'qmp-errors-512m',
  'driver-rebind-1g',
] as const;
export type Name = (typeof NAMES)[number];

/** Recordings in which memory was compacted, from a dump of all of it on. */
export const COMPACTED = [
  'exact-compact-1g',
  'exact-compaction-512m',
  'exact-hugepages-1g',
] as const;
/** The same from the flags of every frame only: figures, within tolerances. */
export const COUNTED = ['compaction-1g', 'hugepages-1g'] as const;

/** Recordings of single features of the driver, from free memory that their guests counted. */
export const FEATURES = {
  'page-reporting-512m': 'reporting',
  'free-page-hint-512m': 'hinting',
  'deflate-on-oom-512m': 'oom',
  'out-of-puff-256m': 'oom',
} as const satisfies Readonly<Record<string, CheckName>>;

export interface Recorded {
  readonly recording: Recording;
  readonly alignment: Alignment;
  readonly inputs: Inputs;
  readonly expectations: Expectations;
}

const cache = new Map<Name, Recorded>();

export function directoryOf(name: Name): string {
  return fileURLToPath(new URL(`../../../lab/recordings/${name}`, import.meta.url));
}

/** A recording of the repository after the first three steps; read once. */
export function recorded(name: Name): Recorded {
  const known = cache.get(name);
  if (known !== undefined) return known;
  const recording = readRecording(directoryOf(name));
  const alignment = align(recording);
  const result = { recording, alignment, ...split(recording, alignment) };
  cache.set(name, result);
  return result;
}

/** What a perfect emulator would have done: the expectations as observed values. */
export function echo(expectations: Expectations): Observed {
  const { features, status, buffers, config, traffic, negotiation } = expectations;
  const observed = { features, status, buffers, config, traffic, qmp: messages(expectations) };
  return negotiation === undefined ? observed : { ...observed, negotiation };
}

function messages({ replies, events }: Expectations): ObservedMessage[] {
  const result: ObservedMessage[] = [{ request: -1, message: { QMP: {} } }];
  const waiting = [...events];
  for (const { request, message } of replies) {
    const last = waiting.findLastIndex((event) => event.beforeReplyTo === request);
    for (const event of waiting.splice(0, last + 1)) result.push(eventMessage(event, request));
    result.push({ request, message });
  }
  const after = replies.at(-1)?.request ?? -1;
  return [...result, ...waiting.map((event) => eventMessage(event, after))];
}

function eventMessage({ name, data }: ExpectedEvent, request: number): ObservedMessage {
  const timestamp = { seconds: 1, microseconds: 0 };
  const message: JsonObject = data === undefined ? { event: name } : { event: name, data };
  return { request, message: { ...message, timestamp } };
}
