import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { decode, encode } from '../../../shared/protocol/codec.ts';
import type { ProtocolErrorName } from '../../../shared/protocol/errors.ts';
import { ProtocolError } from '../../../shared/protocol/errors.ts';
import type { Message } from '../../../shared/protocol/messages.ts';
import { FIRST_SEQUENCED_OP, Op, SCHEMAS } from '../../../shared/protocol/messages.ts';

/** The vectors were made by another encoder; other implementations of the protocol use the file. */
interface Vectors {
  valid: { name: string; op: keyof typeof Op; from: Side; hex: string; fields: Fields }[];
  wide: { name: string; from: Side; hex: string; canonical: string }[];
  invalid: { name: string; from: Side; hex: string; error: ProtocolErrorName }[];
}
type Side = 'guest' | 'host';
type Fields = Record<string, string | number | boolean>;

const vectors: Vectors = JSON.parse(
  readFileSync(new URL('../../vectors/protocol.json', import.meta.url), 'utf8'),
);
const bytes = (hex: string): Uint8Array => Buffer.from(hex, 'hex');

/** A decoded message in the shape of a vector's fields. */
function fieldsOf(message: Message): Fields {
  const schema = SCHEMAS.find(({ op }) => op === message[0]);
  const entries = (schema?.fields ?? []).map(([name], index) => {
    const value = message[index + 1];
    return [name, value instanceof Uint8Array ? Buffer.from(value).toString('hex') : value];
  });
  return Object.fromEntries(entries);
}

function messageOf(op: keyof typeof Op, fields: Fields): Message {
  const schema = SCHEMAS.find(({ name }) => name === op);
  const values = (schema?.fields ?? []).map(([name, kind]) => {
    return kind === 'bin' ? bytes(String(fields[name])) : fields[name];
  });
  return [Op[op], ...values] as unknown as Message;
}

function errorOf(frame: Uint8Array, from: Side): string {
  try {
    decode(frame, from);
  } catch (error) {
    return error instanceof ProtocolError ? error.code : `${error}`;
  }
  return 'accepted';
}

test('every op has a vector, sequenced or not', () => {
  const ops = new Set(vectors.valid.map(({ op }) => op));
  expect([...ops].sort()).toEqual(Object.keys(Op).sort());
  expect(Op.device).toBe(FIRST_SEQUENCED_OP);
});

test.each(vectors.valid)('valid: $op, $name', ({ op, from, hex, fields }) => {
  const message = decode(bytes(hex), from);
  expect(message[0]).toBe(Op[op]);
  expect(fieldsOf(message)).toEqual(fields);
  expect(Buffer.from(encode(messageOf(op, fields))).toString('hex')).toBe(hex);
  expect(Buffer.from(encode(message)).toString('hex')).toBe(hex);
});

test.each(vectors.wide)('wide: $name', ({ from, hex, canonical }) => {
  const message = decode(bytes(hex), from);
  expect(Buffer.from(encode(message)).toString('hex')).toBe(canonical);
});

test.each(vectors.invalid)('invalid: $name is $error', ({ from, hex, error }) => {
  expect(errorOf(bytes(hex), from)).toBe(error);
});

test('each error of the scan and of the schema has a vector', () => {
  const seen = new Set(vectors.invalid.map(({ error }) => error));
  for (const error of [
    'malformed-frame',
    'forbidden-type',
    'MAX_FRAME_DEPTH',
    'MAX_FRAME_ITEMS',
    'unknown-op',
    'wrong-direction',
    'bad-schema',
  ] as const) {
    expect(seen).toContain(error);
  }
});
