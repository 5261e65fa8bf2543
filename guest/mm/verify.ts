import type { Balloons } from './balloon/balloons.ts';
import type { PageAllocator } from './page/alloc.ts';
import { isMergeable } from './page/buddy.ts';
import { MIGRATETYPE, MIGRATETYPES, WMARK } from './page/gfp.ts';
import { PAGE_STATE, pageLifecycle } from './page/page-lifecycle.ts';
import { listNodes } from './page/page-list.ts';
import { MAX_ORDER, PAGEBLOCK_ORDER, PAGEBLOCK_PAGES } from './page/page-map.ts';
import { NR_PCP_LISTS, pindexToOrder } from './page/per-cpu-pages.ts';
import { PAGE_POISON } from './page/prepare.ts';
import type { Zone } from './page/zone.ts';
import { Report } from './space/verify-report.ts';

/**
 * What must hold between any two operations of the memory manager. Every check is one pass over
 * the frames or lists concerned; each violated invariant is named once with its first case.
 */
export function verifyMemory(allocator: PageAllocator, balloons: Balloons): string[] {
  const report = new Report();
  let freeFrames = 0;
  let pcpFrames = 0;
  for (const zone of allocator.zones) {
    freeFrames += checkFreeLists(zone, report);
    pcpFrames += checkPerCpuLists(zone, report);
    if (zone.populated) checkZone(zone, report);
  }
  const { states } = allocator.pages;
  report.expect(freeFrames === states.countOf(PAGE_STATE.free), 'all free frames are on lists');
  report.expect(pcpFrames === states.countOf(PAGE_STATE.pcp), 'all pcp frames are on lists');
  const lent = allocator.zones.reduce((sum, zone) => sum + zone.isolatedFreePages, 0);
  report.expect(lent === states.countOf(PAGE_STATE.isolatedFree), 'lent free frames are counted');
  if (allocator.pagePoison) checkPoison(allocator, report);
  checkOwners(allocator, report);
  checkBalloons(allocator, balloons, report);
  checkCounts(allocator, report);
  return report.violated();
}

/** Returns the frames on the free lists of a zone. */
function checkFreeLists(zone: Zone, report: Report): number {
  let frames = 0;
  let isolated = 0;
  for (let order = 0; order < MAX_ORDER; order++) {
    let blocks = 0;
    for (let type = 0; type < MIGRATETYPES; type++) {
      const ofIsolated = type === MIGRATETYPE.isolate;
      for (const pfn of listNodes(zone.words, zone.freeList(order, type))) {
        checkFreeBlock(zone, pfn, order, report);
        const isApart = (zone.pages.blockType(pfn) === MIGRATETYPE.isolate) === ofIsolated;
        report.expect(isApart, 'free blocks of isolated pageblocks are on lists of their own', pfn);
        blocks++;
        if (ofIsolated) isolated += 1 << order;
      }
    }
    report.expect(
      blocks === zone.nrFree[order],
      'nr_free counts the blocks of an order',
      zone.name,
    );
    frames += blocks << order;
  }
  const countable = frames - isolated;
  report.expect(countable === zone.freePages, 'the zone counts its free frames', zone.name);
  return frames;
}

function checkFreeBlock(zone: Zone, pfn: number, order: number, report: Report): void {
  const { pages } = zone;
  const where = `${pfn} order ${order}`;
  report.expect(pages.blockOrder(pfn) === order, 'a listed block begins with its order', where);
  report.expect(pfn % (1 << order) === 0, 'a free block is aligned to its size', where);
  const inside = pfn >= zone.startPfn && pfn + (1 << order) <= zone.endPfn;
  report.expect(inside, 'a free block is in its zone', where);
  const other = otherState(zone, pfn, order, PAGE_STATE.free);
  report.expect(other === '', 'every frame of a listed block is free', other);
  const small = order < PAGEBLOCK_ORDER;
  report.expect(!small || !pages.reported(pfn), 'only large blocks are reported', where);
  for (let at = pfn + 1; at < pfn + (1 << order); at++) {
    report.expect(!pages.reported(at), 'the first frame says that a block is reported', where);
  }
  if (order === MAX_ORDER - 1) return;
  const buddy = pfn ^ (1 << order);
  if (buddy >= pages.pageCount || pages.blockOrder(buddy) !== order) return;
  const types = [pages.blockType(pfn), pages.blockType(buddy)];
  const apart = order >= PAGEBLOCK_ORDER && !types.every(isMergeable) && types[0] !== types[1];
  report.expect(apart, 'free buddies are merged', where);
}

/** Returns the frames on the per-CPU lists of a zone. */
function checkPerCpuLists(zone: Zone, report: Report): number {
  let frames = 0;
  for (let pindex = 0; pindex < NR_PCP_LISTS; pindex++) {
    const order = pindexToOrder(pindex);
    for (const pfn of listNodes(zone.words, zone.pcp.list(pindex))) {
      const other = otherState(zone, pfn, order, PAGE_STATE.pcp);
      report.expect(other === '', 'every frame of a cached block is pcp', other);
      frames += 1 << order;
    }
  }
  report.expect(frames === zone.pcp.count, 'per-CPU lists hold what they count', zone.name);
  return frames;
}

/** Numbers that a zone keeps beside its lists. */
function checkZone(zone: Zone, report: Report): void {
  const { watermark, name, pages } = zone;
  const ascending = watermark[WMARK.min] <= watermark[WMARK.low];
  const marks = ascending && watermark[WMARK.low] <= watermark[WMARK.high];
  report.expect(marks, 'watermarks ascend', name);
  const lag = Math.abs(zone.freePages - zone.freePagesStat);
  report.expect(lag <= zone.statThreshold, 'NR_FREE_PAGES lags by its threshold at most', name);
  const managed = zone.managedPages >= 0 && zone.managedPages <= zone.presentPages;
  report.expect(managed, 'a zone manages frames that it has', name);
  let reserved = 0;
  let isolated = 0;
  const end = Math.ceil(zone.endPfn / PAGEBLOCK_PAGES);
  for (let block = zone.startPfn >>> PAGEBLOCK_ORDER; block < end; block++) {
    if (pages.blockTypes[block] === MIGRATETYPE.highatomic) reserved += PAGEBLOCK_PAGES;
    if (pages.blockTypes[block] === MIGRATETYPE.isolate) isolated++;
  }
  const counted = reserved === zone.nrReservedHighatomic;
  report.expect(counted, 'nr_reserved_highatomic counts the reserve', `${name}: ${reserved}`);
  const isCounted = isolated === zone.nrIsolatePageblock;
  report.expect(isCounted, 'isolated pageblocks are counted', `${name}: ${isolated}`);
}

/**
 * Frames that nobody owns have no reference. Those in use lie in blocks whose first frame has the
 * references of all; what a block is it is as a whole.
 */
function checkOwners({ pages }: PageAllocator, report: Report): void {
  const { states } = pages;
  for (let pfn = 0; pfn < states.size; ) {
    const state = states.stateOf(pfn);
    const count = pages.refcount(pfn);
    if (((OWNERLESS >>> state) & 1) === 1) {
      report.expect(count === 0, 'a frame without an owner has no reference', pfn);
      pfn++;
      continue;
    }
    report.expect(count > 0, 'a frame in use has a holder', pfn);
    const end = count > 0 ? pfn + (1 << pages.allocOrder(pfn)) : pfn + 1;
    for (let at = pfn + 1; at < end; at++) {
      const alike = states.stateOf(at) === state && pages.refcount(at) === 0;
      report.expect(alike, 'a block in use is so as a whole', at);
    }
    pfn = end;
  }
}

/** States of frames that nobody owns, a bit each. */
const OWNERLESS =
  (1 << PAGE_STATE.reserved) |
  (1 << PAGE_STATE.free) |
  (1 << PAGE_STATE.pcp) |
  (1 << PAGE_STATE.isolatedFree);

/** The first frame of a block that is not in `state`, with its state; '' when there is none. */
function otherState(zone: Zone, pfn: number, order: number, state: number): string {
  for (let at = pfn; at < pfn + (1 << order); at++) {
    const found = zone.pages.states.stateOf(at);
    if (found !== state) return `${at} is ${pageLifecycle.table.stateNames[found]}`;
  }
  return '';
}

/** N54, N59: what is free holds the poison, whether it was in the balloon or never used. */
function checkPoison({ pages }: PageAllocator, report: Report): void {
  const { states, tags } = pages;
  for (let pfn = 0; pfn < states.size; pfn++) {
    const state = states.stateOf(pfn);
    if (state !== PAGE_STATE.free && state !== PAGE_STATE.pcp) continue;
    report.expect(tags[pfn] === PAGE_POISON, 'N59: free frames hold the poison', pfn);
  }
}

/** I1, I2, I5: books, lists, states and events agree. */
function checkBalloons(allocator: PageAllocator, balloons: Balloons, report: Report): void {
  const { pages } = allocator;
  let listed = 0;
  let isolated = 0;
  for (const book of balloons.bound()) {
    let length = 0;
    for (const pfn of book.pfns()) {
      const where = String(pfn);
      const state = pages.states.stateOf(pfn);
      report.expect(state === PAGE_STATE.balloon, 'I2: a listed balloon page is one', where);
      report.expect(balloons.bookOf(pfn) === book, 'a balloon page names its book', where);
      report.expect(pages.refcount(pfn) > 0, 'a balloon page has a reference', where);
      length++;
    }
    report.expect(length === book.length, 'a book counts its list');
    listed += length;
    isolated += book.isolatedPages;
  }
  const { states } = pages;
  report.expect(listed === states.countOf(PAGE_STATE.balloon), 'I1: balloon pages are listed');
  report.expect(
    isolated === states.countOf(PAGE_STATE.balloonIsolated),
    'I1: isolated balloon pages are counted',
  );
  const events = balloons.events.balloon_inflate - balloons.events.balloon_deflate;
  report.expect(events === listed + isolated, 'I5: inflated less deflated is in the balloons');
}

function checkCounts(allocator: PageAllocator, report: Report): void {
  const { states } = allocator.pages;
  const counted = new Int32Array(states.count.length);
  for (const state of states.snapshot()) counted[state]++;
  const same = counted.every((count, state) => count === states.count[state]);
  report.expect(same, 'populations count their frames');
  const total = states.count.reduce((sum, count) => sum + count, 0);
  report.expect(total === allocator.pages.pageCount, 'every frame is in exactly one state');
}
