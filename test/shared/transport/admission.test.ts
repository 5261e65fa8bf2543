import { describe, expect, test } from 'vitest';
import { PROTOCOL_ERROR_NAMES } from '../../../shared/protocol/errors.ts';
import type { KnownGuest } from '../../../shared/transport/admission.ts';
import { decideAdmission } from '../../../shared/transport/admission.ts';
import { judgeEnd } from '../../../shared/transport/link-end.ts';

const known = (overrides: Partial<KnownGuest> = {}): KnownGuest => ({
  epoch: 5,
  session: 'S',
  heard: true,
  connected: false,
  ...overrides,
});
const live = known({ connected: true });
const silent = known({ connected: true, heard: false });
const over = known({ session: undefined });
const powerOn = { action: 'power-on', replacesLink: false };
const resume = { action: 'resume', replacesLink: false };
const resumeInstead = { action: 'resume', replacesLink: true };
const powerOnInstead = { action: 'power-on', replacesLink: true };
const refuse = (error: string): object => ({ action: 'refuse', error });

describe('decideAdmission', () => {
  test.each([
    ['an unknown guest powers on', undefined, [5, ''], powerOn],
    ['an unknown guest that names a session of another host', undefined, [5, 'S'], powerOn],
    ['same epoch, its session, link lost: resume', known(), [5, 'S'], resume],
    ['same epoch, its session, link live: the older link goes', live, [5, 'S'], resumeInstead],
    ['same epoch, no session, link live: a duplicate', live, [5, ''], refuse('duplicate-guest')],
    ['same epoch, another session, link live', live, [5, 'T'], refuse('duplicate-guest')],
    ['same epoch, no session, never heard: the welcome got lost', silent, [5, ''], powerOnInstead],
    ['same epoch, another session, never heard', silent, [5, 'T'], powerOnInstead],
    ['same epoch, its session, never heard', silent, [5, 'S'], resumeInstead],
    ['lower epoch, never heard', silent, [4, ''], refuse('stale-epoch')],
    ['same epoch, no session, link lost: the welcome got lost', known(), [5, ''], powerOn],
    ['same epoch, another session, link lost', known(), [5, 'T'], powerOn],
    ['same epoch, the session was given up', over, [5, 'S'], powerOn],
    ['same epoch, no session and none named', over, [5, ''], powerOn],
    ['higher epoch, link lost: power-on', known(), [6, ''], powerOn],
    ['higher epoch, link live: the older link goes', live, [6, ''], powerOnInstead],
    ['higher epoch does not resume', known(), [6, 'S'], powerOn],
    ['lower epoch, link live', live, [4, 'S'], refuse('stale-epoch')],
    ['lower epoch, link lost', known(), [4, ''], refuse('stale-epoch')],
    ['lower epoch, session given up', over, [4, 'S'], refuse('stale-epoch')],
  ] as const)('%s', (_name, guest, [epoch, session], decision) => {
    expect(decideAdmission(guest, { epoch, session })).toEqual(decision);
  });

  test('epochs beyond 2^32 compare as numbers', () => {
    const late = known({ epoch: 2 ** 40 });
    expect(decideAdmission(late, { epoch: 2 ** 40 + 1, session: '' }).action).toBe('power-on');
    expect(decideAdmission(late, { epoch: 2 ** 40 - 1, session: '' }).action).toBe('refuse');
  });
});

describe('judgeEnd: what a guest does after the end of a link', () => {
  const end = (reason: string, code = 4000): { code: number; reason: string; byPeer: boolean } => ({
    code,
    reason,
    byPeer: true,
  });

  test('a cut link, a host that goes, pings and slow readers: resume', () => {
    const resuming = PROTOCOL_ERROR_NAMES.filter((name) => judgeEnd(end(name)) === 'resume');
    expect(resuming.sort()).toEqual(
      [
        'HELLO_TIMEOUT_MS',
        'MAX_BYTES_PER_SECOND',
        'MAX_IDLE_MS',
        'MAX_MESSAGES_PER_SECOND',
        'OUTBOUND_HARD_BYTES',
        'PING_MISSES_MAX',
        'host-going',
      ].sort(),
    );
    expect(judgeEnd(end('the connection was lost', 1006))).toBe('resume');
  });

  test('a session that cannot go on: power-on', () => {
    const names = PROTOCOL_ERROR_NAMES.filter((name) => judgeEnd(end(name)) === 'power-on');
    expect(names).toEqual(['session-mismatch', 'MAX_RETAINED_MESSAGES', 'MAX_RETAINED_BYTES']);
  });

  test('what repeating would not change is final', () => {
    for (const name of ['duplicate-guest', 'stale-epoch', 'MAX_GUESTS', 'power-off', 'bad-ram']) {
      expect(judgeEnd(end(name))).toBe('final');
    }
  });

  test('HTTP: a refusal of the request is final, a busy or broken server is not', () => {
    expect(judgeEnd({ ...end('HTTP 400 bad-subprotocol', 1006), httpStatus: 400 })).toBe('final');
    expect(judgeEnd({ ...end('HTTP 403 forbidden-origin', 1006), httpStatus: 403 })).toBe('final');
    expect(judgeEnd({ ...end('HTTP 401 unauthorized', 1006), httpStatus: 401 })).toBe('final');
    expect(judgeEnd({ ...end('HTTP 503', 1006), httpStatus: 503 })).toBe('resume');
    expect(judgeEnd({ ...end('HTTP 408', 1006), httpStatus: 408 })).toBe('resume');
  });

  test('TLS: a host that is not to be trusted is not tried again', () => {
    expect(judgeEnd({ ...end('self-signed certificate', 1006), untrusted: true })).toBe('final');
  });
});
