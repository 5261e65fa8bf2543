import type { AddressSpace } from './address-space.ts';
import { VmaList, type VmaRange } from './vma-list.ts';

/** Flags of a VMA. Every VMA may be read. */
export const VM_WRITE = 1;
/** MAP_SHARED: writes reach the file and all who map it. */
export const VM_SHARED = 2;
export const VM_LOCKED = 4;
/** MADV_HUGEPAGE, MADV_NOHUGEPAGE. */
export const VM_HUGEPAGE = 8;
export const VM_NOHUGEPAGE = 16;

/** Kinds of resident pages, as /proc/PID/status counts them (mm_counter). */
export const RSS = { file: 0, anon: 1, swap: 2, shmem: 3 } as const;

/**
 * struct mm_struct: one address space. Its VMAs are changed by one task only, the process itself;
 * others reach it through the reverse map or to reap it.
 *
 * Not emulated: threads that share an address space, and with them mmap_lock.
 */
export class Mm {
  readonly id: number;
  /** Frame of the top table (order 1) and position of its first entry. */
  readonly pgd: number;
  readonly pgdBase: number;
  readonly vmas = new VmaList<Vma>();
  /** Pages by RSS kind; of swap entries their number. */
  readonly rss = new Int32Array(4);
  /** Tables below the pgd: mm_pgtables_bytes in pages. */
  tablePages = 0;
  /** Pages in VMAs, and in those that are locked. */
  totalPages = 0;
  lockedPages = 0;
  /** Names this address space to the TLB; a new number forgets all that was cached. */
  tlbContext = 0;
  /** SIGKILL is pending: allocations for it may fail, its program ends at its next call. */
  killed = false;
  /** Tables kept for the day a huge page of this process is split, by the PMD table they serve. */
  readonly deposited = new Map<number, number[]>();

  constructor(id: number, pgd: number, pgdBase: number) {
    this.id = id;
    this.pgd = pgd;
    this.pgdBase = pgdBase;
  }

  /** get_mm_rss: resident pages, swap entries not counted. */
  get residentPages(): number {
    return this.rss[RSS.file] + this.rss[RSS.anon] + this.rss[RSS.shmem];
  }

  /** What oom_badness weighs: resident, swapped out and the page tables. */
  get badness(): number {
    return this.residentPages + this.rss[RSS.swap] + this.tablePages;
  }
}

/**
 * struct anon_vma: the owner of anonymous pages. A page names the owner of the VMA it was faulted
 * into; a child's VMA is linked to all owners its parent was linked to, so that every mapping of
 * a shared page is found, and has one of its own for the pages it will fault in alone.
 */
export class AnonVma {
  readonly id: number;
  /** VMAs that may map pages of this owner. */
  readonly vmas = new Set<Vma>();

  constructor(id: number) {
    this.id = id;
  }
}

/** struct vm_area_struct: a run of pages mapped alike. Addresses are page numbers. */
export class Vma {
  readonly mm: Mm;
  start: number;
  end: number;
  flags: number;
  /** What is mapped: a file or tmpfs object; undefined for anonymous memory. */
  readonly file: AddressSpace<Vma> | undefined;
  /** Index of the first page in the file; for anonymous memory its page number (vm_pgoff). */
  pgoff: number;
  /** What this VMA's own anonymous pages belong to; made by the first fault that needs it. */
  anonVma: AnonVma | undefined;
  /** All that may own pages mapped here: that of its own and those of its ancestors. */
  readonly anonVmas = new Set<AnonVma>();

  constructor(mm: Mm, range: VmaRange, flags: number, backing?: FileRange) {
    this.mm = mm;
    this.start = range.start;
    this.end = range.end;
    this.flags = flags;
    this.file = backing?.file;
    this.pgoff = backing?.pgoff ?? range.start;
  }

  get pageCount(): number {
    return this.end - this.start;
  }

  has(flag: number): boolean {
    return (this.flags & flag) !== 0;
  }

  /** Does a write make a private copy? is_cow_mapping. */
  get isCow(): boolean {
    return (this.flags & (VM_SHARED | VM_WRITE)) === VM_WRITE;
  }

  /** linear_page_index: index in the mapping of a page. */
  indexOf(vpn: number): number {
    return this.pgoff + (vpn - this.start);
  }

  /** The page that has this index, or -1 when it lies outside. */
  vpnOf(index: number): number {
    const vpn = this.start + (index - this.pgoff);
    return vpn >= this.start && vpn < this.end ? vpn : -1;
  }
}

/** A file and the index in it where a mapping begins. */
export interface FileRange {
  readonly file: AddressSpace<Vma>;
  readonly pgoff: number;
}

/** can_vma_merge_after and _before: could `next` be a continuation of `vma`? */
export function canMerge(vma: Vma, next: Vma): boolean {
  if (vma.end !== next.start || vma.flags !== next.flags || vma.file !== next.file) return false;
  if (vma.pgoff + vma.pageCount !== next.pgoff) return false;
  return isMergeableAnonVma(vma, next);
}

/** is_mergeable_anon_vma: the same, or one has none and the other shares with no ancestor. */
function isMergeableAnonVma(vma: Vma, next: Vma): boolean {
  if (vma.anonVma === next.anonVma) return true;
  if (vma.anonVma !== undefined && next.anonVma !== undefined) return false;
  return vma.anonVmas.size <= 1 && next.anonVmas.size <= 1;
}
