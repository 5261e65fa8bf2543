import type { Waiting } from '../../sched/scheduler.ts';
import { PageSource } from '../space/alloc-pages.ts';
import { Errno } from '../space/errno.ts';
import { HPAGE_PMD_NR, PG_ANON_EXCLUSIVE } from '../space/frames.ts';
import { type Mm, RSS, VM_LOCKED, VM_SHARED, Vma } from '../space/mm-types.ts';
import { pteIn } from '../space/page-tables.ts';
import {
  isHugePmd,
  isMigrationEntry,
  isPresent,
  isSwapEntry,
  isTable,
  MIGRATION_READ,
  migrationPfn,
  PTE_ACCESSED,
  PTE_DIRTY,
  PTE_SPECIAL,
  PTE_WRITE,
  ptePfn,
  SWP_EXCLUSIVE,
  swapOffset,
  withMigrationAccess,
} from '../space/pte.ts';
import type { Spaces } from '../space/spaces.ts';
import { newMm, newPteTable, pmdAlloc, pteAlloc } from '../space/table-pages.ts';
import { linkVma } from '../space/vma-ops.ts';
import { rssKind } from '../space/zap.ts';
import { exitMmap } from './exit.ts';

/**
 * fork: a copy of an address space that shares all pages. What may be written privately is
 * write-protected in both; locks are not inherited. Throws ENOMEM when there is no memory for the
 * tables and the process is killed, or a file is mapped too often; then nothing is left behind.
 *
 * As in dup_mmap, pages of shared mappings and of private ones that were never written are not
 * copied: the child faults them in.
 */
export function* fork(spaces: Spaces, parent: Mm): Waiting<Mm> {
  const source = new PageSource(spaces.supply, parent);
  try {
    let child = newMm(spaces, source);
    while (child === undefined) {
      yield* fetchOrFail(source);
      child = newMm(spaces, source);
    }
    yield* copyVmas(spaces, parent, child, source);
    return child;
  } finally {
    source.close();
  }
}

function* copyVmas(spaces: Spaces, parent: Mm, child: Mm, source: PageSource): Waiting {
  try {
    for (const vma of parent.vmas) {
      const copy = copyVma(spaces, vma, child);
      if (vma.anonVma !== undefined) yield* copyPages(spaces, vma, copy, source);
    }
    // What was not copied before the reaper came is lost: no child may see that.
    if (parent.killed) throw new Errno('ENOMEM', 'fork of a killed process');
  } catch (error) {
    yield* exitMmap(spaces, child);
    throw error;
  } finally {
    spaces.tlb.flushMm(parent);
  }
}

function copyVma(spaces: Spaces, vma: Vma, child: Mm): Vma {
  const { file, pgoff } = vma;
  const copy = new Vma(child, vma, vma.flags & ~VM_LOCKED, file && { file, pgoff });
  copy.pgoff = pgoff;
  linkVma(child, copy);
  spaces.anonVmas.fork(vma, copy);
  return copy;
}

/** copy_page_range: table by table; waits only where a table cannot be had. */
function* copyPages(spaces: Spaces, vma: Vma, copy: Vma, source: PageSource): Waiting {
  const { tables } = spaces;
  for (let vpn = vma.start; vpn < vma.end; ) {
    const next = Math.min(vma.end, (vpn & ~(HPAGE_PMD_NR - 1)) + HPAGE_PMD_NR);
    const fromAt = tables.pmdAt(vma.mm.pgdBase, vpn);
    if (fromAt >= 0 && tables.entries[fromAt] !== 0) {
      const part = { vma, copy, vpn, next, fromAt };
      while (!copyPmd(spaces, part, source)) yield* fetchOrFail(source);
    }
    vpn = next;
  }
}

interface CopyPart {
  readonly vma: Vma;
  readonly copy: Vma;
  readonly vpn: number;
  readonly next: number;
  readonly fromAt: number;
}

/** copy_pmd_range for one PMD. False when a table could not be had; then nothing was copied. */
function copyPmd(spaces: Spaces, part: CopyPart, source: PageSource): boolean {
  const { tables } = spaces;
  const child = part.copy.mm;
  // While a table was waited for the parent may have been reaped.
  if (tables.entries[part.fromAt] === 0) return true;
  const toAt = pmdAlloc(spaces, child, part.vpn, source);
  if (toAt < 0) return false;
  if (!isTable(tables.entries[part.fromAt])) return copyHugePmd(spaces, part, toAt, source);
  if (tables.entries[toAt] === 0 && !pteAlloc(spaces, child, toAt, source)) return false;
  const from = tables.tableBase(tables.entries[part.fromAt]);
  const to = tables.tableBase(tables.entries[toAt]);
  for (let vpn = part.vpn; vpn < part.next; vpn++) {
    const at = pteIn(from, vpn);
    if (tables.entries[at] !== 0) tables.entries[pteIn(to, vpn)] = copyPte(spaces, part, at);
  }
  return true;
}

/** copy_present_pte and copy_nonpresent_pte: returns the child's entry. */
function copyPte(spaces: Spaces, part: CopyPart, at: number): number {
  const { entries } = spaces.tables;
  const entry = entries[at];
  const { mm } = part.copy;
  if (!isPresent(entry)) return copyNonPresent(spaces, part, at);
  if ((entry & PTE_SPECIAL) !== 0) return entry;
  const pfn = ptePfn(entry);
  spaces.frames.get(pfn);
  spaces.rmap.add(pfn);
  if (spaces.frames.isAnon(pfn)) spaces.frames.clear(pfn, PG_ANON_EXCLUSIVE);
  mm.rss[rssKind(spaces, pfn)]++;
  if (part.vma.isCow) entries[at] = entry & ~PTE_WRITE;
  const shared = part.vma.has(VM_SHARED) ? PTE_DIRTY : 0;
  return entries[at] & ~(PTE_ACCESSED | shared);
}

function copyNonPresent(spaces: Spaces, part: CopyPart, at: number): number {
  const { entries } = spaces.tables;
  const entry = entries[at];
  const { mm } = part.copy;
  if (isSwapEntry(entry)) {
    spaces.swap?.duplicate(swapOffset(entry));
    mm.rss[RSS.swap]++;
    entries[at] = entry & ~SWP_EXCLUSIVE;
  } else if (isMigrationEntry(entry)) {
    mm.rss[rssKind(spaces, migrationPfn(entry))]++;
    if (part.vma.isCow) entries[at] = withMigrationAccess(entry, MIGRATION_READ);
  }
  return entries[at];
}

/** copy_huge_pmd: the huge page is shared as one; the child deposits a table of its own. */
function copyHugePmd(spaces: Spaces, part: CopyPart, toAt: number, source: PageSource): boolean {
  const { entries } = spaces.tables;
  const { mm } = part.copy;
  const table = newPteTable(spaces, mm, source);
  if (table < 0) return false;
  spaces.hugePages.deposit(mm, toAt, table);
  const entry = spaces.tables.entries[part.fromAt];
  if (isHugePmd(entry)) {
    const head = ptePfn(entry);
    spaces.frames.get(head);
    spaces.rmap.add(head, true);
    spaces.frames.clear(head, PG_ANON_EXCLUSIVE);
    entries[part.fromAt] = entry & ~PTE_WRITE;
  } else {
    entries[part.fromAt] = withMigrationAccess(entry, MIGRATION_READ);
  }
  mm.rss[RSS.anon] += HPAGE_PMD_NR;
  spaces.tables.entries[toAt] = spaces.tables.entries[part.fromAt] & ~PTE_ACCESSED;
  return true;
}

function* fetchOrFail(source: PageSource): Waiting {
  if (!(yield* source.fetch())) throw new Errno('ENOMEM', 'fork');
}
