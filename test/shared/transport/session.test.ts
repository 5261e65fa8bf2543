import { beforeEach, describe, expect, test } from 'vitest';
import { VirtualClock } from '../../../shared/lib/clock.ts';
import {
  MAX_RETAINED_BYTES,
  MAX_RETAINED_MESSAGES,
  SESSION_ACK_EVERY,
  SESSION_ACK_QUIET_MS,
} from '../../../shared/limits.ts';
import { encode } from '../../../shared/protocol/codec.ts';
import type { ProtocolError } from '../../../shared/protocol/errors.ts';
import type { GuestToHost } from '../../../shared/protocol/messages.ts';
import { Op } from '../../../shared/protocol/messages.ts';
import type { HostSession } from '../../../shared/transport/session.ts';
import { Session } from '../../../shared/transport/session.ts';
import { spell } from './harness.ts';

const used = (id: number): readonly [typeof Op.used, number, number, number] => [Op.used, 0, id, 0];
const status: GuestToHost = [Op.status, 1];

class Wire {
  readonly frames: string[] = [];
  bufferedBytes = 0;

  sendFrame(frame: Uint8Array): void {
    this.frames.push(Buffer.from(frame).toString('hex'));
  }
}

let clock: VirtualClock;
let wire: Wire;
let got: string[];
let failures: ProtocolError[];
let session: HostSession;

beforeEach(() => {
  clock = new VirtualClock();
  wire = new Wire();
  got = [];
  failures = [];
  session = new Session({
    clock,
    name: 's',
    onMessage: (message) => got.push(spell(message)),
    onFailed: (error) => failures.push(error),
  });
});

const ack = (received: number): string => spell([Op.ack, received]);

describe('sending', () => {
  test('attached: at once; detached: kept and sent in order by the next attach', () => {
    session.send(used(1));
    session.attach(wire, 0);
    session.send(used(2));
    expect(wire.frames).toEqual([used(1), used(2)].map(spell));
    session.detach();
    session.send(used(3));
    const next = new Wire();
    session.attach(next, 2);
    expect(next.frames).toEqual([spell(used(3))]);
    expect(session.sent).toBe(3);
  });

  test('a bin may be reused by the caller although the message is kept', () => {
    const ranges = Uint8Array.of(1, 0, 0, 0, 1, 0, 0, 0);
    session.send([Op.discard, ranges]);
    ranges.fill(0xff);
    session.attach(wire, 0);
    expect(wire.frames).toEqual([spell([Op.discard, Uint8Array.of(1, 0, 0, 0, 1, 0, 0, 0)])]);
  });

  test('an acknowledgement frees what it covers, the rest is sent again', () => {
    session.attach(wire, 0);
    for (let id = 0; id < 10; id++) session.send(used(id));
    session.acknowledge(7);
    expect(session.retainedCount).toBe(3);
    expect(session.retainedBytes).toBe(3 * encode(used(0)).length);
    session.detach();
    const next = new Wire();
    session.attach(next, 8);
    expect(next.frames).toEqual([used(8), used(9)].map(spell));
  });

  test('bufferedBytes is the link’s when attached and what is kept when not', () => {
    session.send(used(1));
    expect(session.bufferedBytes).toBe(encode(used(1)).length);
    wire.bufferedBytes = 1234;
    session.attach(wire, 0);
    expect(session.bufferedBytes).toBe(1234);
  });
});

describe('receiving', () => {
  test('counts and hands on only while attached', () => {
    session.receive(status);
    expect(session.received).toBe(0);
    session.attach(wire, 0);
    session.receive(status);
    session.detach();
    session.receive(status);
    expect(session.received).toBe(1);
    expect(got).toEqual([spell(status)]);
  });

  test('an error of the handler passes through and the message stays counted', () => {
    const throwing: HostSession = new Session({
      clock,
      name: 't',
      onMessage: () => {
        throw new Error('device');
      },
      onFailed: () => {},
    });
    throwing.attach(wire, 0);
    expect(() => throwing.receive(status)).toThrow('device');
    expect(throwing.received).toBe(1);
  });

  test('a message the link dropped is counted, for its sender counted it', () => {
    session.attach(wire, 0);
    session.skip();
    expect(session.received).toBe(1);
    expect(got).toEqual([]);
  });

  test(`acknowledges every ${SESSION_ACK_EVERY} messages without waiting`, () => {
    session.attach(wire, 0);
    for (let count = 0; count < 2 * SESSION_ACK_EVERY; count++) session.receive(status);
    expect(wire.frames).toEqual([ack(SESSION_ACK_EVERY), ack(2 * SESSION_ACK_EVERY)]);
    clock.advanceBy(10 * SESSION_ACK_QUIET_MS);
    expect(wire.frames).toHaveLength(2);
  });

  test('acknowledges the rest once it is quiet, and is then silent', () => {
    session.attach(wire, 0);
    session.receive(status);
    session.receive(status);
    clock.advanceBy(SESSION_ACK_QUIET_MS - 1);
    expect(wire.frames).toEqual([]);
    clock.advanceBy(1);
    expect(wire.frames).toEqual([ack(2)]);
    expect(clock.nextDueMs()).toBeUndefined();
  });

  test('what hello and welcome told is acknowledged: the count to the next ack starts over', () => {
    session.attach(wire, 0);
    for (let count = 1; count < SESSION_ACK_EVERY; count++) session.receive(status);
    session.detach();
    const next = new Wire();
    session.attach(next, 0);
    session.receive(status);
    expect(next.frames).toEqual([]);
    clock.advanceBy(SESSION_ACK_QUIET_MS);
    expect(next.frames).toEqual([ack(SESSION_ACK_EVERY)]);
  });

  test('no acknowledgement goes out on a link that is gone, the next one starts afresh', () => {
    session.attach(wire, 0);
    session.receive(status);
    session.detach();
    clock.advanceBy(SESSION_ACK_QUIET_MS);
    expect(wire.frames).toEqual([]);
    const next = new Wire();
    session.attach(next, 0);
    clock.advanceBy(SESSION_ACK_QUIET_MS);
    expect(next.frames).toEqual([]);
  });
});

describe('counts that cannot be reconciled are session-mismatch', () => {
  const mismatch = expect.objectContaining({ code: 'session-mismatch' });

  test('the peer claims more than was sent', () => {
    session.send(used(1));
    expect(() => session.attach(wire, 2)).toThrow(mismatch);
    expect(session.attached).toBe(false);
    session.attach(wire, 1);
    expect(() => session.acknowledge(2)).toThrow(mismatch);
  });

  test('the peer lacks what it had acknowledged before', () => {
    session.attach(wire, 0);
    session.send(used(1));
    session.send(used(2));
    session.acknowledge(2);
    session.detach();
    expect(() => session.attach(new Wire(), 1)).toThrow(mismatch);
  });
});

test('counts go on across 2^32', () => {
  const near: HostSession = new Session({
    clock,
    name: 'near',
    countFrom: 2 ** 32 - 2,
    onMessage: () => {},
    onFailed: () => {},
  });
  near.attach(wire, 2 ** 32 - 2);
  for (let id = 0; id < 4; id++) {
    near.send(used(id));
    near.receive(status);
  }
  expect([near.sent, near.received]).toEqual([2, 2]);
  near.acknowledge(2 ** 32 - 1);
  near.acknowledge(1);
  expect(near.retainedCount).toBe(1);
  near.detach();
  const next = new Wire();
  near.attach(next, 1);
  expect(next.frames).toEqual([spell(used(3))]);
});

describe('bounds', () => {
  test('MAX_RETAINED_MESSAGES: one more ends the session, told on the next turn', () => {
    session.attach(wire, 0);
    for (let id = 0; id < MAX_RETAINED_MESSAGES; id++) session.send(used(0));
    expect(session.failed).toBeUndefined();
    session.send(used(0));
    expect(session.failed?.code).toBe('MAX_RETAINED_MESSAGES');
    expect(failures).toEqual([]);
    clock.advanceBy(0);
    expect(failures.map(({ code }) => code)).toEqual(['MAX_RETAINED_MESSAGES']);
    expect(wire.frames).toHaveLength(MAX_RETAINED_MESSAGES);
  });

  test('MAX_RETAINED_BYTES: large messages end it sooner', () => {
    const ranges = new Uint8Array(60 * 1024);
    const fitting = Math.floor(MAX_RETAINED_BYTES / encode([Op.discard, ranges]).length);
    for (let count = 0; count < fitting; count++) session.send([Op.discard, ranges]);
    expect(session.failed).toBeUndefined();
    session.send([Op.discard, ranges]);
    expect(session.failed?.code).toBe('MAX_RETAINED_BYTES');
    expect(session.retainedBytes).toBe(0);
  });

  test('a failed session neither sends nor receives nor attaches', () => {
    for (let id = 0; id <= MAX_RETAINED_MESSAGES; id++) session.send(used(0));
    session.send(used(1));
    session.receive(status);
    expect([session.retainedCount, session.received]).toEqual([0, 0]);
    expect(() => session.attach(wire, 0)).toThrow(
      expect.objectContaining({ code: 'MAX_RETAINED_MESSAGES' }),
    );
    clock.advanceBy(0);
    expect(failures).toHaveLength(1);
  });

  test('memory of acknowledged messages is given back while others are kept', () => {
    session.attach(wire, 0);
    for (let id = 0; id < 100_000; id++) {
      session.send(used(0));
      session.acknowledge(Math.max(0, id - 10));
    }
    expect(session.retainedCount).toBe(11);
    expect(session.failed).toBeUndefined();
  });
});

test('attaching an attached session is our own bug', () => {
  session.attach(wire, 0);
  expect(() => session.attach(wire, 0)).toThrow(/detached before/);
});
