/**
 * Entries of page tables, 32 bits each. An entry of 0 is none.
 *
 * Present (bit 0): flags in bits 1 to 4, the PFN above. In a PMD bit 4 says that the entry maps a
 * huge page (_PAGE_PSE); in a PTE that there is no page to count behind it, which is the zero page
 * (pte_special).
 * Not present: bits 1 and 2 say what it is. A swap entry has its offset in the swap area; a
 * migration entry has the PFN of the page that is being moved.
 *
 * Not emulated: protection keys, soft-dirty, userfaultfd, execute permission, PROT_NONE.
 */
export const PTE_PRESENT = 1;
export const PTE_WRITE = 1 << 1;
export const PTE_ACCESSED = 1 << 2;
export const PTE_DIRTY = 1 << 3;
export const PTE_SPECIAL = 1 << 4;
export const PMD_HUGE = 1 << 4;
export const PTE_PFN_SHIFT = 5;
export const PTE_FLAGS = (1 << PTE_PFN_SHIFT) - 1;

const SWP_KIND = 6;
const SWP_SWAP = 2;
const SWP_MIGRATION = 4;
/** The page of a swap entry was mapped exclusively (pte_swp_exclusive). */
export const SWP_EXCLUSIVE = 1 << 3;
const SWAP_OFFSET_SHIFT = 4;

/** How the page of a migration entry may be used again when it has moved. */
export const MIGRATION_READ = 0;
export const MIGRATION_READ_EXCLUSIVE = 1 << 3;
export const MIGRATION_WRITE = 1 << 4;
const MIGRATION_ACCESS = MIGRATION_READ_EXCLUSIVE | MIGRATION_WRITE;
export const MIGRATION_YOUNG = 1 << 5;
export const MIGRATION_DIRTY = 1 << 6;
const MIGRATION_PFN_SHIFT = 7;

/** Frames that fit a migration entry: 128 GiB. Frames of a guest are fewer (MAX_GUEST_MIB). */
export const MAX_PFN = 2 ** (32 - MIGRATION_PFN_SHIFT);

export function makePte(pfn: number, flags: number): number {
  return (pfn << PTE_PFN_SHIFT) | flags | PTE_PRESENT;
}

export function isPresent(entry: number): boolean {
  return (entry & PTE_PRESENT) !== 0;
}

/** PFN of a present entry. */
export function ptePfn(entry: number): number {
  return entry >>> PTE_PFN_SHIFT;
}

/** Does a PMD lead to a table of PTEs? */
export function isTable(pmd: number): boolean {
  return (pmd & (PTE_PRESENT | PMD_HUGE)) === PTE_PRESENT;
}

/** Does a PMD map a huge page? */
export function isHugePmd(pmd: number): boolean {
  return (pmd & (PTE_PRESENT | PMD_HUGE)) === (PTE_PRESENT | PMD_HUGE);
}

export function isWritable(entry: number): boolean {
  return (entry & (PTE_PRESENT | PTE_WRITE)) === (PTE_PRESENT | PTE_WRITE);
}

/** swp_entry_to_pte: offset is the page's place in the swap area, below 2^28. */
export function makeSwapEntry(offset: number, exclusive: boolean): number {
  return (offset << SWAP_OFFSET_SHIFT) | SWP_SWAP | (exclusive ? SWP_EXCLUSIVE : 0);
}

export function isSwapEntry(entry: number): boolean {
  return (entry & (SWP_KIND | PTE_PRESENT)) === SWP_SWAP;
}

export function swapOffset(entry: number): number {
  return entry >>> SWAP_OFFSET_SHIFT;
}

/** `access` is one of MIGRATION_*; young and dirty are carried along. */
export function makeMigrationEntry(pfn: number, access: number): number {
  return (pfn << MIGRATION_PFN_SHIFT) | SWP_MIGRATION | access;
}

export function isMigrationEntry(entry: number): boolean {
  return (entry & (SWP_KIND | PTE_PRESENT)) === SWP_MIGRATION;
}

export function migrationPfn(entry: number): number {
  return entry >>> MIGRATION_PFN_SHIFT;
}

export function migrationAccess(entry: number): number {
  return entry & MIGRATION_ACCESS;
}

/** make_readable_migration_entry: what fork leaves in both processes. */
export function withMigrationAccess(entry: number, access: number): number {
  return (entry & ~MIGRATION_ACCESS) | access;
}

/** The migration entry that stands for a present entry while its page moves. */
export function toMigrationEntry(entry: number, anonExclusive: boolean): number {
  let access = anonExclusive ? MIGRATION_READ_EXCLUSIVE : MIGRATION_READ;
  if (isWritable(entry)) access = MIGRATION_WRITE;
  if ((entry & PTE_ACCESSED) !== 0) access |= MIGRATION_YOUNG;
  if ((entry & PTE_DIRTY) !== 0) access |= MIGRATION_DIRTY;
  return makeMigrationEntry(ptePfn(entry), access);
}
