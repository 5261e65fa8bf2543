import type { Zone } from './zone.ts';
import { totalReservePages } from './zone-tuning.ts';

/** Frames in use by kind, for /proc/meminfo: the parts that reclaim could have back. */
export interface NodeLevels {
  /** Active and inactive file pages on the LRU. */
  fileLru: number;
  /** NR_FILE_PAGES: the page cache, shared memory included. */
  filePages: number;
  /** NR_SLAB_RECLAIMABLE. */
  slabReclaimable: number;
}

/** All values in pages. */
export interface MemInfo {
  readonly memTotal: number;
  readonly memFree: number;
  readonly memAvailable: number;
  readonly fileCaches: number;
}

/** si_meminfo and si_mem_available. */
export function memInfo(zones: readonly Zone[], levels: NodeLevels): MemInfo {
  let memTotal = 0;
  let memFree = 0;
  let lowMarks = 0;
  for (const zone of zones) {
    memTotal += zone.managedPages;
    memFree += zone.freePagesStat;
    lowMarks += zone.lowMark;
  }
  // Half of what is reclaimable, at most the low watermarks, has to stay for the system to run.
  const usable = (pages: number): number => pages - Math.min(Math.floor(pages / 2), lowMarks);
  const reclaimable = usable(levels.fileLru) + usable(levels.slabReclaimable);
  const memAvailable = Math.max(0, memFree - totalReservePages(zones) + reclaimable);
  return { memTotal, memFree, memAvailable, fileCaches: levels.filePages };
}
