import fc from 'fast-check';
import { Packr } from 'msgpackr';
import { expect, test } from 'vitest';
import { decode, encode, frameOp, isGuestId } from '../../../shared/protocol/codec.ts';
import type { Message } from '../../../shared/protocol/messages.ts';
import { Op, SCHEMAS } from '../../../shared/protocol/messages.ts';
import { anyMessage } from './arbitraries.ts';

const senderOf = (message: Message): 'guest' | 'host' => {
  const schema = SCHEMAS.find(({ op }) => op === message[0]);
  return schema?.from === 'host' ? 'host' : 'guest';
};

/** Bins as plain arrays of numbers: Buffer and Uint8Array compare equal then. */
const plain = (message: Message): unknown[] =>
  message.map((value) => (value instanceof Uint8Array ? [...value] : value));

test('decode(encode(message)) is the message, for every op', () => {
  fc.assert(
    fc.property(anyMessage, (message) => {
      const frame = encode(message);
      expect(plain(decode(frame, senderOf(message)))).toEqual(plain(message));
      expect(frameOp(frame)).toBe(message[0]);
    }),
    { numRuns: 2_000 },
  );
});

test('encoding is what msgpackr writes for the same array: canonical msgpack', () => {
  const packr = new Packr({ useRecords: false, variableMapSize: true });
  fc.assert(
    fc.property(anyMessage, (message) => {
      const values = message.map((v) => (v instanceof Uint8Array ? Buffer.from(v) : v));
      expect(Buffer.from(encode(message)).equals(packr.pack(values))).toBe(true);
    }),
    { numRuns: 2_000 },
  );
});

test('encode copies: a bin may be reused once it returned', () => {
  const body = Uint8Array.of(1, 2, 3, 4);
  const frame = encode([Op.avail, 0, 0, body, new Uint8Array()]);
  body.fill(0xff);
  expect(decode(frame, 'guest')[3]).toEqual(Uint8Array.of(1, 2, 3, 4));
});

test('a decoded bin is a view of the frame: copy what is kept', () => {
  const frame = encode([Op.discard, Uint8Array.of(1, 0, 0, 0, 2, 0, 0, 0)]);
  const body = decode(frame, 'host')[1] as Uint8Array;
  const kept = body.slice();
  frame.fill(9);
  expect([...body]).toEqual([9, 9, 9, 9, 9, 9, 9, 9]);
  expect([...kept]).toEqual([1, 0, 0, 0, 2, 0, 0, 0]);
});

test('integers of 32 bits keep their value at the ends of each width', () => {
  for (const value of [0, 127, 128, 255, 256, 65_535, 65_536, 2 ** 31, 2 ** 32 - 1]) {
    expect(decode(encode([Op.ack, value]), 'guest')).toEqual([Op.ack, value]);
  }
});

test.each([
  ['an integer out of range', [Op.status, 256]],
  ['a negative integer', [Op.status, -1]],
  ['a fraction', [Op.ack, 1.5]],
  ['a missing field', [Op.status]],
  ['a text above 256 bytes', [Op.bye, 'é'.repeat(129)]],
  ['a bad guest id', [Op.hello, 1, '../etc', 0, 0, '', 0, new Uint8Array()]],
  ['a string for a bin', [Op.discard, 'abcd']],
  ['an unknown op', [5]],
  ['a body above one payload', [Op.discard, new Uint8Array(64 * 1024)]],
])('encode asserts on %s: that is our own bug', (_name, message) => {
  expect(() => encode(message as unknown as Message)).toThrow(/to encode/);
});

test('guest ids are file names: no path, no leading dot, at most 64 characters', () => {
  for (const id of ['vm-1', 'A', '0.b_c-d', 'a'.repeat(64)]) expect(isGuestId(id)).toBe(true);
  for (const id of ['', '.', '-x', '_x', 'a/b', 'a b', 'ä', 'a\n', 'a'.repeat(65)]) {
    expect(isGuestId(id)).toBe(false);
  }
});
