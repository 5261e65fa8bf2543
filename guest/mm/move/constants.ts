/** Numbers and names of compaction and migration in Linux 6.1. */

/** enum migrate_mode. */
export const MIGRATE_MODE = {
  /** Never waits. */
  async: 0,
  /** Waits for most, not for write-back. */
  syncLight: 1,
  /** Waits for everything. */
  sync: 2,
} as const;
export type MigrateMode = (typeof MIGRATE_MODE)[keyof typeof MIGRATE_MODE];
export const MIGRATE_MODE_NAMES = ['MIGRATE_ASYNC', 'MIGRATE_SYNC_LIGHT', 'MIGRATE_SYNC'] as const;

/** enum compact_result: of two zones' results the larger one counts. */
export const COMPACT = {
  notSuitableZone: 0,
  skipped: 1,
  deferred: 2,
  noSuitablePage: 3,
  continue: 4,
  complete: 5,
  partialSkipped: 6,
  contended: 7,
  success: 8,
} as const;
export type CompactResult = (typeof COMPACT)[keyof typeof COMPACT];
/** As trace events print them. */
export const COMPACT_NAMES = [
  'not_suitable_zone',
  'skipped',
  'deferred',
  'no_suitable_page',
  'continue',
  'complete',
  'partial_skipped',
  'contended',
  'success',
] as const;

/** enum compact_priority: how hard a direct compaction tries, hardest first. */
export const COMPACT_PRIO = { syncFull: 0, syncLight: 1, async: 2 } as const;
export type CompactPriority = (typeof COMPACT_PRIO)[keyof typeof COMPACT_PRIO];

/** Pages isolated before they are migrated. */
export const COMPACT_CLUSTER_MAX = 32;
/** At most 1 << 6 attempts are left out after failures. */
export const COMPACT_MAX_DEFER_SHIFT = 6;
/** Order of a whole-node run (is_via_compact_memory). */
export const WHOLE_NODE = -1;
/** Order whose fragmentation is the score of a zone: a huge page. */
export const COMPACTION_HPAGE_ORDER = 9;

/** Passes over the pages to migrate, and the first one that waits for page locks. */
export const NR_MAX_MIGRATE_PAGES_RETRY = 10;
export const FIRST_FORCED_PASS = 3;
