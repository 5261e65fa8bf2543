import { PAGE_STATE } from '../page/page-lifecycle.ts';
import { MAPPING } from './frames.ts';
import { leafEntry } from './leaf-entry.ts';
import { ptePfn } from './pte.ts';
import type { Spaces } from './spaces.ts';
import { agrees } from './tlb.ts';
import { checkFrames } from './verify-frames.ts';
import { Report, Tally } from './verify-report.ts';
import { checkTables } from './verify-tables.ts';

/**
 * What must hold of all address spaces between any two steps of tasks: page tables, reverse map,
 * page cache, LRU lists and TLB agree about every frame, and every reference is somebody's. Names
 * each violated invariant once, with its first case; empty when all hold. Walks everything.
 */
export function verifySpaces(spaces: Spaces): string[] {
  const report = new Report();
  const tally = new Tally(spaces.frames.pages.pageCount);
  checkTables(spaces, tally, report);
  checkFiles(spaces, tally, report);
  checkFrames(spaces, tally, report);
  checkTlb(spaces, report);
  return [...report.violated(), ...(spaces.swap?.verify(tally.swap) ?? [])];
}

/** The page cache: slots and frames name one another; dirty pages are known to their file. */
function checkFiles(spaces: Spaces, tally: Tally, report: Report): void {
  const { frames, vmstat } = spaces;
  let cached = 0;
  let dirty = 0;
  for (const mapping of spaces.files) {
    let pages = 0;
    for (const [index, pfn] of mapping.cachedPages()) {
      const where = `file ${mapping.id} index ${index} frame ${pfn}`;
      const named = frames.mappingKind(pfn) === MAPPING.file && frames.index[pfn] === index;
      const owned = named && frames.mappingId(pfn) === mapping.id;
      report.expect(owned, 'a cached page names its file and index', where);
      tally.cache[pfn]++;
      pages++;
    }
    for (const offset of mapping.swapOffsets()) tally.countSwap(offset);
    report.expect(pages === mapping.nrPages, 'a file counts its cached pages', `${mapping.id}`);
    for (const vma of mapping.vmas) {
      report.expect(vma.file === mapping, 'a VMA linked to a file maps it', `${mapping.id}`);
    }
    cached += pages;
    dirty += mapping.dirty.size;
  }
  // Pages of the swap cache count as well.
  const filePages = vmstat.get('nr_file_pages') - vmstat.get('nr_swapcached');
  report.expect(cached === filePages, 'nr_file_pages counts cached pages');
  report.expect(dirty === vmstat.get('nr_dirty'), 'nr_dirty counts dirty pages');
}

/** No translation is cached that the tables do not give, unless its flush was put off. */
function checkTlb(spaces: Spaces, report: Report): void {
  const { tlb, tables, frames } = spaces;
  report.expect(tlb.staleUses.length === 0, 'no stale translation is used', tlb.staleUses[0]);
  for (const { mm, vpn, entry } of tlb.cached()) {
    const where = `process ${mm.id} page ${vpn}`;
    const agreed = agrees(entry, leafEntry(tables, mm, vpn));
    report.expect(agreed || tlb.isFlushDeferred(mm), 'the TLB agrees with page tables', where);
    const state = frames.pages.states.stateOf(ptePfn(entry));
    const inUse = state === PAGE_STATE.lru || state === PAGE_STATE.allocated;
    const zero = ptePfn(entry) === spaces.zeroPfn;
    report.expect(inUse || zero, 'the TLB reaches no frame that was freed', where);
  }
}
