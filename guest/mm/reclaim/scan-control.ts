import type { Asking } from '../space/alloc-pages.ts';

/** SWAP_CLUSTER_MAX: pages that reclaim aims at, and goes over, at a time. */
export const SWAP_CLUSTER_MAX = 32;
/** DEF_PRIORITY: the first look is at one in 2^12 of the pages. */
export const DEF_PRIORITY = 12;
/** DEACTIVATE_ANON, DEACTIVATE_FILE. */
export const DEACTIVATE_ANON = 1;
export const DEACTIVATE_FILE = 2;

/** What pages were found to be while one node was shrunk (scan_control.nr), in pages. */
export class ScanCounts {
  dirty = 0;
  unqueuedDirty = 0;
  congested = 0;
  writeback = 0;
  immediate = 0;
  fileTaken = 0;
  taken = 0;
}

export interface ScanRequest {
  readonly gfp: number;
  readonly order: number;
  /** The highest zone whose pages help. */
  readonly highestZone: number;
  readonly isKswapd: boolean;
  /** The process that reclaims for itself; undefined for tasks of the kernel. */
  readonly asking?: Asking | undefined;
}

/** struct scan_control: what one run of reclaim wants, may do, and has come to so far. */
export class ScanControl {
  readonly gfp: number;
  readonly isKswapd: boolean;
  readonly asking: Asking | undefined;
  order: number;
  highestZone: number;
  priority = DEF_PRIORITY;
  nrToReclaim = SWAP_CLUSTER_MAX;
  mayWritepage = true;
  maySwap = true;
  /** Whether a page was used is not asked: it has to go. */
  ignoreReferences = false;
  /** DEACTIVATE_* bits: the active lists that may become shorter. */
  mayDeactivate = 0;
  forceDeactivate = false;
  skippedDeactivate = false;
  cacheTrimMode = false;
  fileIsTiny = false;
  compactionReady = false;
  anonCost = 0;
  fileCost = 0;
  nrScanned = 0;
  nrReclaimed = 0;
  nr = new ScanCounts();

  constructor(request: ScanRequest) {
    this.gfp = request.gfp;
    this.order = request.order;
    this.highestZone = request.highestZone;
    this.isKswapd = request.isKswapd;
    this.asking = request.asking;
  }
}
