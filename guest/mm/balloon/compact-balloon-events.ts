/**
 * vmstat's events of the 2012 postings (v11), which no kernel was released with: COMPACTBALLOON...
 * in small letters. All count pages.
 */
export class CompactBalloonEvents {
  /** Taken off their list for migration. */
  compact_balloon_isolated = 0;
  /** The driver told its host of both pages, and the new one has the old one's place. */
  compact_balloon_migrated = 0;
  /** Old pages that went back to the allocator behind a migration. */
  compact_balloon_released = 0;
  /** Put back to their list, not migrated. */
  compact_balloon_returned = 0;

  /**
   * Pages now between isolation and their release or return: acct_isolated of 2012 adds them to
   * NR_ISOLATED_FILE, for a page that is not swap-backed counts as one of a file.
   */
  get isolatedPages(): number {
    const ended = this.compact_balloon_released + this.compact_balloon_returned;
    return this.compact_balloon_isolated - ended;
  }
}
