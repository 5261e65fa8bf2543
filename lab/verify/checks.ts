import { hasFeature, VIRTIO_F_VERSION_1 } from '../../shared/virtio/features.ts';
import { compareItems, joinChecks, sameJson } from './compare.ts';
import { withoutRepeats } from './expectations.ts';
import { sameReply } from './replies.ts';
import type {
  BufferItem,
  Check,
  Expectations,
  ExpectedEvent,
  ExpectedReply,
  JsonObject,
  Observed,
  ObservedMessage,
} from './types.ts';

/**
 * Step 4 of `puff verify`: what the emulator did against what was recorded. Not compared: reads
 * of config (interrupt latency decides when they happen), the PFNs of a buffer, the time at which
 * anything happened, the ring's own feature bits.
 */

/** The balloon's own feature bits and VERSION_1; the others describe rings in memory. */
const FEATURE_BITS = [0, 1, 2, 3, 4, 5, VIRTIO_F_VERSION_1];

/** All checks, in the order of CHECK_NAMES. */
export function runChecks(expectations: Expectations, observed: Observed): Check[] {
  return [
    compareItems(
      'wire.features',
      featureItems(expectations.features),
      featureItems(observed.features),
      (expected, actual) => expected.set === actual.set,
    ),
    compareItems('wire.status', expectations.status, bringUp(observed.status), Object.is),
    compareItems('wire.buffers', expectations.buffers, observed.buffers, sameBuffer),
    compareItems('wire.config', expectations.config, observed.config, Object.is),
    compareItems('wire.targets', targets(expectations), targets(observed), Object.is),
    checkReplies(expectations, observed),
    checkEvents(expectations, observed),
  ];
}

/**
 * Pages that the host wanted in the balloon, in order. Asking again for what it wants already is
 * no item: the driver is told of no change.
 */
function targets({ traffic }: Pick<Observed, 'traffic'>): number[] {
  const pages = traffic.flatMap((item) => (item.kind === 'target' ? [item.pages] : []));
  return withoutRepeats([0, ...pages]).slice(1);
}

function featureItems(features: bigint): { bit: number; set: boolean }[] {
  return FEATURE_BITS.map((bit) => ({ bit, set: hasFeature(features, bit) }));
}

/** From the last 0 before the first 1, repeats dropped: as the recording's values were taken. */
function bringUp(status: readonly number[]): number[] {
  const reset = status.lastIndexOf(0, status.indexOf(1));
  return withoutRepeats(status.slice(Math.max(reset, 0)));
}

/** Payloads of statistics were not recorded: their count says nothing. */
function sameBuffer(expected: BufferItem, actual: BufferItem): boolean {
  return (
    expected.queue === actual.queue &&
    expected.length === actual.length &&
    (expected.queue === 'stats' || expected.count === actual.count)
  );
}

function checkReplies(expectations: Expectations, observed: Observed): Check {
  const unanswered = new Set(expectations.unanswered);
  const replies = observed.qmp.filter(
    ({ request, message }) => isReply(message) && !unanswered.has(request),
  );
  const main = compareReplies(
    expectations.replies,
    replies.map(({ message }) => message),
  );
  const negotiation = expectations.negotiation?.map((message, index): ExpectedReply => {
    return { request: index - 1, command: undefined, message };
  });
  const second = compareReplies(negotiation ?? [], observed.negotiation ?? []);
  return joinChecks(main, second);
}

function compareReplies(expected: readonly ExpectedReply[], actual: readonly JsonObject[]): Check {
  const items = actual.map((message): ExpectedReply => {
    return { request: 0, command: undefined, message };
  });
  const check = compareItems('qmp.replies', expected, items, (reply, item) =>
    sameReply(reply, item.message),
  );
  return { ...check, firstDifference: messagesOnly(check) };
}

/** In the report a reply is its message: that is what a reader compares. */
function messagesOnly({ firstDifference }: Check): Check['firstDifference'] {
  if (firstDifference === null) return null;
  const message = (item: unknown): unknown => (item as ExpectedReply | null)?.message ?? null;
  return {
    index: firstDifference.index,
    expected: message(firstDifference.expected),
    actual: message(firstDifference.actual),
  };
}

function isReply(message: JsonObject): boolean {
  return 'return' in message || 'error' in message;
}

function checkEvents(expectations: Expectations, observed: Observed): Check {
  return compareItems(
    'qmp.events',
    expectations.events,
    observedEvents(observed.qmp),
    (expected, actual) =>
      expected.name === actual.name &&
      sameJson(expected.data, actual.data) &&
      (expected.beforeReplyTo === undefined || expected.beforeReplyTo === actual.beforeReplyTo),
  );
}

/** Each event with the request that the next reply after it answers. */
function observedEvents(messages: readonly ObservedMessage[]): ExpectedEvent[] {
  return messages.flatMap(({ message }, index) => {
    if (typeof message.event !== 'string') return [];
    const reply = messages.find((later, at) => at > index && isReply(later.message));
    const data = message.data as JsonObject | undefined;
    return [{ name: message.event, data, beforeReplyTo: reply?.request }];
  });
}
