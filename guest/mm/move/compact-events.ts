import type { MigrateCounts } from './compaction-trace.ts';

/** vmstat's events of compaction and migration (5.8 of the facts). In pages where pages count. */
export class CompactEvents {
  compact_migrate_scanned = 0;
  compact_free_scanned = 0;
  compact_isolated = 0;
  /** Direct compactions, and how they ended. */
  compact_stall = 0;
  compact_fail = 0;
  compact_success = 0;
  compact_daemon_wake = 0;
  compact_daemon_migrate_scanned = 0;
  compact_daemon_free_scanned = 0;
  pgmigrate_success = 0;
  pgmigrate_fail = 0;
  thp_migration_success = 0;
  thp_migration_fail = 0;
  thp_migration_split = 0;
}

export function addMigrated(events: CompactEvents, counts: Readonly<MigrateCounts>): void {
  events.pgmigrate_success += counts.succeeded;
  events.pgmigrate_fail += counts.failed;
  events.thp_migration_success += counts.thpSucceeded;
  events.thp_migration_fail += counts.thpFailed;
  events.thp_migration_split += counts.thpSplit;
}
