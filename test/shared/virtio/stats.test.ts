import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MAX_STATS_ENTRIES } from '../../../shared/limits.ts';
import { STATS_TAGS } from '../../../shared/virtio/balloon.ts';
import {
  decodeStats,
  encodeStats,
  LINUX_6_1_TAG_ORDER,
  LINUX_6_12_TAG_ORDER,
  STATS_BUFFER_BYTES,
  type StatsEntry,
} from '../../../shared/virtio/stats.ts';

const numberOf = (tag: (typeof STATS_TAGS)[number]): number => STATS_TAGS.indexOf(tag);

function entry(tag: number, value: bigint): Uint8Array {
  const bytes = new Uint8Array(10);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, tag, true);
  view.setBigUint64(2, value, true);
  return bytes;
}

function buffer(...parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

describe('a statistics buffer', () => {
  it('X2: holds packed little-endian entries of 10 bytes', () => {
    const bytes = encodeStats([
      ['free-memory', 0x0102_0304_0506_0708n],
      ['oom-kills', 1n],
    ]);
    expect([...bytes]).toEqual([4, 0, 8, 7, 6, 5, 4, 3, 2, 1, 10, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
  });

  it('is written into a buffer that is used again', () => {
    const out = new Uint8Array(STATS_BUFFER_BYTES);
    const two = encodeStats(
      [
        ['swap-in', 1n],
        ['swap-out', 2n],
      ],
      out,
    );
    const one = encodeStats([['swap-in', 3n]], out);
    expect(two.buffer).toBe(out.buffer);
    expect(two).toHaveLength(20);
    expect(one).toHaveLength(10);
    expect(decodeStats(one).values).toEqual({ 'swap-in': 3n });
  });

  it('does not fit a buffer that is too small', () => {
    const entries: StatsEntry[] = [['swap-in', 1n]];
    expect(() => encodeStats(entries, new Uint8Array(9))).toThrow(
      'statistics do not fit their buffer',
    );
  });

  it('holds all tags that Linux knows', () => {
    expect(STATS_BUFFER_BYTES).toBe(160);
  });
});

describe('the order of Linux', () => {
  it('6.1 sends ten entries', () => {
    expect(LINUX_6_1_TAG_ORDER.map(numberOf)).toEqual([0, 1, 2, 3, 8, 9, 4, 5, 6, 7]);
  });

  it('6.12 sends sixteen, the new ones after the faults', () => {
    expect(LINUX_6_12_TAG_ORDER.map(numberOf)).toEqual([
      0, 1, 2, 3, 10, 11, 12, 13, 14, 15, 8, 9, 4, 5, 6, 7,
    ]);
    expect(new Set(LINUX_6_12_TAG_ORDER)).toEqual(new Set(STATS_TAGS));
  });
});

describe('reading a statistics buffer', () => {
  it('N33: ignores unknown tags and counts them', () => {
    const bytes = buffer(entry(16, 5n), entry(6, 7n), entry(65_534, 1n));
    expect(decodeStats(bytes)).toMatchObject({
      values: { 'available-memory': 7n },
      entryCount: 3,
      unknownCount: 2,
    });
  });

  it('N31, N34: accepts any subset in any order', () => {
    const entries = fc.shuffledSubarray([...STATS_TAGS]).chain((tags) => {
      const value = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
      return fc.tuple(fc.constant(tags), fc.array(value, { minLength: 16, maxLength: 16 }));
    });
    fc.assert(
      fc.property(entries, ([tags, values]) => {
        const sent = tags.map((tag, index): StatsEntry => [tag, values[index] ?? 0n]);
        const decoded = decodeStats(encodeStats(sent));
        expect(decoded.values).toEqual(Object.fromEntries(sent));
        expect(decoded.entryCount).toBe(tags.length);
        expect(decoded.duplicateCount + decoded.unknownCount + decoded.excessCount).toBe(0);
        expect(decoded.trailingBytes).toBe(0);
      }),
    );
  });

  it('takes the last value of a tag that comes twice, and counts that', () => {
    const decoded = decodeStats(buffer(entry(4, 1n), entry(5, 9n), entry(4, 0n), entry(4, 3n)));
    expect(decoded.values).toEqual({ 'free-memory': 3n, 'total-memory': 9n });
    expect(decoded.duplicateCount).toBe(2);
  });

  it('takes zero for a value that came', () => {
    expect(decodeStats(buffer(entry(4, 0n), entry(4, 0n))).duplicateCount).toBe(1);
  });

  it.each([
    [0, 0, 0],
    [9, 0, 9],
    [10, 1, 0],
    [15, 1, 5],
  ])('N29: of %i bytes reads %i entries and reports %i bytes left', (length, count, left) => {
    const decoded = decodeStats(new Uint8Array(length));
    expect(decoded).toMatchObject({ entryCount: count, trailingBytes: left });
  });

  it('reads no more than MAX_STATS_ENTRIES entries', () => {
    const many = Array.from({ length: MAX_STATS_ENTRIES + 3 }, () => entry(20, 0n));
    const decoded = decodeStats(buffer(...many, entry(4, 1n)));
    expect(decoded.values).toEqual({});
    expect(decoded).toMatchObject({ entryCount: MAX_STATS_ENTRIES, excessCount: 4 });
  });

  it('reads a part of a larger buffer, as a received frame is', () => {
    const frame = buffer(Uint8Array.of(0xff, 0xff, 0xff), entry(7, 4096n));
    expect(decodeStats(frame.subarray(3)).values).toEqual({ 'disk-caches': 4096n });
  });

  it('never throws, whatever the bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 4096, size: 'max' }), (bytes) => {
        const { entryCount, excessCount, trailingBytes } = decodeStats(bytes);
        expect((entryCount + excessCount) * 10 + trailingBytes).toBe(bytes.length);
      }),
    );
  });
});
