import { Unpackr } from 'msgpackr';
import { assert, fail } from '../lib/assert.ts';
import { MAX_PAYLOAD_BYTES, MAX_TEXT_LENGTH } from '../limits.ts';
import { ProtocolError } from './errors.ts';
import type { FieldKind, Message, MessageSchema } from './messages.ts';
import { SCHEMAS } from './messages.ts';
import { scanFrame } from './scan.ts';

/**
 * Messages to frames and back. Encoding is canonical: the shortest form of every value, so that
 * equal messages are equal bytes. Decoding takes any width of integer, string and bin, and
 * checks in this order: size, structure (scan.ts), op, direction, number of fields, each field.
 * Not done here: what a field means to the device (queue exists, PFN is RAM, body length).
 *
 * Encoding is written by hand because the data plane goes through it (256 PFNs: half the time of
 * a general packer, one allocation); decoding is msgpackr's, which hands bins out as views.
 */

/** Schemas by op; op is below 64 so that the table stays dense. */
const BY_OP: (MessageSchema | undefined)[] = [];
for (const schema of SCHEMAS) BY_OP[schema.op] = schema;

const INTEGER_MAX: Partial<Record<FieldKind, number>> = {
  u8: 0xff,
  u16: 0xffff,
  u32: 0xffff_ffff,
};

/** Guest ids are file names and log fields: no separators, no leading dot or dash. */
const ID_PATTERN = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/;

/** Whether `text` may name a guest on the wire. */
export function isGuestId(text: string): boolean {
  return ID_PATTERN.test(text);
}

/**
 * Encodes a message into a buffer of its own: the caller may reuse its bins at once. Asserts what
 * `decode` would refuse, since a bad message is our own bug.
 */
export function encode(message: Message): Uint8Array {
  const schema = BY_OP[message[0]] ?? fail('an op to encode has a schema', String(message[0]));
  const { fields } = schema;
  assert(message.length === fields.length + 1, 'a message to encode has all its fields');
  let size = 1 + integerSize(schema.op);
  for (let index = 0; index < fields.length; index++) {
    size += valueSize(fields[index][1], message[index + 1]);
  }
  assert(size <= MAX_PAYLOAD_BYTES, 'a message to encode fits one payload');
  const frame = Buffer.allocUnsafe(size);
  frame[0] = 0x90 + message.length;
  let position = writeInteger(frame, 1, schema.op);
  for (let index = 0; index < fields.length; index++) {
    position = writeValue(frame, position, message[index + 1]);
  }
  assert(position === size, 'the size of a message was computed right');
  return frame;
}

/**
 * Decodes a frame that `from` sent; its bins are plain Uint8Array views of `frame`. Throws
 * ProtocolError with a name of scan.ts, `unknown-op`, `wrong-direction` or `bad-schema`.
 */
export function decode(frame: Uint8Array, from: 'guest' | 'host'): Message {
  if (frame.length > MAX_PAYLOAD_BYTES) throw new ProtocolError('MAX_PAYLOAD_BYTES');
  const wrong = scanFrame(frame);
  if (wrong !== undefined) throw new ProtocolError(wrong);
  const values = unpack(frame);
  const op = values[0] as number;
  const schema = BY_OP[op];
  if (schema === undefined) throw new ProtocolError('unknown-op', `op ${op}`);
  if (schema.from !== 'both' && schema.from !== from) {
    throw new ProtocolError('wrong-direction', schema.name);
  }
  const { fields } = schema;
  if (values.length !== fields.length + 1) {
    const had = values.length - 1;
    throw new ProtocolError('bad-schema', `${schema.name} has ${fields.length} fields, not ${had}`);
  }
  for (let index = 0; index < fields.length; index++) {
    if (!isOfKind(fields[index][1], values[index + 1])) {
      throw new ProtocolError('bad-schema', `${schema.name}.${fields[index][0]}`);
    }
  }
  return values as unknown as Message;
}

/** The op of a frame that passed the scan, decodable or not: sessions count by it. */
export function frameOp(frame: Uint8Array): number {
  const type = frame[1];
  if (type < 0x80) return type;
  let value = 0;
  const end = type === 0xcc ? 3 : type === 0xcd ? 4 : 6;
  for (let index = 2; index < end; index++) value = value * 256 + frame[index];
  return value;
}

/** msgpackr writes into the options object it is given, hence a literal of its own. */
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: false });

/**
 * Bins are views of what msgpackr is given. It is given plain bytes and not the Buffer of a
 * socket, because `slice` of a Buffer is one more view: copies that are none.
 *
 * The scan leaves nothing for msgpackr to refuse; the net is for a scan that is wrong.
 */
function unpack(frame: Uint8Array): readonly unknown[] {
  const bytes = new Uint8Array(frame.buffer, frame.byteOffset, frame.length);
  try {
    return unpackr.unpack(bytes) as readonly unknown[];
  } catch (error) {
    throw new ProtocolError(
      'malformed-frame',
      error instanceof Error ? error.name : 'not an error',
    );
  }
}

function isOfKind(kind: FieldKind, value: unknown): boolean {
  switch (kind) {
    case 'bool':
      return typeof value === 'boolean';
    case 'bin':
      return value instanceof Uint8Array;
    case 'id':
      return typeof value === 'string' && ID_PATTERN.test(value);
    case 'text':
      return typeof value === 'string' && Buffer.byteLength(value, 'utf8') <= MAX_TEXT_LENGTH;
    default:
      return Number.isInteger(value) && isInRange(kind, value as number);
  }
}

function isInRange(kind: FieldKind, value: number): boolean {
  return value >= 0 && value <= (INTEGER_MAX[kind] ?? -1);
}

/** Bytes that `value` takes, after an assertion that it is of the kind its schema wants. */
function valueSize(kind: FieldKind, value: unknown): number {
  if (typeof value === 'number') {
    assert(Number.isInteger(value) && isInRange(kind, value), 'an integer to encode is in range');
    return integerSize(value);
  }
  if (kind === 'bin') {
    assert(value instanceof Uint8Array, 'a bin to encode is bytes');
    return binHeaderSize(value.length) + value.length;
  }
  assert(isOfKind(kind, value), 'a text, id or bool to encode is of its kind');
  if (typeof value !== 'string') return 1;
  const length = Buffer.byteLength(value, 'utf8');
  return (length < 32 ? 1 : binHeaderSize(length)) + length;
}

function integerSize(value: number): number {
  if (value < 0x80) return 1;
  if (value < 0x100) return 2;
  return value < 0x1_0000 ? 3 : 5;
}

function binHeaderSize(length: number): number {
  return length < 0x100 ? 2 : 3;
}

function writeValue(frame: Buffer, position: number, value: unknown): number {
  if (typeof value === 'number') return writeInteger(frame, position, value);
  if (value instanceof Uint8Array) {
    const start = writeLength(frame, position, 0xc4, value.length);
    frame.set(value, start);
    return start + value.length;
  }
  if (typeof value === 'string') return writeString(frame, position, value);
  frame[position] = value === true ? 0xc3 : 0xc2;
  return position + 1;
}

function writeInteger(frame: Buffer, position: number, value: number): number {
  if (value < 0x80) {
    frame[position] = value;
    return position + 1;
  }
  if (value < 0x100) {
    frame[position] = 0xcc;
    frame[position + 1] = value;
    return position + 2;
  }
  if (value < 0x1_0000) {
    frame[position] = 0xcd;
    return frame.writeUInt16BE(value, position + 1);
  }
  frame[position] = 0xce;
  return frame.writeUInt32BE(value, position + 1);
}

function writeString(frame: Buffer, position: number, text: string): number {
  const length = Buffer.byteLength(text, 'utf8');
  if (length >= 32) {
    const start = writeLength(frame, position, 0xd9, length);
    return start + frame.write(text, start, 'utf8');
  }
  frame[position] = 0xa0 + length;
  return position + 1 + frame.write(text, position + 1, 'utf8');
}

/** Header of a string or bin: the type with one length byte, or the next type with two. */
function writeLength(frame: Buffer, position: number, type8: number, length: number): number {
  if (length < 0x100) {
    frame[position] = type8;
    frame[position + 1] = length;
    return position + 2;
  }
  frame[position] = type8 + 1;
  frame[position + 1] = length >> 8;
  frame[position + 2] = length & 0xff;
  return position + 3;
}
