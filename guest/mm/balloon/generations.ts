import type { Procedure } from '../../../shared/lifecycle/procedure.ts';
import type { BalloonCompaction } from './compaction-mode.ts';
import { balloonPageMigrate } from './migrate-procedure.ts';
import { balloonPageMigrate2012 } from './migrate-procedure-2012.ts';
import { balloonPageIsolate, balloonPagePutback } from './procedures.ts';
import {
  type BalloonWorld2012,
  balloonPageIsolate2012,
  balloonPagePutback2012,
} from './procedures-2012.ts';

/** What moving a page returns (include/linux/migrate.h, and the 2012 posting for the second). */
export const MIGRATEPAGE = {
  /** The new page has a reference of the balloon and one of the caller, the old one the latter. */
  success: 0,
  /** The caller frees the old page itself and leaves the new one alone. */
  balloonSuccess: 1,
  /** -EAGAIN: nothing has changed. */
  again: -11,
} as const;
export type Migratepage = (typeof MIGRATEPAGE)[keyof typeof MIGRATEPAGE];

/** What one generation does its own way. */
export interface BalloonGeneration {
  /** Ends in `isolated` or `refused`. */
  readonly isolate: Procedure<BalloonWorld2012>;
  readonly putback: Procedure<BalloonWorld2012>;
  /** Ends in `migrated` or `again`. */
  readonly migrate: Procedure<BalloonWorld2012>;
  /** What `migrated` means. */
  readonly migrated: Migratepage;
  /**
   * The driver of 2012 enqueues and tells each page of a batch as it is allocated, and frees a
   * batch in the order told. 6.1 has a local list between, which turns both orders round.
   */
  readonly batchesInOrder: boolean;
}

const movable: BalloonGeneration = {
  isolate: balloonPageIsolate,
  putback: balloonPagePutback,
  migrate: balloonPageMigrate,
  migrated: MIGRATEPAGE.success,
  batchesInOrder: false,
};

const v2012: BalloonGeneration = {
  isolate: balloonPageIsolate2012,
  putback: balloonPagePutback2012,
  migrate: balloonPageMigrate2012,
  migrated: MIGRATEPAGE.balloonSuccess,
  batchesInOrder: true,
};

/** By mode. Without CONFIG_BALLOON_COMPACTION 6.1's isolation refuses every page. */
export const BALLOON_GENERATIONS: Readonly<Record<BalloonCompaction, BalloonGeneration>> = {
  movable,
  v2012,
  off: movable,
};
