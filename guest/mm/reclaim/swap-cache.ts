import { assert } from '../../../shared/lib/assert.ts';
import { PG_DIRTY, PG_SWAPCACHE, PG_WRITEBACK } from '../space/frames.ts';
import type { Spaces } from '../space/spaces.ts';
import type { SwapSlots } from './swap-slots.ts';

/**
 * The swap cache: pages that have a slot of the swap area and are in memory. It holds a reference
 * of each. Between the two, the page is the newer one: it is written again when it is dirty.
 */
export class SwapCache {
  readonly slots: SwapSlots;
  readonly #spaces: Spaces;
  /** page_private of every frame: the slot of a page with PG_SWAPCACHE. */
  readonly #slotOf: Int32Array;

  constructor(spaces: Spaces, slots: SwapSlots) {
    this.#spaces = spaces;
    this.slots = slots;
    this.#slotOf = new Int32Array(spaces.frames.pages.pageCount);
  }

  slotOf(pfn: number): number {
    assert(this.#spaces.frames.has(pfn, PG_SWAPCACHE), 'only a page of the swap cache has a slot');
    return this.#slotOf[pfn];
  }

  /** add_to_swap_cache with a new slot, for a locked page. False when the area is full. */
  addNew(pfn: number): boolean {
    const slot = this.slots.take(pfn);
    if (slot < 0) return false;
    this.#add(pfn, slot);
    return true;
  }

  /** add_to_swap_cache for a locked page that is about to be read from `slot`. */
  addToRead(pfn: number, slot: number): void {
    this.slots.cache(slot, pfn);
    this.#add(pfn, slot);
  }

  /**
   * delete_from_swap_cache without its put: the caller, who has the page locked, drops the cache's
   * reference.
   */
  remove(pfn: number): void {
    const { frames, vmstat, allocator } = this.#spaces;
    this.slots.dropCache(this.slotOf(pfn));
    this.#slotOf[pfn] = 0;
    frames.clear(pfn, PG_SWAPCACHE);
    vmstat.nr_swapcached--;
    vmstat.nr_file_pages--;
    allocator.levels.filePages--;
  }

  /**
   * folio_free_swap for a locked page, of which the caller has a reference: gives its slot up if no
   * entry names it, so that memory alone has its content. False while the page is being written, or
   * somebody has it swapped out.
   */
  freeSlotOf(pfn: number): boolean {
    const { frames, refs } = this.#spaces;
    if (!frames.has(pfn, PG_SWAPCACHE) || frames.has(pfn, PG_WRITEBACK)) return false;
    if (this.slots.counts[this.slotOf(pfn)] > 0) return false;
    this.remove(pfn);
    frames.set(pfn, PG_DIRTY);
    refs.put(pfn);
    return true;
  }

  /** Another page takes the place and the slot of a locked one; see SwapPager. */
  replace(oldPfn: number, newPfn: number): void {
    const { frames } = this.#spaces;
    const slot = this.slotOf(oldPfn);
    this.slots.move(slot, newPfn);
    this.#slotOf[newPfn] = slot;
    this.#slotOf[oldPfn] = 0;
    frames.get(newPfn);
    frames.set(newPfn, PG_SWAPCACHE);
    frames.clear(oldPfn, PG_SWAPCACHE);
  }

  #add(pfn: number, slot: number): void {
    const { frames, vmstat, allocator } = this.#spaces;
    frames.get(pfn);
    frames.set(pfn, PG_SWAPCACHE);
    this.#slotOf[pfn] = slot;
    vmstat.nr_swapcached++;
    // As in Linux pages of the swap cache count as cached pages of files.
    vmstat.nr_file_pages++;
    allocator.levels.filePages++;
  }
}
