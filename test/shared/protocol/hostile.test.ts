import fc from 'fast-check';
import { Packr, Unpackr } from 'msgpackr';
import { expect, test } from 'vitest';
import { MAX_FRAME_DEPTH, MAX_PAYLOAD_BYTES } from '../../../shared/limits.ts';
import { decode, encode, frameOp } from '../../../shared/protocol/codec.ts';
import { ProtocolError } from '../../../shared/protocol/errors.ts';
import type { Message } from '../../../shared/protocol/messages.ts';
import { Op, SCHEMAS } from '../../../shared/protocol/messages.ts';
import { scanFrame } from '../../../shared/protocol/scan.ts';
import { utf8Valid } from '../../../shared/protocol/utf8.ts';
import { anyMessage } from './arbitraries.ts';

/** Decodes as both sides; what is refused must be refused with a ProtocolError. */
function outcome(frame: Uint8Array): string {
  const outcomes = (['guest', 'host'] as const).map((from) => {
    try {
      decode(frame, from);
      return 'accepted';
    } catch (error) {
      if (error instanceof ProtocolError) return error.code;
      throw error;
    }
  });
  return outcomes.join(' ');
}

const REFUSED = 'forbidden-type forbidden-type';
const cyclic: { self?: unknown } = {};
cyclic.self = cyclic;
const records = new Packr({ useRecords: true });
const clones = new Packr({ structuredClone: true, moreTypes: true });

/** Whole values that msgpackr decodes to something surprising, behind a plausible op. */
const surprises: [string, Uint8Array][] = [
  ['a record definition, 0x72', records.pack([Op.status, { a: 1 }, { a: 2 }])],
  ['a cyclic structured clone', clones.pack([Op.status, cyclic])],
  ['an Error', clones.pack([Op.status, new Error('x')])],
  ['a RegExp', clones.pack([Op.status, /x/])],
  ['a Set', clones.pack([Op.status, new Set([1])])],
  ['a Date', clones.pack([Op.status, new Date(0)])],
  ['a typed array', clones.pack([Op.status, Uint32Array.of(1)])],
  ['undefined', clones.pack([Op.status, undefined])],
  ['a BigInt beyond 64 bits', clones.pack([Op.status, 2n ** 70n])],
  ['a __proto__ key', Buffer.from('921181a95f5f70726f746f5f5f81a161c3', 'hex')],
];

test.each(surprises)('%s is decoded by msgpackr and refused by the scan', (_name, frame) => {
  expect(() => new Unpackr({ useRecords: false }).unpack(frame)).not.toThrow();
  expect(outcome(frame)).toBe(REFUSED);
});

test('nesting of 4,400 is refused without recursion, nesting within the limit by type', () => {
  const nested = (depth: number): Uint8Array => Buffer.concat([Buffer.alloc(depth, 0x91), zero]);
  const zero = Buffer.of(0);
  const head = Buffer.of(0x92, Op.status);
  const frame = (depth: number): Uint8Array => Buffer.concat([head, nested(depth)]);
  expect(scanFrame(frame(4_400))).toBe('MAX_FRAME_DEPTH');
  expect(scanFrame(frame(MAX_FRAME_DEPTH))).toBe('MAX_FRAME_DEPTH');
  expect(scanFrame(frame(MAX_FRAME_DEPTH - 1))).toBe('forbidden-type');
  expect(outcome(Buffer.alloc(4_400, 0x91))).toBe(REFUSED);
});

test.each([
  ['array32', 'dd', 'MAX_FRAME_ITEMS'],
  ['map32', 'df', 'forbidden-type'],
  ['bin32', 'c6', 'malformed-frame'],
  ['str32', 'db', 'malformed-frame'],
  ['ext32', 'c9', 'forbidden-type'],
])('%s that claims 4 GiB is refused before anything is allocated', (_name, type, error) => {
  expect(scanFrame(Buffer.from(`9211${type}ffffffff`, 'hex'))).toBe(error);
});

test('every prefix and every extension of a valid frame is malformed', () => {
  for (const schema of SCHEMAS) {
    const frame = encode(sampleOf(schema.op));
    expect(scanFrame(frame)).toBeUndefined();
    for (let end = 0; end < frame.length; end++) {
      expect(scanFrame(frame.subarray(0, end))).toBe('malformed-frame');
    }
    for (const more of [0x00, 0x7f, 0x90, 0xc0, 0xc1, 0xff]) {
      expect(scanFrame(Buffer.concat([frame, Buffer.of(more)]))).toBe('malformed-frame');
    }
  }
});

function sampleOf(op: Op): Message {
  const of = fc.sample(anyMessage, { seed: 7, numRuns: 500 }).find((message) => message[0] === op);
  if (of === undefined) throw new Error(`no sample of op ${op}`);
  return of;
}

test('MAX_PAYLOAD_BYTES: a frame above it is refused whatever it holds', () => {
  const body = Buffer.alloc(MAX_PAYLOAD_BYTES - 5);
  const frame = Buffer.concat([Buffer.of(0x92, Op.discard, 0xc5, 0xff, 0xfb), body]);
  expect(frame.length).toBe(MAX_PAYLOAD_BYTES);
  expect(decode(frame, 'host')[0]).toBe(Op.discard);
  const larger = Buffer.concat([frame, Buffer.of(0)]);
  expect(outcome(larger)).toBe('MAX_PAYLOAD_BYTES MAX_PAYLOAD_BYTES');
});

test('random bytes never cause anything but a ProtocolError', () => {
  const plausible = fc
    .tuple(fc.integer({ min: 0x90, max: 0x9f }), fc.uint8Array())
    .map(([head, rest]) => Buffer.concat([Buffer.of(head), rest]));
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array({ maxLength: 64 }), plausible), (frame) => {
      expect(outcome(frame)).not.toBe('');
    }),
    { numRuns: 10_000 },
  );
});

test('mutated valid frames never cause anything but a ProtocolError', () => {
  const mutation = fc.record({ at: fc.nat(), byte: fc.integer({ min: 0, max: 255 }) });
  const mutated = fc
    .tuple(anyMessage, fc.array(mutation, { minLength: 1, maxLength: 4 }))
    .map(([message, mutations]) => {
      const frame = Buffer.from(encode(message));
      for (const { at, byte } of mutations) frame[at % frame.length] = byte;
      return frame;
    });
  fc.assert(
    fc.property(mutated, (frame) => {
      const result = outcome(frame);
      if (result.includes('accepted') || result.includes('schema')) frameOp(frame);
    }),
    { numRuns: 10_000 },
  );
});

test('what the scan lets pass, msgpackr decodes to the op the scan saw', () => {
  const unpackr = new Unpackr({ useRecords: false });
  const types = [
    0x00, 0x7f, 0xa1, 0xc2, 0xc3, 0xc4, 0xc5, 0xcc, 0xcd, 0xce, 0xd0, 0xd1, 0xd9, 0xff,
  ];
  const byte = fc.oneof(fc.constantFrom(...types), fc.integer({ min: 0, max: 255 }));
  const frames = fc
    .tuple(fc.integer({ min: 1, max: 4 }), fc.array(byte, { maxLength: 12 }))
    .map(([count, rest]) => Buffer.from([0x90 + count, ...rest]));
  let passed = 0;
  fc.assert(
    fc.property(frames, (frame) => {
      if (scanFrame(frame) !== undefined) return;
      passed++;
      const values: unknown[] = unpackr.unpack(frame);
      expect(values[0]).toBe(frameOp(frame));
      expect(values.length).toBe(frame[0] & 0x0f);
      for (const value of values) {
        const plain = typeof value === 'boolean' || typeof value === 'string';
        expect(plain || Number.isInteger(value) || value instanceof Uint8Array).toBe(true);
      }
    }),
    { numRuns: 10_000 },
  );
  expect(passed).toBeGreaterThan(100);
});

test('the UTF-8 check agrees with the platform decoder', () => {
  const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  const lead = fc.constantFrom(0x41, 0x80, 0xc0, 0xc2, 0xdf, 0xe0, 0xed, 0xef, 0xf0, 0xf4, 0xf5);
  const more = fc.constantFrom(0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0);
  const texts = fc.array(fc.oneof(lead, more), { maxLength: 6 });
  fc.assert(
    fc.property(fc.oneof(texts, fc.string({ unit: 'binary' }).map(utf8Bytes)), (values) => {
      const bytes = Uint8Array.from(values);
      let valid = true;
      try {
        strict.decode(bytes);
      } catch {
        valid = false;
      }
      expect(utf8Valid(bytes, 0, bytes.length)).toBe(valid);
    }),
    { numRuns: 5_000 },
  );
});

function utf8Bytes(text: string): number[] {
  return [...Buffer.from(text, 'utf8')];
}
