import type { Waiting } from '../../sched/scheduler.ts';
import type { FileMapping } from './address-spaces.ts';
import type { Asking } from './alloc-pages.ts';
import type { Mm, Vma } from './mm-types.ts';

/** An access to a page that lies in swap. */
export interface SwapAccess {
  readonly mm: Mm;
  readonly vma: Vma;
  readonly vpn: number;
  readonly write: boolean;
  /** Position of the swap entry in PageTables.entries. */
  readonly at: number;
}

/** A page of a file of tmpfs that lies in swap. */
export interface ShmemPlace {
  readonly mapping: FileMapping;
  readonly index: number;
  /** It is a fault that needs it, not a read or write of the file. */
  readonly isFault: boolean;
}

/** What address spaces need of whoever swaps. Offsets are places in the swap area. */
export interface SwapPager {
  /** get_nr_swap_pages. */
  readonly freePages: number;
  /** do_swap_page: brings the page back and maps it, unless the entry changed meanwhile. */
  swapIn(access: SwapAccess): Waiting<boolean>;
  /** shmem_swapin_folio: brings a page of tmpfs back into its cache, unless it is there again. */
  swapInShmem(place: ShmemPlace, asking?: Asking): Waiting<boolean>;
  /** swap_duplicate: one more entry names the place (fork). */
  duplicate(offset: number): void;
  /** free_swap_and_cache: one entry less names it. */
  free(offset: number): void;
  /** folio_free_swap: a locked page that no swap entry stands for needs no slot. */
  giveUpSlotOf(pfn: number): void;
  /** free_swap_cache: a page whose last mapping may have gone; the caller has a reference. */
  freeSwapCache(pfn: number): void;
  /**
   * migrate_page_move_mapping for a locked page of the swap cache: the cache has `newPfn` in its
   * place and a reference of that one; the reference of the old one is the caller's to drop.
   */
  replace(oldPfn: number, newPfn: number): void;
  /** Names every violated invariant; `entries` counts by offset what was found to name it. */
  verify(entries: ReadonlyMap<number, number>): string[];
}
