import { assert } from '../../../shared/lib/assert.ts';
import { freeOnePage } from './buddy.ts';
import { rmqueueAny } from './fallback.ts';
import { PAGE_EVENT } from './page-lifecycle.ts';
import {
  isListEmpty,
  listAdd,
  listAddTail,
  listDel,
  listNext,
  listPrevious,
  listTakeFirst,
  type Places,
} from './page-list.ts';
import {
  MAX_PCP_BATCH,
  NR_PCP_LISTS,
  orderToPindex,
  PAGE_ALLOC_COSTLY_ORDER,
  PCP_BATCH_SCALE_MAX,
  type PerCpuPages,
  pindexToOrder,
} from './per-cpu-pages.ts';
import type { Zone } from './zone.ts';

/** The per-CPU lists of a zone: refilled in batches, drained in batches. One CPU. */

/** Steps the lifecycle of all frames of a block. */
export function stepBlock(zone: Zone, pfn: number, order: number, event: number): void {
  if (order === 0) zone.pages.states.step(pfn, event);
  else zone.pages.states.stepRange(pfn, 1 << order, event);
}

/** Blocks between two lists; nothing here outlives one call. */
const BLOCKS = new Int32Array(MAX_PCP_BATCH);

function stepBlocks(zone: Zone, count: number, order: number, event: number): void {
  if (order === 0) zone.pages.states.stepEach(BLOCKS, 0, count, event);
  else for (let at = 0; at < count; at++) stepBlock(zone, BLOCKS[at], order, event);
}

/** rmqueue_pcplist: the first block of a list, which is refilled when empty. A PFN or -1. */
export function rmqueuePcplist(
  zone: Zone,
  order: number,
  migratetype: number,
  allocFlags: number,
): number {
  const { pcp, words } = zone;
  if (pcp.locked) return -1;
  pcp.freeFactor >>>= 1;
  const list = pcp.list(orderToPindex(migratetype, order));
  if (isListEmpty(words, list)) {
    rmqueueBulk(zone, order, migratetype, allocFlags);
    if (isListEmpty(words, list)) return -1;
  }
  const pfn = listNext(words, list);
  listDel(words, pfn);
  pcp.count -= 1 << order;
  stepBlock(zone, pfn, order, PAGE_EVENT.handOut);
  return pfn;
}

/**
 * rmqueuePcplist for order 0 as often as there are places, but refills nothing. The lists are not
 * locked. Returns the place after the last frame.
 */
export function takePcplist(zone: Zone, migratetype: number, into: Places): number {
  const { pcp, words } = zone;
  const { pfns, from } = into;
  const end = listTakeFirst(words, pcp.list(orderToPindex(migratetype, 0)), into);
  const taken = end - from;
  zone.pages.states.stepEach(pfns, from, end, PAGE_EVENT.handOut);
  pcp.count -= taken;
  pcp.freeFactor = taken > 31 ? 0 : pcp.freeFactor >>> taken;
  return end;
}

/** rmqueue_bulk: a batch, scaled down by the order, to the list's tail in the order taken. */
function rmqueueBulk(zone: Zone, order: number, migratetype: number, allocFlags: number): void {
  const { pcp, words } = zone;
  const list = pcp.list(orderToPindex(migratetype, order));
  const batch = pcp.batch > 1 ? Math.max(pcp.batch >> order, 2) : pcp.batch;
  assert(batch <= BLOCKS.length, 'a refill of a per-CPU list fits between two lists');
  let taken = 0;
  while (taken < batch) {
    const pfn = rmqueueAny(zone, order, migratetype, allocFlags);
    if (pfn < 0) break;
    BLOCKS[taken++] = pfn;
  }
  stepBlocks(zone, taken, order, PAGE_EVENT.refill);
  for (let at = 0; at < taken; at++) listAddTail(words, BLOCKS[at], list);
  zone.modFreePages(-(taken << order));
  pcp.count += taken << order;
}

/** free_unref_page_commit: to the head of its list; drains when the lists are too long. */
export function freeUnrefPageCommit(
  zone: Zone,
  pfn: number,
  order: number,
  migratetype: number,
): void {
  const { pcp } = zone;
  const pindex = orderToPindex(migratetype, order);
  stepBlock(zone, pfn, order, PAGE_EVENT.cache);
  listAdd(zone.words, pfn, pcp.list(pindex));
  pcp.count += 1 << order;
  drainIfLong(zone, pindex, order);
}

/**
 * freeUnrefPageCommit for frames of order 0, at most as many as roomInPcp says: the lists cannot
 * get too long before the last one.
 */
export function freeUnrefCommitEach(zone: Zone, migratetype: number, freed: Places): void {
  const { pcp, words } = zone;
  const { pfns, from, to } = freed;
  const pindex = orderToPindex(migratetype, 0);
  const list = pcp.list(pindex);
  zone.pages.states.stepEach(pfns, from, to, PAGE_EVENT.cache);
  for (let at = from; at < to; at++) listAdd(words, pfns[at], list);
  pcp.count += to - from;
  drainIfLong(zone, pindex, 0);
}

/** How many frames of order 0 can be freed to the lists up to the one that has them drained. */
export function roomInPcp(zone: Zone): number {
  return Math.max(1, nrPcpHigh(zone, false) - zone.pcp.count);
}

function drainIfLong(zone: Zone, pindex: number, order: number): void {
  const { pcp } = zone;
  const costly = order > PAGE_ALLOC_COSTLY_ORDER;
  const freeHigh = pcp.freeFactor > 0 && order > 0 && !costly;
  const high = nrPcpHigh(zone, freeHigh);
  if (pcp.count >= high) freePcppagesBulk(zone, nrPcpFree(pcp, high, freeHigh), pindex);
}

/** nr_pcp_high: while kswapd reclaims, four batches at most. */
function nrPcpHigh(zone: Zone, freeHigh: boolean): number {
  const { high, batch } = zone.pcp;
  if (high === 0 || freeHigh) return 0;
  return zone.reclaimActive ? Math.min(batch << 2, high) : high;
}

/** nr_pcp_free: twice as many each time there is no allocation in between; a batch is kept. */
function nrPcpFree(pcp: PerCpuPages, high: number, freeHigh: boolean): number {
  if (freeHigh) return pcp.count;
  if (high < pcp.batch) return 1;
  const most = high - pcp.batch;
  const scaled = pcp.batch << pcp.freeFactor;
  if (scaled < most && pcp.freeFactor < PCP_BATCH_SCALE_MAX) pcp.freeFactor++;
  return Math.max(pcp.batch, Math.min(scaled, most));
}

/**
 * free_pcppages_bulk: gives `wanted` frames back from the lists' tails, beginning with list
 * `pindex`, each list emptied before the next one's turn.
 */
export function freePcppagesBulk(zone: Zone, wanted: number, pindex: number): void {
  const { pcp, words, pages } = zone;
  let count = Math.min(pcp.count, wanted);
  for (let current = pindex; count > 0; current = (current + 1) % NR_PCP_LISTS) {
    const list = pcp.list(current);
    const order = pindexToOrder(current);
    let pfn = listPrevious(words, list);
    let before = listPrevious(words, pfn);
    while (count > 0 && pfn !== list) {
      // Read ahead: in a large guest each link is a cache miss, and freeing a block hides it.
      const ahead = listPrevious(words, before);
      listDel(words, pfn);
      if (order === 0) pages.states.step(pfn, PAGE_EVENT.drain);
      else stepBlock(zone, pfn, order, PAGE_EVENT.drain);
      pcp.count -= 1 << order;
      count -= 1 << order;
      // The pageblock may have been isolated after the frame was put on its list.
      const isIsolating = zone.nrIsolatePageblock > 0;
      const migratetype = isIsolating ? pages.blockType(pfn) : pages.cachedType(pfn);
      freeOnePage(zone, pfn, order, migratetype);
      zone.trace.sink?.mm_page_pcpu_drain(pfn, order, migratetype);
      pfn = before;
      before = ahead;
    }
  }
}

/** drain_pages_zone: everything. Linux does it in portions, which does not change the order. */
export function drainPagesZone(zone: Zone): void {
  freePcppagesBulk(zone, zone.pcp.count, 0);
}
