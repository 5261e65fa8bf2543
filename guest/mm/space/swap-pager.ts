import type { Waiting } from '../../sched/scheduler.ts';
import type { FileMapping } from './address-spaces.ts';
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

/** What address spaces need of whoever swaps. Offsets are places in the swap area. */
export interface SwapPager {
  /** do_swap_page: brings the page back and maps it, unless the entry changed meanwhile. */
  swapIn(access: SwapAccess): Waiting;
  /** shmem_swapin_folio: brings a page of tmpfs back into its cache, unless it is there again. */
  swapInShmem(mapping: FileMapping, index: number): Waiting;
  /** swap_duplicate: one more entry names the place (fork). */
  duplicate(offset: number): void;
  /** free_swap_and_cache: one entry less names it. */
  free(offset: number): void;
}
