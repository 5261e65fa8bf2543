import type { FileMapping } from '../space/address-spaces.ts';
import { PG_SWAPBACKED, PG_UPTODATE } from '../space/frames.ts';
import { RSS, VM_LOCKED, VM_SHARED, VM_WRITE, type Vma } from '../space/mm-types.ts';
import { addToPageCache, setDirty } from '../space/page-cache.ts';
import { GFP_FILE, readIn } from '../space/page-io.ts';
import { makePte, PTE_ACCESSED, PTE_DIRTY, PTE_WRITE } from '../space/pte.ts';
import type { Spaces } from '../space/spaces.ts';
import { rssKind } from '../space/zap.ts';
import { anonFlags, ensurePteTable, ptePosition } from './anonymous.ts';
import { addNewToLru, FAULT, type Fault, type FaultResult, GFP_COPY } from './fault.ts';

/** Pages around a read fault that are mapped with it when they are cached (fault_around_bytes). */
const FAULT_AROUND_PAGES = 16;

/** do_fault: a page of a file or of tmpfs that is not mapped yet. */
export function fileFault(fault: Fault, vma: Vma, mapping: FileMapping): FaultResult {
  if (vma.indexOf(fault.vpn) >= mapping.sizePages) return FAULT.sigbus;
  if (!fault.write) return readFault(fault, vma, mapping);
  return vma.has(VM_SHARED) ? sharedFault(fault, vma, mapping) : copyFault(fault, vma, mapping);
}

/** do_read_fault. */
function readFault(fault: Fault, vma: Vma, mapping: FileMapping): FaultResult {
  if (!ensurePteTable(fault)) return FAULT.noPage;
  if (mapAround(fault, vma, mapping)) return FAULT.done;
  const result = findPage(fault, vma, mapping);
  if (result !== FAULT.done) return result;
  mapFilePage(fault.spaces, vma, ptePosition(fault), pageOf(vma, mapping, fault.vpn));
  return FAULT.done;
}

/** do_shared_fault: page_mkwrite, then the page is mapped for writing. */
function sharedFault(fault: Fault, vma: Vma, mapping: FileMapping): FaultResult {
  if (!ensurePteTable(fault)) return FAULT.noPage;
  const result = findPage(fault, vma, mapping);
  if (result !== FAULT.done) return result;
  const { spaces } = fault;
  const pfn = pageOf(vma, mapping, fault.vpn);
  const at = ptePosition(fault);
  mapFilePage(spaces, vma, at, pfn);
  spaces.tables.entries[at] |= PTE_WRITE | PTE_DIRTY;
  setDirty(spaces, pfn);
  return FAULT.done;
}

/** do_cow_fault: a private copy at the first write. */
function copyFault(fault: Fault, vma: Vma, mapping: FileMapping): FaultResult {
  const { spaces, mm, vpn, source } = fault;
  spaces.anonVmas.prepare(vma);
  const copy = source.take(0, GFP_COPY);
  if (copy < 0) return FAULT.noPage;
  const result = ensurePteTable(fault) ? findPage(fault, vma, mapping) : FAULT.noPage;
  if (result !== FAULT.done) {
    source.putBack(copy, 0, GFP_COPY);
    return result;
  }
  const { tags } = spaces.frames.pages;
  tags[copy] = tags[pageOf(vma, mapping, vpn)];
  spaces.frames.set(copy, PG_UPTODATE);
  mm.rss[RSS.anon]++;
  spaces.rmap.addNewAnon(copy, vma, vpn);
  addNewToLru(spaces, vma, copy);
  spaces.tables.entries[ptePosition(fault)] = makePte(copy, anonFlags(vma));
  return FAULT.done;
}

/** __do_fault: sees to it that the page is cached, up to date and not locked. */
function findPage(fault: Fault, vma: Vma, mapping: FileMapping): FaultResult {
  const { spaces, mm } = fault;
  const index = vma.indexOf(fault.vpn);
  const pfn = mapping.page(index);
  if (pfn >= 0) return spaces.frames.isLocked(pfn) ? fault.retryUnlocked(pfn) : FAULT.done;
  if (mapping.isShmem) return findShmemPage(fault, mapping, index);
  if (!fault.major) spaces.vmstat.pgmajfault++;
  fault.major = true;
  return fault.retryAfter(() => readIn(spaces, mapping, index, mm));
}

/** shmem_fault: a page of tmpfs nobody wrote to is a zeroed one. */
function findShmemPage(fault: Fault, mapping: FileMapping, index: number): FaultResult {
  const { spaces } = fault;
  const { swap } = spaces;
  if (swap !== undefined && mapping.swapOffset(index) >= 0) {
    const place = { mapping, index, isFault: true };
    return fault.retryAfter(() => swap.swapInShmem(place, fault.mm));
  }
  const pfn = fault.source.take(0, GFP_FILE);
  if (pfn < 0) return FAULT.noPage;
  addShmemPage(spaces, mapping, index, pfn);
  return FAULT.done;
}

/** shmem_alloc_and_add: the new page, up to date with zeroes, belongs to the cache alone. */
export function addShmemPage(
  spaces: Spaces,
  mapping: FileMapping,
  index: number,
  pfn: number,
): void {
  spaces.frames.pages.tags[pfn] = 0;
  spaces.frames.set(pfn, PG_SWAPBACKED | PG_UPTODATE);
  addToPageCache(spaces, mapping, index, pfn);
  spaces.lru.add(pfn);
  spaces.refs.put(pfn);
}

/** filemap_map_pages: maps what is cached around; true when the faulting page is among it. */
function mapAround(fault: Fault, vma: Vma, mapping: FileMapping): boolean {
  const { spaces, vpn } = fault;
  const { entries } = spaces.tables;
  const first = Math.max(vma.start, vpn & ~(FAULT_AROUND_PAGES - 1));
  const end = Math.min(vma.end, (vpn & ~(FAULT_AROUND_PAGES - 1)) + FAULT_AROUND_PAGES);
  const faultAt = ptePosition(fault);
  for (let around = first; around < end; around++) {
    const at = faultAt + (around - vpn);
    const index = vma.indexOf(around);
    if (entries[at] !== 0 || index >= mapping.sizePages) continue;
    const pfn = mapping.page(index);
    if (pfn < 0 || spaces.frames.isLocked(pfn)) continue;
    mapFilePage(spaces, vma, at, pfn);
  }
  return entries[faultAt] !== 0;
}

/** do_set_pte: maps a cached page. tmpfs does not care to see the first write. */
function mapFilePage(spaces: Spaces, vma: Vma, at: number, pfn: number): void {
  const shared = (vma.flags & (VM_SHARED | VM_WRITE)) === (VM_SHARED | VM_WRITE);
  const writable = shared && vma.file?.isShmem === true;
  spaces.frames.get(pfn);
  spaces.rmap.add(pfn);
  vma.mm.rss[rssKind(spaces, pfn)]++;
  if (vma.has(VM_LOCKED)) spaces.lru.mlock(pfn);
  spaces.tables.entries[at] = makePte(pfn, PTE_ACCESSED | (writable ? PTE_WRITE : 0));
}

function pageOf(vma: Vma, mapping: FileMapping, vpn: number): number {
  return mapping.page(vma.indexOf(vpn));
}
