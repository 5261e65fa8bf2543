import { gfpText } from '../page/gfp-text.ts';
import { ZONE_NAMES, type Zone } from '../page/zone.ts';
import type { CompactControl } from './compact-control.ts';
import {
  COMPACT_NAMES,
  type CompactPriority,
  type CompactResult,
  MIGRATE_MODE,
  MIGRATE_MODE_NAMES,
  type MigrateMode,
} from './constants.ts';

/** enum migrate_reason, as far as it comes up. */
export type MigrateReason = 'compaction' | 'contig_range';

/** What one call of migrate_pages came to: in frames, huge pages by number. */
export interface MigrateCounts {
  succeeded: number;
  failed: number;
  thpSucceeded: number;
  thpFailed: number;
  thpSplit: number;
}

/**
 * The kernel's compaction:* and migrate:mm_migrate_pages trace events, with its names, fields and
 * number formats. Text is made only while somebody listens.
 */
export class CompactionTrace {
  /** Takes events one at a time: 'mm_compaction_begin: zone_start=0x1 ...'. */
  sink: ((event: string) => void) | undefined;

  isolateMigratepages(start: number, end: number, scanned: number, taken: number): void {
    this.sink?.(`mm_compaction_isolate_migratepages: ${scan(start, end, scanned, taken)}`);
  }

  isolateFreepages(start: number, end: number, scanned: number, taken: number): void {
    this.sink?.(`mm_compaction_isolate_freepages: ${scan(start, end, scanned, taken)}`);
  }

  migratepages(migrated: number, failed: number): void {
    this.sink?.(`mm_compaction_migratepages: nr_migrated=${migrated} nr_failed=${failed}`);
  }

  begin(control: CompactControl): void {
    this.sink?.(`mm_compaction_begin: ${positions(control)}`);
  }

  end(control: CompactControl, result: CompactResult): void {
    this.sink?.(`mm_compaction_end: ${positions(control)} status=${COMPACT_NAMES[result]}`);
  }

  suitable(zone: Zone, order: number, result: CompactResult): void {
    this.sink?.(`mm_compaction_suitable: ${zoneOrder(zone, order)} ret=${COMPACT_NAMES[result]}`);
  }

  finished(zone: Zone, order: number, result: CompactResult): void {
    this.sink?.(`mm_compaction_finished: ${zoneOrder(zone, order)} ret=${COMPACT_NAMES[result]}`);
  }

  deferred(zone: Zone, order: number): void {
    this.sink?.(`mm_compaction_deferred: ${deferral(zone, order)}`);
  }

  deferCompaction(zone: Zone, order: number): void {
    this.sink?.(`mm_compaction_defer_compaction: ${deferral(zone, order)}`);
  }

  deferReset(zone: Zone, order: number): void {
    this.sink?.(`mm_compaction_defer_reset: ${deferral(zone, order)}`);
  }

  tryToCompactPages(order: number, gfp: number, priority: CompactPriority): void {
    if (this.sink === undefined) return;
    const flags = gfpText(gfp);
    this.sink(
      `mm_compaction_try_to_compact_pages: order=${order} gfp_mask=${flags} priority=${priority}`,
    );
  }

  kcompactdSleep(): void {
    this.sink?.('mm_compaction_kcompactd_sleep: nid=0');
  }

  kcompactdWake(order: number, highestZone: number): void {
    this.sink?.(`mm_compaction_kcompactd_wake: ${kcompactdWork(order, highestZone)}`);
  }

  wakeupKcompactd(order: number, highestZone: number): void {
    this.sink?.(`mm_compaction_wakeup_kcompactd: ${kcompactdWork(order, highestZone)}`);
  }

  migratePages(counts: MigrateCounts, mode: MigrateMode, reason: MigrateReason): void {
    if (this.sink === undefined) return;
    const { succeeded, failed, thpSucceeded, thpFailed, thpSplit } = counts;
    this.sink(
      `mm_migrate_pages: nr_succeeded=${succeeded} nr_failed=${failed} ` +
        `nr_thp_succeeded=${thpSucceeded} nr_thp_failed=${thpFailed} nr_thp_split=${thpSplit} ` +
        `mode=${MIGRATE_MODE_NAMES[mode]} reason=${reason}`,
    );
  }

  testPagesIsolated(start: number, end: number, testedTo: number): void {
    const result = testedTo < end ? 'fail' : 'success';
    this.sink?.(
      `test_pages_isolated: start_pfn=${hex(start)} end_pfn=${hex(end)} ` +
        `fin_pfn=${hex(testedTo)} ret=${result}`,
    );
  }
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}

function scan(start: number, end: number, scanned: number, taken: number): string {
  return `range=(${hex(start)} ~ ${hex(end)}) nr_scanned=${scanned} nr_taken=${taken}`;
}

function positions({ zone, migratePfn, freePfn, mode }: CompactControl): string {
  return (
    `zone_start=${hex(zone.startPfn)} migrate_pfn=${hex(migratePfn)} ` +
    `free_pfn=${hex(freePfn)} zone_end=${hex(zone.endPfn)}, ` +
    `mode=${mode === MIGRATE_MODE.async ? 'async' : 'sync'}`
  );
}

function kcompactdWork(order: number, highestZone: number): string {
  return `nid=0 order=${order} classzone_idx=${ZONE_NAMES[highestZone].padEnd(8)}`;
}

function zoneOrder(zone: Zone, order: number): string {
  return `node=0 zone=${zone.name.padEnd(8)} order=${order}`;
}

function deferral(zone: Zone, order: number): string {
  const { considered, deferShift, orderFailed } = zone.compact;
  return (
    `${zoneOrder(zone, order)} order_failed=${orderFailed} consider=${considered} ` +
    `limit=${2 ** deferShift}`
  );
}
