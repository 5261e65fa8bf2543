/**
 * Constants of the virtio balloon device: names and values as in the VIRTIO chapter and Linux'
 * uapi header. Not covered: ChromeOS' working-set reporting, the legacy interface's byte order.
 */
export const VIRTIO_ID_BALLOON = 5;
export const VIRTIO_BALLOON_PFN_SHIFT = 12;

/** Device feature bits (bit numbers). */
export const VIRTIO_BALLOON_F_MUST_TELL_HOST = 0;
export const VIRTIO_BALLOON_F_STATS_VQ = 1;
export const VIRTIO_BALLOON_F_DEFLATE_ON_OOM = 2;
export const VIRTIO_BALLOON_F_FREE_PAGE_HINT = 3;
export const VIRTIO_BALLOON_F_PAGE_POISON = 4;
export const VIRTIO_BALLOON_F_REPORTING = 5;

/** Command ids of free page hinting; everything from 2 up names a round. */
export const VIRTIO_BALLOON_CMD_ID_STOP = 0;
export const VIRTIO_BALLOON_CMD_ID_DONE = 1;

/** The id of the round before the first: QEMU names rounds 0x80000001, 0x80000002, ... */
export const QEMU_FREE_PAGE_HINT_CMD_ID_MIN = 0x8000_0000;

/** Pages given back by one call of the OOM notifier. */
export const VIRTIO_BALLOON_OOM_NR_PAGES = 256;

/** Fields of the config space: offset and who writes (2.2 of the facts). */
export const CONFIG_NUM_PAGES = 0;
export const CONFIG_ACTUAL = 4;
export const CONFIG_FREE_PAGE_HINT_CMD_ID = 8;
export const CONFIG_POISON_VAL = 12;

/** One statistics entry: le16 tag, le64 value, packed. */
export const STATS_ENTRY_BYTES = 10;

/** Tags 0 to 15 in order, with the names QEMU gives them in `guest-stats`. */
export const STATS_TAGS = [
  'swap-in',
  'swap-out',
  'major-faults',
  'minor-faults',
  'free-memory',
  'total-memory',
  'available-memory',
  'disk-caches',
  'htlb-pgalloc',
  'htlb-pgfail',
  'oom-kills',
  'alloc-stalls',
  'async-scans',
  'direct-scans',
  'async-reclaims',
  'direct-reclaims',
] as const;
export type StatsTag = (typeof STATS_TAGS)[number];

export const QUEUE_NAMES = ['inflate', 'deflate', 'stats', 'free_page', 'reporting'] as const;
export type QueueName = (typeof QUEUE_NAMES)[number];

/**
 * Which queues exist and in what order, given feature bits. Indices are compacted over the bits as
 * Linux, QEMU, Firecracker and crosvm do (X4 in the facts), not the specification's fixed ones.
 */
export function queueLayout(features: bigint): QueueName[] {
  const has = (bit: number): boolean => (features & (1n << BigInt(bit))) !== 0n;
  const queues: QueueName[] = ['inflate', 'deflate'];
  if (has(VIRTIO_BALLOON_F_STATS_VQ)) queues.push('stats');
  if (has(VIRTIO_BALLOON_F_FREE_PAGE_HINT)) queues.push('free_page');
  if (has(VIRTIO_BALLOON_F_REPORTING)) queues.push('reporting');
  return queues;
}
