import { LRU } from './lru-lists.ts';
import type { ReclaimNode } from './reclaim-node.ts';
import { DEACTIVATE_ANON, DEACTIVATE_FILE, type ScanControl } from './scan-control.ts';

/** How much of which list is looked at: prepare_scan_count and get_scan_count of Linux 6.1. */

/** vm_swappiness: of 200, how dear it is to bring a page of a file back, against one of swap. */
const SWAPPINESS = 60;
/** A GiB in pages, as a shift. */
const GIB_SHIFT = 18;

const EVICTABLE = [LRU.inactiveAnon, LRU.activeAnon, LRU.inactiveFile, LRU.activeFile] as const;

/** Which kinds of pages are scanned: all by size, by a fraction each, or one kind alone. */
type ScanBalance = 'equal' | 'fraction' | 'anon' | 'file';

/**
 * inactive_is_low: is the active list longer than it should be, by the square root of ten times
 * the gibibytes of both?
 */
export function inactiveIsLow(node: ReclaimNode, inactiveLru: number): boolean {
  const { sizes } = node.spaces.lru.lists;
  const inactive = sizes[inactiveLru];
  const active = sizes[inactiveLru + 1];
  const gib = (inactive + active) >> GIB_SHIFT;
  const ratio = gib > 0 ? Math.floor(Math.sqrt(10 * gib)) : 1;
  return inactive * ratio < active;
}

/**
 * prepare_scan_count. Not emulated: refaults of pages that were reclaimed too early
 * (workingset), which let active lists become shorter.
 */
export function prepareScanCount(node: ReclaimNode, sc: ScanControl): void {
  const { sizes } = node.spaces.lru.lists;
  sc.anonCost = node.anonCost;
  sc.fileCost = node.fileCost;
  const anonBit = sc.forceDeactivate || inactiveIsLow(node, LRU.inactiveAnon) ? DEACTIVATE_ANON : 0;
  const fileBit = sc.forceDeactivate || inactiveIsLow(node, LRU.inactiveFile) ? DEACTIVATE_FILE : 0;
  sc.mayDeactivate = anonBit | fileBit;
  sc.cacheTrimMode = sizes[LRU.inactiveFile] >> sc.priority > 0 && fileBit === 0;
  let highMarks = 0;
  let free = 0;
  for (const zone of node.zones) {
    free += zone.freePagesStat;
    if (zone.managedPages > 0) highMarks += zone.highMark;
  }
  const file = sizes[LRU.inactiveFile] + sizes[LRU.activeFile];
  const hasAnon = anonBit === 0 && sizes[LRU.inactiveAnon] >> sc.priority > 0;
  sc.fileIsTiny = file + free <= highMarks && hasAnon;
}

/** get_scan_count: pages to go over of each of the four lists, into `counts`. */
export function getScanCount(node: ReclaimNode, sc: ScanControl, counts: Int32Array): void {
  const balance = scanBalance(node, sc);
  const total = sc.anonCost + sc.fileCost;
  const anonCost = total + sc.anonCost;
  const fileCost = total + sc.fileCost;
  const anon = Math.floor((SWAPPINESS * (anonCost + fileCost + 1)) / (anonCost + 1));
  const file = Math.floor(((200 - SWAPPINESS) * (anonCost + fileCost + 1)) / (fileCost + 1));
  for (const lru of EVICTABLE) {
    const isFile = lru >= LRU.inactiveFile;
    let scan = node.spaces.lru.lists.sizeUpTo(lru, sc.highestZone) >> sc.priority;
    if (balance === 'fraction') scan = Math.floor((scan * (isFile ? file : anon)) / (anon + file));
    else if (balance !== 'equal' && (balance === 'file') !== isFile) scan = 0;
    counts[lru] = scan;
  }
}

function scanBalance(node: ReclaimNode, sc: ScanControl): ScanBalance {
  if (!sc.maySwap || !node.canReclaimAnon) return 'file';
  if (sc.priority === 0) return 'equal';
  if (sc.fileIsTiny) return 'anon';
  return sc.cacheTrimMode ? 'file' : 'fraction';
}
