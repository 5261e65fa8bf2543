/**
 * sysctl compaction_proactiveness, 0 to 100: how much kcompactd does before anybody asks; 0 is
 * nothing. Not emulated: that a write of it wakes kcompactd.
 */
export class Proactiveness {
  value = 20;

  /** fragmentation_score_wmark: a proactive run begins above the high mark and ends at the low. */
  get lowMark(): number {
    return Math.max(100 - this.value, 5);
  }

  get highMark(): number {
    return Math.min(this.lowMark + 10, 100);
  }
}
