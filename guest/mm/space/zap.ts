import { HPAGE_PMD_NR, MAPPING, PG_SWAPBACKED } from './frames.ts';
import { type Mm, RSS, VM_LOCKED, type Vma } from './mm-types.ts';
import { setDirty } from './page-cache.ts';
import { pteIn } from './page-tables.ts';
import {
  isHugePmd,
  isMigrationEntry,
  isPresent,
  isSwapEntry,
  isTable,
  migrationPfn,
  PTE_ACCESSED,
  PTE_DIRTY,
  PTE_SPECIAL,
  ptePfn,
  swapOffset,
} from './pte.ts';
import type { Spaces } from './spaces.ts';
import { freePteTable } from './table-pages.ts';

/**
 * Takes pages out of an address space: unmap_page_range of Linux 6.1. The gather of `spaces` must
 * have been started; pages are freed and the TLB is flushed when it is full or finished.
 */

/** zap_page_range_single: the pages of one VMA, gather and all. */
export function zapPages(spaces: Spaces, vma: Vma, start: number, end: number): void {
  spaces.lru.drain();
  spaces.gather.start(vma.mm);
  unmapRange(spaces, vma, start, end);
  spaces.gather.finish();
}

/** unmap_page_range: pages [start, end), which lie in the VMA. */
export function unmapRange(spaces: Spaces, vma: Vma, start: number, end: number): void {
  const { tables, tlb } = spaces;
  tlb.flushDeferredOf(vma.mm);
  for (let vpn = start; vpn < end; ) {
    const next = Math.min(end, (vpn & ~(HPAGE_PMD_NR - 1)) + HPAGE_PMD_NR);
    const pmdAt = tables.pmdAt(vma.mm.pgdBase, vpn);
    if (pmdAt >= 0 && tables.entries[pmdAt] !== 0) zapPmd(spaces, vma, { vpn, next, pmdAt });
    vpn = next;
  }
}

interface PmdPart {
  readonly vpn: number;
  readonly next: number;
  readonly pmdAt: number;
}

function zapPmd(spaces: Spaces, vma: Vma, part: PmdPart): void {
  const { tables, hugePages } = spaces;
  if (!isTable(tables.entries[part.pmdAt])) {
    if (part.next - part.vpn === HPAGE_PMD_NR) {
      zapHuge(spaces, vma, part);
      return;
    }
    hugePages.splitPmd(vma, part.vpn, part.pmdAt);
  }
  zapPtes(spaces, vma, part);
}

/** zap_huge_pmd. */
function zapHuge(spaces: Spaces, vma: Vma, part: PmdPart): void {
  const { tables, gather, hugePages } = spaces;
  const entry = tables.entries[part.pmdAt];
  tables.entries[part.pmdAt] = 0;
  gather.unmapped(part.vpn, part.next);
  freePteTable(spaces, vma.mm, hugePages.withdraw(vma.mm, part.pmdAt));
  vma.mm.rss[RSS.anon] -= HPAGE_PMD_NR;
  if (!isHugePmd(entry)) return;
  const head = ptePfn(entry);
  spaces.rmap.remove(head, true);
  if (vma.has(VM_LOCKED)) spaces.lru.munlock(head);
  if (gather.remove(head)) gather.flush();
}

/** zap_pte_range. */
function zapPtes(spaces: Spaces, vma: Vma, part: PmdPart): void {
  const { tables, gather } = spaces;
  const base = tables.tableBase(tables.entries[part.pmdAt]);
  let dirtyFile = false;
  for (let vpn = part.vpn; vpn < part.next; vpn++) {
    const at = pteIn(base, vpn);
    const entry = tables.entries[at];
    if (entry === 0) continue;
    tables.entries[at] = 0;
    if (!isPresent(entry)) {
      zapNonPresent(spaces, vma.mm, entry);
      continue;
    }
    gather.unmapped(vpn, vpn + 1);
    if ((entry & PTE_SPECIAL) !== 0) continue;
    if (zapPresent(spaces, vma, entry)) dirtyFile = true;
    if (gather.remove(ptePfn(entry))) gather.flush();
  }
  // A dirty file page may be written back and freed by others as soon as it is unmapped.
  if (dirtyFile) gather.flush();
}

/** Returns true when the page is a file's and was written through this entry. */
function zapPresent(spaces: Spaces, vma: Vma, entry: number): boolean {
  const { frames, lru, rmap } = spaces;
  const pfn = ptePfn(entry);
  const isFile = !frames.isAnon(pfn);
  const dirty = isFile && (entry & PTE_DIRTY) !== 0;
  if (dirty) setDirty(spaces, pfn);
  if (isFile && (entry & PTE_ACCESSED) !== 0) lru.markAccessed(pfn);
  vma.mm.rss[rssKind(spaces, pfn)]--;
  rmap.remove(pfn);
  if (vma.has(VM_LOCKED) && !frames.isHuge(pfn)) lru.munlock(pfn);
  return dirty;
}

function zapNonPresent(spaces: Spaces, mm: Mm, entry: number): void {
  if (isMigrationEntry(entry)) {
    mm.rss[rssKind(spaces, migrationPfn(entry))]--;
  } else if (isSwapEntry(entry)) {
    mm.rss[RSS.swap]--;
    spaces.swap?.free(swapOffset(entry));
  }
}

/** mm_counter: what a page counts as in the resident set. */
export function rssKind(spaces: Spaces, pfn: number): number {
  const { frames } = spaces;
  const head = frames.head(pfn);
  if (frames.mappingKind(head) === MAPPING.anon) return RSS.anon;
  return frames.has(head, PG_SWAPBACKED) ? RSS.shmem : RSS.file;
}
