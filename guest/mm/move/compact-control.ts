import { gfpMigratetype } from '../page/gfp.ts';
import { PAGEBLOCK_PAGES } from '../page/page-map.ts';
import type { Zone } from '../page/zone.ts';
import { COMPACT_CLUSTER_MAX, MIGRATE_MODE, type MigrateMode, WHOLE_NODE } from './constants.ts';

/** Who compacts, and for what. What is left out is false. */
export interface CompactOptions {
  /** Order that is wanted; WHOLE_NODE to compact all there is. */
  readonly order: number;
  readonly mode: MigrateMode;
  readonly gfp: number;
  readonly allocFlags?: number;
  /** Highest zone the request may use. */
  readonly highestZone?: number;
  /** A task that wants to allocate does it itself. */
  readonly direct?: boolean;
  /** From one end of the zone to the other, whatever the cached positions are. */
  readonly wholeZone?: boolean;
  readonly ignoreSkipHint?: boolean;
  readonly ignoreBlockSuitable?: boolean;
  readonly proactive?: boolean;
  /** For a range that is wanted as a whole (alloc_contig_range): huge pages have to move too. */
  readonly allocContig?: boolean;
}

/** Free pages of one pageblock at most, beyond what a pageblock of pages to migrate needs. */
const MAX_FREE_PAGES = 4 * PAGEBLOCK_PAGES;
/** A pageblock that is taken at once, and a cluster from before. */
const MAX_MIGRATE_PAGES = PAGEBLOCK_PAGES + COMPACT_CLUSTER_MAX;

/**
 * struct compact_control: the state of one run of compaction. Both lists of pages are stacks:
 * the kernel puts to the head of a list and takes from there.
 */
export class CompactControl {
  /** The zone at hand: a run goes through several, one after the other. */
  zone: Zone;
  readonly order: number;
  readonly mode: MigrateMode;
  readonly gfp: number;
  /** Of what is to be allocated. */
  readonly migratetype: number;
  readonly allocFlags: number;
  readonly highestZone: number;
  readonly direct: boolean;
  readonly ignoreSkipHint: boolean;
  readonly ignoreBlockSuitable: boolean;
  readonly proactive: boolean;
  readonly allocContig: boolean;
  wholeZone: boolean;
  /** Where the scanners stand: next PFN to look at, and the free scanner's position. */
  migratePfn = 0;
  freePfn = 0;
  /** The pageblock was begun before: this time all of it is isolated at once. */
  rescan = false;
  /** Order at which the search of the free lists begins. */
  searchOrder: number;
  /** Searches of the free lists that found nothing, one after the other. */
  fastSearchFail = 0;
  /** Lowest PFN the search for pageblocks found; -1 before one, beyond all PFNs once it is used. */
  fastStartPfn = -1;
  /** Free pages to migrate to. */
  readonly freePages = new Int32Array(MAX_FREE_PAGES);
  nrFreePages = 0;
  /** Isolated pages; of a huge page its head. Room for all frames of one that is split. */
  readonly migratePages = new Int32Array(MAX_MIGRATE_PAGES);
  /** How many of them there are in this round; while they are migrated it stays what it was. */
  nrMigratePages = 0;
  totalMigrateScanned = 0;
  totalFreeScanned = 0;

  constructor(zone: Zone, options: CompactOptions) {
    this.zone = zone;
    this.order = options.order;
    this.searchOrder = options.order;
    this.mode = options.mode;
    this.gfp = options.gfp;
    this.migratetype = gfpMigratetype(options.gfp);
    this.allocFlags = options.allocFlags ?? 0;
    this.highestZone = options.highestZone ?? 0;
    this.direct = options.direct ?? false;
    this.wholeZone = options.wholeZone ?? false;
    this.ignoreSkipHint = options.ignoreSkipHint ?? false;
    this.ignoreBlockSuitable = options.ignoreBlockSuitable ?? false;
    this.proactive = options.proactive ?? false;
    this.allocContig = options.allocContig ?? false;
  }

  get isWholeNode(): boolean {
    return this.order === WHOLE_NODE;
  }

  /** An asynchronous attempt of the task that allocates: a block that cannot be had is left. */
  get skipsOnFailure(): boolean {
    return this.direct && this.mode === MIGRATE_MODE.async;
  }

  /** compact_scanners_met: the free scanner's pageblock is not above the migrate scanner's. */
  get scannersMet(): boolean {
    return blockOf(this.freePfn) <= blockOf(this.migratePfn);
  }
}

function blockOf(pfn: number): number {
  return Math.floor(pfn / PAGEBLOCK_PAGES);
}

/** pageblock_start_pfn and pageblock_end_pfn. */
export function pageblockStart(pfn: number): number {
  return pfn - (pfn & (PAGEBLOCK_PAGES - 1));
}

export function pageblockEnd(pfn: number): number {
  return pageblockStart(pfn) + PAGEBLOCK_PAGES;
}

/** block_start_pfn and block_end_pfn of a block of any order. */
export function blockStart(pfn: number, order: number): number {
  return (pfn >>> order) << order;
}

export function blockEnd(pfn: number, order: number): number {
  return ((pfn >>> order) + 1) << order;
}
