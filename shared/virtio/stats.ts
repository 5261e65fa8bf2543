import { assert } from '../lib/assert.ts';
import { MAX_STATS_ENTRIES } from '../limits.ts';
import { STATS_ENTRY_BYTES, STATS_TAGS, type StatsTag } from './balloon.ts';

/**
 * Statistics buffers: packed entries of a le16 tag and a le64 value. The specification still asks
 * for a multiple of 6 bytes in one place (N29, defect X2); an entry has 10 and so everyone does.
 *
 * Not covered: guest-endian entries of the legacy interface (N35), ChromeOS' tags 65534 and 65535.
 */
export type StatsEntry = readonly [tag: StatsTag, value: bigint];

/** update_balloon_stats of Linux 6.1 with event counters and hugetlb: ten entries. */
export const LINUX_6_1_TAG_ORDER = [
  'swap-in',
  'swap-out',
  'major-faults',
  'minor-faults',
  'htlb-pgalloc',
  'htlb-pgfail',
  'free-memory',
  'total-memory',
  'available-memory',
  'disk-caches',
] as const satisfies readonly StatsTag[];

/** The same since 6.12: six more after the faults, sixteen in all. */
export const LINUX_6_12_TAG_ORDER = [
  'swap-in',
  'swap-out',
  'major-faults',
  'minor-faults',
  'oom-kills',
  'alloc-stalls',
  'async-scans',
  'direct-scans',
  'async-reclaims',
  'direct-reclaims',
  'htlb-pgalloc',
  'htlb-pgfail',
  'free-memory',
  'total-memory',
  'available-memory',
  'disk-caches',
] as const satisfies readonly StatsTag[];

const TAG_NUMBER = Object.fromEntries(STATS_TAGS.map((tag, number) => [tag, number])) as Readonly<
  Record<StatsTag, number>
>;

/** A buffer that holds one entry of every tag. */
export const STATS_BUFFER_BYTES = STATS_TAGS.length * STATS_ENTRY_BYTES;

/**
 * Writes entries in the given order and returns the part of `out` that they fill. A driver reuses
 * one buffer of STATS_BUFFER_BYTES for all its answers. Values are unsigned 64-bit numbers.
 */
export function encodeStats(
  entries: readonly StatsEntry[],
  out: Uint8Array = new Uint8Array(entries.length * STATS_ENTRY_BYTES),
): Uint8Array {
  const lengthBytes = entries.length * STATS_ENTRY_BYTES;
  assert(lengthBytes <= out.length, 'statistics do not fit their buffer');
  const view = new DataView(out.buffer, out.byteOffset, out.byteLength);
  entries.forEach(([tag, value], index) => {
    view.setUint16(index * STATS_ENTRY_BYTES, TAG_NUMBER[tag], true);
    view.setBigUint64(index * STATS_ENTRY_BYTES + 2, value, true);
  });
  return out.subarray(0, lengthBytes);
}

/** What a buffer said and what was odd about it; nothing in it is an error of ours. */
export interface DecodedStats {
  /** In the order of first appearance; where a tag came twice, the last value. */
  readonly values: Readonly<Partial<Record<StatsTag, bigint>>>;
  /** Entries read, at most MAX_STATS_ENTRIES. */
  readonly entryCount: number;
  /** Entries with a tag from 16 up, ignored (N33). */
  readonly unknownCount: number;
  /** Entries whose tag came before in the same buffer. */
  readonly duplicateCount: number;
  /** Bytes after the last whole entry. */
  readonly trailingBytes: number;
  /** Whole entries beyond MAX_STATS_ENTRIES, not read. */
  readonly excessCount: number;
}

/** Reads a driver's buffer. Any order is accepted (N34), and any subset (N31). */
export function decodeStats(bytes: Uint8Array): DecodedStats {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const wholeCount = Math.floor(bytes.length / STATS_ENTRY_BYTES);
  const entryCount = Math.min(wholeCount, MAX_STATS_ENTRIES);
  const values: Partial<Record<StatsTag, bigint>> = {};
  let unknownCount = 0;
  let duplicateCount = 0;
  for (let index = 0; index < entryCount; index++) {
    const tag = STATS_TAGS[view.getUint16(index * STATS_ENTRY_BYTES, true)];
    if (tag === undefined) {
      unknownCount++;
      continue;
    }
    if (values[tag] !== undefined) duplicateCount++;
    values[tag] = view.getBigUint64(index * STATS_ENTRY_BYTES + 2, true);
  }
  return {
    values,
    entryCount,
    unknownCount,
    duplicateCount,
    trailingBytes: bytes.length % STATS_ENTRY_BYTES,
    excessCount: wholeCount - entryCount,
  };
}
