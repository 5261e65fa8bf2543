import { conversation } from './exchanges.ts';
import { UnusableRecording } from './files.ts';
import { findMarks } from './marks.ts';
import type { Recording } from './recording.ts';
import { recordedTraffic } from './traffic.ts';
import type { BufferItem, Expectations, ExpectedEvent, ExpectedReply } from './types.ts';

/**
 * Step 3 of `puff verify`, second half: what only the comparison sees. Not taken: reads of config
 * (interrupt latency decides when they happen), the PFNs of a buffer, the payload of statistics.
 */

/**
 * Takes the expectations from a recording. Throws UnusableRecording where a buffer comes back that
 * was not out, and as findMarks does.
 */
export function takeExpectations(recording: Recording): Expectations {
  const { wire, features, negotiation } = recording;
  const { exchanges } = conversation(recording);
  const { reset } = findMarks(recording);
  const status = wire.slice(reset).flatMap((event) => (event.ev === 'status' ? [event.val] : []));
  const expectations: Expectations = {
    features,
    status: withoutRepeats(status),
    buffers: buffers(recording),
    config: wire.flatMap((event) => (event.ev === 'config-set' ? [event.actual] : [])),
    replies: exchanges.flatMap(({ command, replies }, request): ExpectedReply[] =>
      replies.map(({ message }) => ({ request, command, message })),
    ),
    events: events(recording),
    traffic: recordedTraffic(wire),
    unanswered: exchanges.flatMap(({ request, replies }, index) =>
      replies.length === 0 && request.message !== undefined ? [index] : [],
    ),
  };
  if (negotiation === undefined) return expectations;
  return { ...expectations, negotiation: negotiation.messages };
}

/** stop, cont and the end of a migration set the value there is; a reset shows as two zeros. */
export function withoutRepeats(values: readonly number[]): number[] {
  return values.filter((value, index) => index === 0 || value !== values[index - 1]);
}

function buffers({ wire, name }: Recording): BufferItem[] {
  const items: BufferItem[] = [];
  let last = -1;
  let statistics = -1;
  for (const event of wire) {
    if (event.ev === 'buf') {
      if (event.queue === 'stats') statistics = items.length;
      else last = items.length;
      const holdsRanges = event.queue === 'reporting' || event.queue === 'free_page';
      const count = holdsRanges ? event.inn : event.n;
      items.push({ queue: event.queue, count, length: null });
    } else if (event.ev === 'used') {
      const index = last >= 0 ? last : statistics;
      if (index < 0) {
        throw new UnusableRecording(
          `${name}: at ${event.tMs} ms a buffer that was not out is used`,
        );
      }
      items[index] = { ...items[index], length: event.len };
      if (last >= 0) last = -1;
      else statistics = -1;
    }
  }
  return items;
}

function events(recording: Recording): ExpectedEvent[] {
  return conversation(recording).events.map(({ event, during }) => ({
    name: event.name,
    data: event.data,
    beforeReplyTo: event.name === 'STOP' || event.name === 'RESUME' ? during : undefined,
  }));
}
