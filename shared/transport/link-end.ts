import type { ProtocolErrorName } from '../protocol/errors.ts';
import { asProtocolError, HTTP_ERRORS, type HttpErrorName } from '../protocol/errors.ts';
import type { LinkEnd } from './link.ts';

/**
 * What a guest does when a link ends: dial again and resume, dial again and begin a new session,
 * or stop. An end that is not in the table (a cut, a proxy's code) may be mended by dialling.
 */
export type EndVerdict = 'resume' | 'power-on' | 'final';

const VERDICTS = {
  'text-frame': 'final',
  'malformed-frame': 'final',
  'bad-websocket': 'final',
  'forbidden-type': 'final',
  MAX_FRAME_DEPTH: 'final',
  MAX_FRAME_ITEMS: 'final',
  MAX_PAYLOAD_BYTES: 'final',
  MAX_FRAGMENTS: 'final',
  'unknown-op': 'final',
  'wrong-direction': 'final',
  'bad-schema': 'final',
  'bad-hello': 'final',
  HELLO_TIMEOUT_MS: 'resume',
  'unsupported-version': 'final',
  'duplicate-guest': 'final',
  'stale-epoch': 'final',
  replaced: 'final',
  'session-mismatch': 'power-on',
  'bad-queue': 'final',
  QUEUE_CREDIT: 'final',
  'bad-ram': 'final',
  MAX_GUESTS: 'final',
  OUTBOUND_HARD_BYTES: 'resume',
  MAX_RETAINED_MESSAGES: 'power-on',
  PING_MISSES_MAX: 'resume',
  'device-refused': 'final',
  'power-off': 'final',
  MAX_RETAINED_BYTES: 'power-on',
  MAX_IDLE_MS: 'resume',
  MAX_MESSAGES_PER_SECOND: 'resume',
  MAX_BYTES_PER_SECOND: 'resume',
  'guest-gone': 'final',
  'host-going': 'resume',
} as const satisfies Record<ProtocolErrorName, EndVerdict>;

/** The one status of 400 to 499 that is about the moment and not about the request. */
const HTTP_REQUEST_TIMEOUT = 408;

export function judgeEnd(end: LinkEnd): EndVerdict {
  const { httpStatus = 0, untrusted = false } = end;
  if (untrusted) return 'final';
  if (httpStatus >= 400 && httpStatus < 500 && httpStatus !== HTTP_REQUEST_TIMEOUT) return 'final';
  const error = asProtocolError(end.reason);
  return error === undefined ? 'resume' : VERDICTS[error];
}

/** Why HTTP refused a link, with a sentence for people where the name is one of a Puff host's. */
export function refusalText({ reason }: LinkEnd): string {
  const name = reason.split(' ').at(-1) ?? '';
  if (!Object.hasOwn(HTTP_ERRORS, name)) return reason;
  return `${reason}: ${HTTP_ERRORS[name as HttpErrorName].text}`;
}
