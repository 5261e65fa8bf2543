/**
 * What a zone remembers of one compaction for the next (compact_* fields of struct zone): where
 * the scanners go on, and how many attempts are to be left out after failures. All positions are
 * PFNs; 0 before the first compaction, as in the kernel.
 */
export class ZoneCompaction {
  /** Where the free scanner begins. */
  cachedFreePfn = 0;
  /** Where the migrate scanner begins: in async mode, in the others. */
  readonly cachedMigratePfn = new Int32Array(2);
  /** Where the last reset of the skip hints put the scanners. */
  initMigratePfn = 0;
  initFreePfn = 0;
  /** Attempts since the last failure, and how many of them are left out, as a power of two. */
  considered = 0;
  deferShift = 0;
  /** The smallest order for which compaction failed. */
  orderFailed = 0;
  /** The scanners met in a direct compaction: kswapd clears the skip hints before it sleeps. */
  blockSkipFlush = false;
}
