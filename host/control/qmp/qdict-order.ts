import type { Json } from './json-value.ts';
import { encodeModifiedUtf8 } from './modified-utf8.ts';

/**
 * The order of an object's members. QEMU keeps them in a hash table of 512 buckets (QDict) and
 * both prints and checks them in bucket order, the last inserted first within a bucket. So an
 * error reply with an id starts with the id and a successful one ends with it.
 */
const BUCKETS = 512;

/** The bucket of a member's name: tdb's hash, in 32-bit arithmetic. */
export function qdictBucket(name: string): number {
  const bytes = encodeModifiedUtf8(name);
  let hash = Math.imul(0x238f13af, bytes.length);
  for (let index = 0; index < bytes.length; index++) {
    hash = (hash + (bytes[index] << ((index * 5) % 24))) | 0;
  }
  return ((Math.imul(1103515243, hash) + 12345) >>> 0) % BUCKETS;
}

/** The members of an object in QDict order. */
export function qdictEntries<Value extends Json>(
  object: ReadonlyMap<string, Value> | { readonly [member: string]: Value },
): [string, Value][] {
  const entries = object instanceof Map ? [...object] : Object.entries(object);
  if (entries.length < 2) return entries;
  return entries
    .reverse()
    .map((entry) => ({ entry, bucket: qdictBucket(entry[0]) }))
    .sort((a, b) => a.bucket - b.bucket)
    .map(({ entry }) => entry);
}
