import { findPrograms } from './guest-marks.ts';
import { findMarks } from './marks.ts';
import type { QmpLine } from './qmp-lines.ts';
import type { Recording } from './recording.ts';
import type { JsonObject } from './types.ts';
import type { WireEvent } from './wire-lines.ts';

/** A status value that means nothing to the split: neither 0, 1 nor 3. */
const NEUTRAL_STATUS = 4;
const EMPTY_REPLY: JsonObject = { return: {} };

/**
 * The same recording with every expected value wiped: features, status values, queues, PFNs and
 * their counts, lengths, `actual`, targets, replies, events' data. What stays is what inputs are
 * made of: requests, times, settings, which kind of thing happened; of values only those at the
 * marks (the first reset and acknowledge, the first visible effect of an operator's action and of
 * a program) and whether a buffer is the statistics queue's, because a `used` names no queue.
 */
export function blank(recording: Recording): Recording {
  const { reset, acknowledge, actions } = findMarks(recording);
  const shown = [...actions, ...findPrograms(recording)].map((mark) => mark.wireIndex);
  const kept = new Set([reset, acknowledge, ...shown]);
  const { negotiation } = recording;
  return {
    ...recording,
    features: 0n,
    qmp: recording.qmp.map(blankLine),
    wire: recording.wire.map((event, index) => blankEvent(event, kept.has(index))),
    negotiation: negotiation && {
      ...negotiation,
      messages: negotiation.messages.map(blankMessage),
    },
  };
}

function blankLine(line: QmpLine): QmpLine {
  if (line.kind === 'reply') return { ...line, message: EMPTY_REPLY };
  if (line.kind === 'event') return { ...line, data: undefined };
  return line;
}

function blankMessage(): JsonObject {
  return EMPTY_REPLY;
}

function blankEvent(event: WireEvent, marked: boolean): WireEvent {
  const { tMs } = event;
  switch (event.ev) {
    case 'status':
      return { ev: 'status', tMs, val: marked ? event.val : NEUTRAL_STATUS };
    case 'target':
      return { ev: 'target', tMs, num_pages: 0 };
    case 'config-get':
      return { ev: 'config-get', tMs, num_pages: 0, actual: 0 };
    case 'config-set':
      return { ev: 'config-set', tMs, actual: 0 };
    case 'used':
      return { ev: 'used', tMs, len: 0 };
    case 'buf': {
      const queue = event.queue === 'stats' || marked ? event.queue : 'inflate';
      return { ev: 'buf', tMs, queue, outn: 0, inn: 0, n: 0, runs: [] };
    }
  }
}
