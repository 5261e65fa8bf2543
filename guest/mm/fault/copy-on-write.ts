import { PG_ANON_EXCLUSIVE, PG_SWAPCACHE, PG_UPTODATE } from '../space/frames.ts';
import { RSS, VM_LOCKED, VM_SHARED, type Vma } from '../space/mm-types.ts';
import { setDirty } from '../space/page-cache.ts';
import { makePte, PTE_ACCESSED, PTE_DIRTY, PTE_SPECIAL, PTE_WRITE, ptePfn } from '../space/pte.ts';
import type { Spaces } from '../space/spaces.ts';
import { rssKind } from '../space/zap.ts';
import { ptePosition } from './anonymous.ts';
import { addNewToLru, FAULT, type Fault, type FaultResult, GFP_ANON, GFP_COPY } from './fault.ts';

/**
 * do_wp_page: a write to a page that is mapped read-only. Its only user writes on in place; where
 * others may see it, a copy is made.
 */
export function writeProtectFault(fault: Fault, vma: Vma): FaultResult {
  const { spaces } = fault;
  const entry = spaces.tables.entries[ptePosition(fault)];
  if ((entry & PTE_SPECIAL) !== 0) return copyPage(fault, vma, -1);
  const pfn = ptePfn(entry);
  if (vma.has(VM_SHARED)) return makeWritable(fault, pfn);
  if (spaces.frames.isAnon(pfn) && mayReuse(spaces, vma, pfn)) return reuse(fault);
  return copyPage(fault, vma, pfn);
}

/** Is this process the only one that can reach the page, now and for good? */
function mayReuse(spaces: Spaces, vma: Vma, pfn: number): boolean {
  const { frames, lru, rmap, waits } = spaces;
  if (frames.has(pfn, PG_ANON_EXCLUSIVE)) return true;
  const head = frames.head(pfn);
  if (frames.refcount(head) > 3) return false;
  // The batch of new pages holds a reference of its own.
  if (!lru.has(head)) lru.drain();
  if (frames.refcount(head) > (frames.has(head, PG_SWAPCACHE) ? 2 : 1)) return false;
  if (!waits.tryLock(head)) return false;
  spaces.swap?.giveUpSlotOf(head);
  const isAlone = frames.refcount(head) === 1;
  if (isAlone) rmap.moveAnon(pfn, vma);
  waits.unlock(head);
  return isAlone;
}

/** wp_page_reuse. */
function reuse(fault: Fault): FaultResult {
  const { spaces } = fault;
  spaces.tables.entries[ptePosition(fault)] |= PTE_WRITE | PTE_DIRTY | PTE_ACCESSED;
  spaces.vmstat.pgreuse++;
  return FAULT.done;
}

/** wp_page_shared: the file learns that it is written to (page_mkwrite). */
function makeWritable(fault: Fault, pfn: number): FaultResult {
  if (fault.spaces.frames.isLocked(pfn)) return fault.retryUnlocked(pfn);
  setDirty(fault.spaces, pfn);
  return reuse(fault);
}

/** wp_page_copy: a new page in the place of `old`; of the zero page (-1) a zeroed one. */
function copyPage(fault: Fault, vma: Vma, old: number): FaultResult {
  const { spaces, mm, vpn, source } = fault;
  spaces.anonVmas.prepare(vma);
  const pfn = source.take(0, old < 0 ? GFP_ANON : GFP_COPY);
  if (pfn < 0) return FAULT.noPage;
  if (old >= 0) {
    spaces.frames.pages.tags[pfn] = spaces.frames.pages.tags[old];
    mm.rss[rssKind(spaces, old)]--;
  }
  spaces.frames.set(pfn, PG_UPTODATE);
  mm.rss[RSS.anon]++;
  const at = ptePosition(fault);
  spaces.tables.entries[at] = 0;
  spaces.tlb.flushPage(mm, vpn);
  spaces.rmap.addNewAnon(pfn, vma, vpn);
  addNewToLru(spaces, vma, pfn);
  spaces.tables.entries[at] = makePte(pfn, PTE_WRITE | PTE_DIRTY | PTE_ACCESSED);
  if (old >= 0) dropOld(spaces, vma, old);
  return FAULT.done;
}

function dropOld(spaces: Spaces, vma: Vma, old: number): void {
  spaces.rmap.remove(old);
  if (vma.has(VM_LOCKED) && !spaces.frames.isHuge(old)) spaces.lru.munlock(old);
  spaces.swap?.freeSwapCache(old);
  spaces.refs.put(old);
}
