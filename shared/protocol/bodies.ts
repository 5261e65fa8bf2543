import { assert } from '../lib/assert.ts';
import type { PfnRange } from '../lib/pfn-ranges.ts';
import { MAX_BODY_BYTES, MAX_PAYLOAD_BYTES } from '../limits.ts';
import { ProtocolError } from './errors.ts';

/**
 * What stands inside the `bin` fields: little-endian words without padding, at any byte offset of
 * a frame. Typed-array views need aligned offsets, so nothing here makes a view on a frame: words
 * are copied into a kept scratch (0.4 ns a word) or read byte by byte where there are few.
 */
assert(new Uint8Array(Uint32Array.of(1).buffer)[0] === 1, 'this machine is little-endian');

const PAIR_BYTES = 8;
const WRITABLE_BYTES = 12;

/**
 * A kept, aligned copy of one body of 32-bit words, for the data plane. One per file that reads
 * bodies is enough as long as nothing it calls loads it again; it takes 64 KiB.
 */
export class WordScratch {
  readonly words = new Uint32Array(MAX_PAYLOAD_BYTES / 4);
  readonly #bytes = new Uint8Array(this.words.buffer);

  /** Copies `body` to `words` and returns how many whole words it has; a rest is not counted. */
  load(body: Uint8Array): number {
    assert(body.length <= this.#bytes.length, 'a body fits the scratch');
    this.#bytes.set(body);
    return body.length >>> 2;
  }
}

/** The bytes of the first `count` words, without a copy: for a message that is encoded at once. */
export function bytesOfWords(words: Uint32Array | Int32Array, count: number): Uint8Array {
  assert(count <= words.length, 'a body takes no more words than there are');
  return new Uint8Array(words.buffer, words.byteOffset, count * 4);
}

/** A PFN list, le32 each, in a buffer of its own. */
export function writePfns(pfns: ArrayLike<number>): Uint8Array {
  const words = Uint32Array.from(pfns);
  return new Uint8Array(words.buffer);
}

/** PFNs of a body, for tests and dumps. Throws `bad-schema` when the length is not whole words. */
export function readPfns(body: Uint8Array): Uint32Array {
  checkWhole(body, 4, 'PFN list');
  return new Uint32Array(new Uint8Array(body).buffer);
}

/** RAM regions and discards: le32 first PFN, le32 page count. */
export function writePairs(ranges: readonly PfnRange[]): Uint8Array {
  const words = new Uint32Array(ranges.length * 2);
  for (let index = 0; index < ranges.length; index++) {
    words[2 * index] = ranges[index].start;
    words[2 * index + 1] = ranges[index].count;
  }
  return new Uint8Array(words.buffer);
}

/** Throws `bad-schema` when a pair is cut, a count is 0 or a range ends above 2^32 frames. */
export function readPairs(body: Uint8Array): PfnRange[] {
  checkWhole(body, PAIR_BYTES, 'range list');
  const ranges: PfnRange[] = [];
  for (let offset = 0; offset < body.length; offset += PAIR_BYTES) {
    const start = readWord(body, offset);
    const count = readWord(body, offset + 4);
    if (count === 0 || start + count > 2 ** 32) {
      throw new ProtocolError('bad-schema', `range of ${count} pages at PFN ${start}`);
    }
    ranges.push({ start, count });
  }
  return ranges;
}

/** The bodies of as many `discard` messages as the ranges need, in order. */
export function* splitPairs(
  ranges: readonly PfnRange[],
  bodyBytesMax: number = MAX_BODY_BYTES,
): Generator<Uint8Array> {
  const step = Math.floor(bodyBytesMax / PAIR_BYTES);
  assert(step > 0, 'a body holds at least one pair');
  for (let index = 0; index < ranges.length; index += step) {
    yield writePairs(ranges.slice(index, index + step));
  }
}

/** A device-writable part of a buffer: guest-physical address and length, both in bytes. */
export interface WritableRange {
  readonly address: number;
  readonly lengthBytes: number;
}

/** le64 address, le32 length, 12 bytes each without padding. */
export function writeWritable(ranges: readonly WritableRange[]): Uint8Array {
  const body = Buffer.alloc(ranges.length * WRITABLE_BYTES);
  for (let index = 0; index < ranges.length; index++) {
    const { address, lengthBytes } = ranges[index];
    assert(Number.isSafeInteger(address) && address >= 0, 'a writable address is a whole number');
    body.writeUInt32LE(address % 2 ** 32, index * WRITABLE_BYTES);
    body.writeUInt32LE(Math.floor(address / 2 ** 32), index * WRITABLE_BYTES + 4);
    body.writeUInt32LE(lengthBytes, index * WRITABLE_BYTES + 8);
  }
  return body;
}

/** Throws `bad-schema` when an entry is cut or an address does not fit 53 bits. */
export function readWritable(body: Uint8Array): WritableRange[] {
  checkWhole(body, WRITABLE_BYTES, 'writable list');
  const ranges: WritableRange[] = [];
  for (let offset = 0; offset < body.length; offset += WRITABLE_BYTES) {
    const address = readWord(body, offset) + readWord(body, offset + 4) * 2 ** 32;
    if (!Number.isSafeInteger(address)) throw new ProtocolError('bad-schema', 'writable address');
    ranges.push({ address, lengthBytes: readWord(body, offset + 8) });
  }
  return ranges;
}

/** Maximum size of each queue by index, le16 each. */
export function writeQueueSizes(sizes: readonly number[]): Uint8Array {
  return new Uint8Array(Uint16Array.from(sizes).buffer);
}

/** Throws `bad-schema` for half a size. */
export function readQueueSizes(body: Uint8Array): number[] {
  checkWhole(body, 2, 'queue size list');
  const sizes: number[] = [];
  for (let offset = 0; offset < body.length; offset += 2) {
    sizes.push(body[offset] | (body[offset + 1] << 8));
  }
  return sizes;
}

function readWord(body: Uint8Array, offset: number): number {
  const low = body[offset] | (body[offset + 1] << 8) | (body[offset + 2] << 16);
  return (low | (body[offset + 3] << 24)) >>> 0;
}

function checkWhole(body: Uint8Array, entryBytes: number, what: string): void {
  if (body.length % entryBytes === 0) return;
  throw new ProtocolError('bad-schema', `${what} of ${body.length} bytes`);
}
