import {
  VIRTIO_BALLOON_F_DEFLATE_ON_OOM,
  VIRTIO_BALLOON_F_FREE_PAGE_HINT,
  VIRTIO_BALLOON_F_MUST_TELL_HOST,
  VIRTIO_BALLOON_F_PAGE_POISON,
  VIRTIO_BALLOON_F_REPORTING,
  VIRTIO_BALLOON_F_STATS_VQ,
} from './balloon.ts';

/**
 * Feature bits as a 64-bit set. Ring bits (28 INDIRECT_DESC, 29 EVENT_IDX, 34 RING_PACKED, ...)
 * describe rings in memory; Puff's queues are messages, so of the device-independent bits only
 * VERSION_1 applies and RING_RESET, IN_ORDER and SUSPEND are named for dumps.
 */
export type Features = bigint;

export const VIRTIO_F_VERSION_1 = 32;
export const VIRTIO_F_IN_ORDER = 35;
export const VIRTIO_F_RING_RESET = 40;
export const VIRTIO_F_SUSPEND = 43;

const NAMES: ReadonlyMap<number, string> = new Map([
  [VIRTIO_BALLOON_F_MUST_TELL_HOST, 'VIRTIO_BALLOON_F_MUST_TELL_HOST'],
  [VIRTIO_BALLOON_F_STATS_VQ, 'VIRTIO_BALLOON_F_STATS_VQ'],
  [VIRTIO_BALLOON_F_DEFLATE_ON_OOM, 'VIRTIO_BALLOON_F_DEFLATE_ON_OOM'],
  [VIRTIO_BALLOON_F_FREE_PAGE_HINT, 'VIRTIO_BALLOON_F_FREE_PAGE_HINT'],
  [VIRTIO_BALLOON_F_PAGE_POISON, 'VIRTIO_BALLOON_F_PAGE_POISON'],
  [VIRTIO_BALLOON_F_REPORTING, 'VIRTIO_BALLOON_F_REPORTING'],
  [VIRTIO_F_VERSION_1, 'VIRTIO_F_VERSION_1'],
  [VIRTIO_F_IN_ORDER, 'VIRTIO_F_IN_ORDER'],
  [VIRTIO_F_RING_RESET, 'VIRTIO_F_RING_RESET'],
  [VIRTIO_F_SUSPEND, 'VIRTIO_F_SUSPEND'],
]);

export function featureSet(bits: Iterable<number>): Features {
  let set = 0n;
  for (const bit of bits) set |= 1n << BigInt(bit);
  return set;
}

export function hasFeature(set: Features, bit: number): boolean {
  return (set & (1n << BigInt(bit))) !== 0n;
}

/** The bits that are set, ascending. */
export function featureBits(set: Features): number[] {
  const bits: number[] = [];
  for (let bit = 0; bit < 64; bit++) if (hasFeature(set, bit)) bits.push(bit);
  return bits;
}

export function featureName(bit: number): string {
  return NAMES.get(bit) ?? `bit ${bit}`;
}

/** On the wire a set is two unsigned 32-bit words, low first. */
export function toWords(set: Features): [low: number, high: number] {
  return [Number(set & 0xffff_ffffn), Number((set >> 32n) & 0xffff_ffffn)];
}

export function fromWords(low: number, high: number): Features {
  return BigInt(low >>> 0) | (BigInt(high >>> 0) << 32n);
}
