import fc from 'fast-check';
import { expect, test } from 'vitest';
import { MAX_BODY_BYTES } from '../../../shared/limits.ts';
import {
  bytesOfWords,
  readPairs,
  readPfns,
  readQueueSizes,
  readWritable,
  splitPairs,
  WordScratch,
  writePairs,
  writePfns,
  writeQueueSizes,
  writeWritable,
} from '../../../shared/protocol/bodies.ts';

const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
/** The same bytes at an offset that no 32-bit view may start at. */
const misaligned = (bytes: Uint8Array, offset: number): Uint8Array => {
  const around = new Uint8Array(bytes.length + offset);
  around.set(bytes, offset);
  return around.subarray(offset);
};

test('D2: a PFN list is little-endian 32-bit words', () => {
  expect(Buffer.from(writePfns([0x1234, 0xfffffffe])).toString('hex')).toBe('34120000feffffff');
});

test('words are read the same at every offset of a frame', () => {
  const scratch = new WordScratch();
  fc.assert(
    fc.property(fc.array(u32, { maxLength: 300 }), fc.nat({ max: 7 }), (pfns, offset) => {
      const body = misaligned(writePfns(pfns), offset);
      expect([...readPfns(body)]).toEqual(pfns);
      expect(scratch.load(body)).toBe(pfns.length);
      expect([...scratch.words.subarray(0, pfns.length)]).toEqual(pfns);
    }),
  );
});

test('PFNs of a Buffer in a pool are its own, not the pool’s', () => {
  expect([...readPfns(Buffer.from('0100000002000000', 'hex'))]).toEqual([1, 2]);
});

test('a scratch counts whole words only and keeps its own copy', () => {
  const scratch = new WordScratch();
  const body = Uint8Array.of(1, 0, 0, 0, 2, 0, 0);
  expect(scratch.load(body)).toBe(1);
  body.fill(0);
  expect(scratch.words[0]).toBe(1);
});

test('bytesOfWords is a view of the words, without a copy', () => {
  const words = Uint32Array.of(1, 2, 3);
  const bytes = bytesOfWords(words, 2);
  words[1] = 7;
  expect([...bytes]).toEqual([1, 0, 0, 0, 7, 0, 0, 0]);
  expect(() => bytesOfWords(words, 4)).toThrow(/no more words/);
});

const range = fc
  .record({ start: u32, count: fc.integer({ min: 1, max: 1000 }) })
  .filter(({ start, count }) => start + count <= 2 ** 32);

test('range lists survive the round trip, split or not', () => {
  fc.assert(
    fc.property(fc.array(range), fc.integer({ min: 8, max: 64 }), (ranges, bodyBytesMax) => {
      expect(readPairs(misaligned(writePairs(ranges), 1))).toEqual(ranges);
      const bodies = [...splitPairs(ranges, bodyBytesMax)];
      expect(bodies.flatMap((body) => readPairs(body))).toEqual(ranges);
      for (const body of bodies) expect(body.length).toBeLessThanOrEqual(bodyBytesMax);
    }),
  );
});

test('a discard of more ranges than MAX_BODY_BYTES holds becomes several messages', () => {
  const pairsPerBody = MAX_BODY_BYTES / 8;
  const ranges = Array.from({ length: pairsPerBody + 1 }, (_, i) => ({ start: 2 * i, count: 1 }));
  expect([...splitPairs(ranges)].map((body) => body.length)).toEqual([MAX_BODY_BYTES, 8]);
  expect([...splitPairs([])]).toEqual([]);
});

test('writable ranges are le64 address and le32 length', () => {
  const ranges = [
    { address: 0x1_2345_6000, lengthBytes: 0x40_0000 },
    { address: 2 ** 53 - 4096, lengthBytes: 0xffff_ffff },
    { address: 0, lengthBytes: 0 },
  ];
  const body = writeWritable(ranges);
  expect(Buffer.from(body).toString('hex', 0, 12)).toBe('006045230100000000004000');
  expect(readWritable(misaligned(body, 3))).toEqual(ranges);
});

test('queue sizes are le16', () => {
  const body = writeQueueSizes([128, 1024, 32]);
  expect(Buffer.from(body).toString('hex')).toBe('800000042000');
  expect(readQueueSizes(misaligned(body, 1))).toEqual([128, 1024, 32]);
});

test.each([
  ['a cut PFN', () => readPfns(new Uint8Array(5))],
  ['a cut range', () => readPairs(new Uint8Array(12))],
  ['an empty range', () => readPairs(writePairs([{ start: 1, count: 0 }]))],
  ['a range beyond PFN 2^32', () => readPairs(writePairs([{ start: 0xffffffff, count: 2 }]))],
  ['a cut writable entry', () => readWritable(new Uint8Array(11))],
  [
    'an address above 2^53',
    () => readWritable(Uint8Array.of(0, 0, 0, 0, 0, 0, 0x20, 0, 1, 0, 0, 0)),
  ],
  ['half a queue size', () => readQueueSizes(new Uint8Array(3))],
])('%s is bad-schema', (_name, read) => {
  expect(read).toThrow(expect.objectContaining({ code: 'bad-schema' }));
});
