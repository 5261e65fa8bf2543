import { PAGE_STATE } from '../page/page-lifecycle.ts';
import { listNodes } from '../page/page-list.ts';
import { LRU } from '../reclaim/lru-lists.ts';
import {
  HPAGE_PMD_NR,
  HPAGE_PMD_ORDER,
  MAPPING,
  PG_ACTIVE,
  PG_ANON_EXCLUSIVE,
  PG_ISOLATED,
  PG_MLOCKED,
  PG_SWAPBACKED,
  PG_SWAPCACHE,
  PG_TAIL,
  PG_UNEVICTABLE,
} from './frames.ts';
import type { Spaces } from './spaces.ts';
import type { Report, Tally } from './verify-report.ts';

/** The part of verifySpaces that compares every frame with what was found to refer to it. */
export function checkFrames(spaces: Spaces, tally: Tally, report: Report): void {
  const levels = new Levels();
  for (let pfn = 0; pfn < spaces.frames.pages.pageCount; pfn++) {
    checkFrame(spaces, tally, report, pfn);
    countFrame(spaces, levels, pfn);
  }
  const { vmstat } = spaces;
  report.expect(levels.anon === vmstat.get('nr_anon_pages'), 'nr_anon_pages counts mapped pages');
  report.expect(levels.file === vmstat.get('nr_mapped'), 'nr_mapped counts mapped file pages');
  report.expect(levels.mlocked === vmstat.get('nr_mlock'), 'nr_mlock counts locked pages');
  const isolated = vmstat.get('nr_isolated_anon') + vmstat.get('nr_isolated_file');
  report.expect(levels.isolated === isolated, 'nr_isolated counts isolated pages');
  checkLru(spaces, report);
}

class Levels {
  anon = 0;
  file = 0;
  mlocked = 0;
  isolated = 0;
}

function countFrame(spaces: Spaces, levels: Levels, pfn: number): void {
  const { frames } = spaces;
  if (frames.pages.refcount(frames.head(pfn)) === 0) return;
  const kind = frames.mappingKind(frames.head(pfn));
  if (kind === MAPPING.anon && frames.pageMapcount(pfn) > 0) levels.anon++;
  if (kind === MAPPING.file && frames.pageMapcount(pfn) > 0) levels.file++;
  if (frames.has(frames.head(pfn), PG_MLOCKED)) levels.mlocked++;
  if (frames.has(frames.head(pfn), PG_ISOLATED)) levels.isolated++;
}

function checkFrame(spaces: Spaces, tally: Tally, report: Report, pfn: number): void {
  const { frames } = spaces;
  report.expect(frames.mapcount[pfn] === tally.ptes[pfn], 'mapcounts count the mappings', pfn);
  const state = frames.pages.states.stateOf(pfn);
  const inUse = state === PAGE_STATE.lru || state === PAGE_STATE.allocated;
  const referred = tally.ptes[pfn] + tally.pmds[pfn] + tally.cache[pfn] > 0;
  report.expect(inUse || !referred, 'no free or ballooned frame is mapped or cached', pfn);
  if (!inUse) {
    const clean = frames.flags(pfn) === 0 && frames.mapping[pfn] === 0;
    report.expect(clean, 'a frame that is not in use belongs to nobody', pfn);
    return;
  }
  const isTable = frames.mapping[pfn] === MAPPING.table;
  report.expect(isTable === tally.tables[pfn] > 0, 'a table frame hangs in page tables', pfn);
  if (frames.has(pfn, PG_TAIL)) {
    report.expect(frames.refcount(pfn) === 0, 'the head has the references of a tail', pfn);
    return;
  }
  const kind = frames.mappingKind(pfn);
  const known = kind === MAPPING.anon || kind === MAPPING.file || state === PAGE_STATE.lru;
  if (known) checkReferences(spaces, tally, report, pfn);
}

/** Every reference of a page is a mapping's, the cache's, a batch's or a task's. */
function checkReferences(spaces: Spaces, tally: Tally, report: Report, head: number): void {
  const { frames, lru, holds } = spaces;
  const huge = frames.order(head) === HPAGE_PMD_ORDER;
  const compound = frames.compoundMapcount(head);
  report.expect(compound === tally.pmds[head], 'huge mapcounts count the PMDs', String(head));
  let expected = tally.pmds[head] + tally.cache[head];
  for (let pfn = head; pfn < head + (huge ? HPAGE_PMD_NR : 1); pfn++) expected += tally.ptes[pfn];
  expected += lru.batchReferences(head) + holds.of(head);
  if (frames.has(head, PG_SWAPCACHE)) expected++;
  if (frames.has(head, PG_ISOLATED)) expected++;
  const count = frames.refcount(head);
  report.expect(count === expected, 'every reference has a holder', `${head}: ${count}`);
  const mappings = expected - tally.cache[head];
  const shared = frames.has(head, PG_ANON_EXCLUSIVE) && !huge && tally.ptes[head] > 1;
  report.expect(!shared || mappings <= 1, 'an exclusive page is mapped once', String(head));
}

/** LRU lists: every page on the list that its flags name, none twice, all counted. */
function checkLru(spaces: Spaces, report: Report): void {
  const { frames, lru } = spaces;
  const sizes = new Int32Array(lru.lists.sizes.length);
  let frameCount = 0;
  for (let list = 0; list < LRU.unevictable; list++) {
    for (const pfn of listNodes(frames.words, lru.lists.head(list))) {
      const flags = frames.flags(pfn);
      const anon = (flags & PG_SWAPBACKED) !== 0 ? 0 : LRU.inactiveFile;
      const named = anon + ((flags & PG_ACTIVE) !== 0 ? 1 : 0);
      const right = lru.has(pfn) && named === list && (flags & PG_UNEVICTABLE) === 0;
      report.expect(right, 'a page is on the LRU list its flags name', `${pfn} on ${list}`);
      sizes[list] += frames.pageCount(pfn);
    }
  }
  for (let pfn = 0; pfn < frames.pages.pageCount; pfn++) {
    if (!lru.has(pfn)) continue;
    frameCount++;
    if (frames.has(frames.head(pfn), PG_UNEVICTABLE)) sizes[LRU.unevictable]++;
  }
  report.expect(
    sizes.every((size, list) => size === lru.lists.sizes[list]),
    'LRU lists are counted',
  );
  const listed = sizes.reduce((sum, size) => sum + size, 0);
  report.expect(listed === frameCount, 'every page of the LRU is on a list');
  const fileLru = sizes[LRU.inactiveFile] + sizes[LRU.activeFile];
  report.expect(fileLru === spaces.allocator.levels.fileLru, 'file pages of the LRU are counted');
}
