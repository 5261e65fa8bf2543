import { encodeModifiedUtf8 } from './modified-utf8.ts';

/**
 * The order in which QEMU's input visitor finds members nobody asked for: it keeps the names of an
 * object in a GHashTable, filled in QDict order, and tells the first one left over. Only the
 * smallest table is reproduced, which holds seven names.
 */
const SLOTS = 8;
const MODULUS = 7;
const MAX_NAMES = 7;

/** Hash values 0 and 1 mark free and deleted slots, so GLib stores 2 instead. */
const LEAST_HASH = 2;

/** Names in the order of GLib's table; more than seven come back as they are. */
export function visitorOrder(names: readonly string[]): readonly string[] {
  if (names.length > MAX_NAMES) return names;
  const slots: (string | undefined)[] = new Array(SLOTS).fill(undefined);
  for (const name of names) {
    let slot = (Math.imul(stringHash(name), 11) >>> 0) % MODULUS;
    for (let step = 1; slots[slot] !== undefined; step++) slot = (slot + step) % SLOTS;
    slots[slot] = name;
  }
  return slots.filter((name) => name !== undefined);
}

/** g_str_hash: 33 times the hash plus the byte, which counts as signed. */
function stringHash(name: string): number {
  let hash = 5381;
  for (const byte of encodeModifiedUtf8(name)) {
    hash = (Math.imul(hash, 33) + ((byte << 24) >> 24)) | 0;
  }
  return Math.max(hash >>> 0, LEAST_HASH);
}
