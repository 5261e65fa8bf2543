/**
 * How pages of balloons are moved: the movable operations of Linux 6.1, the 2012 postings
 * (`page->mapping` and MIGRATEPAGE_BALLOON_SUCCESS), or not at all: a kernel built without
 * CONFIG_BALLOON_COMPACTION.
 */
export const BALLOON_COMPACTIONS = ['movable', 'v2012', 'off'] as const;
export type BalloonCompaction = (typeof BALLOON_COMPACTIONS)[number];
