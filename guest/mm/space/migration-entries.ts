import { assert } from '../../../shared/lib/assert.ts';
import { HPAGE_PMD_NR, PG_ANON_EXCLUSIVE } from './frames.ts';
import { VM_LOCKED, VM_WRITE, type Vma } from './mm-types.ts';
import { setDirty } from './page-cache.ts';
import {
  isMigrationEntry,
  MIGRATION_DIRTY,
  MIGRATION_READ,
  MIGRATION_WRITE,
  MIGRATION_YOUNG,
  makePte,
  migrationAccess,
  migrationPfn,
  PMD_HUGE,
  PTE_ACCESSED,
  PTE_DIRTY,
  PTE_WRITE,
  ptePfn,
  toMigrationEntry,
} from './pte.ts';
import type { Spaces } from './spaces.ts';

/**
 * What moving a page does to the page tables that map it: every entry becomes a migration entry,
 * on which accesses wait for the page lock, and later an entry for the page's new place. The move
 * itself (isolation, content, page cache) is its caller's.
 */

/**
 * try_to_migrate: nobody maps the page any more afterwards. The caller has it locked and holds a
 * reference. With `deferFlush` the caller does `tlb.flushDeferred` before it copies the content.
 */
export function tryToMigrate(spaces: Spaces, head: number, deferFlush: boolean): void {
  const { frames, rmap } = spaces;
  assert(frames.isLocked(head), 'a page is locked while its mappings are taken');
  rmap.walk(head, (vma, vpn, at, huge) => migrateOne(spaces, { vma, vpn, at, huge }, deferFlush));
}

interface Place {
  readonly vma: Vma;
  readonly vpn: number;
  readonly at: number;
  readonly huge: boolean;
}

/** try_to_migrate_one. */
function migrateOne(spaces: Spaces, place: Place, deferFlush: boolean): void {
  const { frames, lru, refs, rmap, tables, tlb } = spaces;
  const { vma, vpn, at, huge } = place;
  const entry = tables.entries[at];
  const pfn = ptePfn(entry);
  const exclusive = frames.isAnon(pfn) && frames.testAndClear(pfn, PG_ANON_EXCLUSIVE);
  if ((entry & PTE_DIRTY) !== 0) setDirty(spaces, frames.head(pfn));
  tables.entries[at] = toMigrationEntry(entry, exclusive);
  if (deferFlush) tlb.deferFlush(vma.mm);
  else tlb.flushRange(vma.mm, vpn, huge ? vpn + HPAGE_PMD_NR : vpn + 1);
  rmap.remove(pfn, huge);
  if (vma.has(VM_LOCKED) && (huge || !frames.isHuge(pfn))) lru.munlock(frames.head(pfn));
  refs.put(pfn);
}

/**
 * remove_migration_ptes: maps `to` wherever a migration entry of `from` is left; the same page
 * where the move failed. `to` has the mapping, index and order that `from` had, and is locked.
 */
export function removeMigrationPtes(spaces: Spaces, from: number, to: number): void {
  const { frames, rmap, tables } = spaces;
  rmap.visitPlaces(to, (vma, vpn, at, huge) => {
    const entry = tables.entries[at];
    if (!isMigrationEntry(entry)) return;
    const offset = huge ? 0 : vma.indexOf(vpn) - frames.index[to];
    if (migrationPfn(entry) === from + offset) restore(spaces, { vma, vpn, at, huge }, to + offset);
  });
}

/** remove_migration_pte. */
function restore(spaces: Spaces, place: Place, pfn: number): void {
  const { frames, lru, rmap, tables } = spaces;
  const { vma, at, huge } = place;
  const entry = tables.entries[at];
  const access = migrationAccess(entry);
  let flags = huge ? PMD_HUGE : 0;
  if ((entry & MIGRATION_YOUNG) !== 0) flags |= PTE_ACCESSED;
  if ((entry & MIGRATION_DIRTY) !== 0) flags |= PTE_DIRTY;
  if (access === MIGRATION_WRITE && vma.has(VM_WRITE)) flags |= PTE_WRITE;
  frames.get(pfn);
  rmap.add(pfn, huge);
  if (frames.isAnon(pfn) && access !== MIGRATION_READ) frames.set(pfn, PG_ANON_EXCLUSIVE);
  if (vma.has(VM_LOCKED) && (huge || !frames.isHuge(pfn))) lru.mlock(frames.head(pfn));
  tables.entries[at] = makePte(pfn, flags);
}
