import type { Waiting } from '../../sched/scheduler.ts';
import type { Asking } from '../space/alloc-pages.ts';
import { PG_DIRTY, PG_RECLAIM, PG_SWAPCACHE, PG_WRITEBACK } from '../space/frames.ts';
import { endPageWriteback } from '../space/page-io.ts';
import type { Spaces } from '../space/spaces.ts';
import type { ShmemPlace, SwapAccess, SwapPager } from '../space/swap-pager.ts';
import { SwapCache } from './swap-cache.ts';
import { SwapDevice } from './swap-device.ts';
import { swapInAnonymous, swapInShmem } from './swap-in.ts';
import { SLOT_STATE, SwapSlots } from './swap-slots.ts';
import { verifySwap } from './verify-swap.ts';

/** Pages of one write request (SWAP_CLUSTER_MAX). */
const WRITE_PAGES = 32;

/**
 * Swap of a guest on one device, as mm/swapfile.c, mm/swap_state.c and mm/page_io.c of Linux 6.1:
 * pages go out through the swap cache and come back through it; content is kept exactly.
 *
 * Not emulated: read-ahead, more than one area, swapoff, huge pages as a whole (they are split),
 * zswap, devices that are read synchronously.
 */
export class Swap implements SwapPager {
  readonly spaces: Spaces;
  readonly slots: SwapSlots;
  readonly cache: SwapCache;
  readonly device: SwapDevice;
  /** Pages whose write-back has begun and that no request carries yet (the plug). */
  #plugged: number[] = [];

  constructor(spaces: Spaces, sizeBytes: number) {
    this.spaces = spaces;
    this.slots = new SwapSlots(sizeBytes);
    this.cache = new SwapCache(spaces, this.slots);
    this.device = new SwapDevice(spaces.scheduler);
  }

  get totalPages(): number {
    return this.slots.total;
  }

  get freePages(): number {
    return this.slots.freeCount;
  }

  /** add_to_swap: a locked anonymous page gets a slot and is dirty now. False: there is none. */
  add(pfn: number): boolean {
    if (!this.cache.addNew(pfn)) return false;
    this.spaces.frames.set(pfn, PG_DIRTY);
    return true;
  }

  giveUpSlotOf(pfn: number): void {
    this.cache.freeSlotOf(pfn);
  }

  freeSwapCache(pfn: number): void {
    const { frames, waits } = this.spaces;
    if (!frames.has(pfn, PG_SWAPCACHE) || frames.isMapped(pfn) || !waits.tryLock(pfn)) return;
    // The caller has a reference: unlocking reaches a page that is still there.
    this.cache.freeSlotOf(pfn);
    waits.unlock(pfn);
  }

  replace(oldPfn: number, newPfn: number): void {
    this.cache.replace(oldPfn, newPfn);
  }

  duplicate(offset: number): void {
    this.slots.addEntry(offset);
  }

  /** free_swap_and_cache, and what __try_to_reclaim_swap does with a page that nobody needs. */
  free(offset: number): void {
    this.slots.dropEntry(offset);
    if (this.slots.states.stateOf(offset) !== SLOT_STATE.cached) return;
    const pfn = this.slots.cachedPage(offset);
    const { frames, refs, waits } = this.spaces;
    if ((frames.isMapped(pfn) && !this.slots.isFull) || !waits.tryLock(pfn)) return;
    frames.get(pfn);
    this.cache.freeSlotOf(pfn);
    waits.unlock(pfn);
    refs.put(pfn);
  }

  /**
   * swap_writepage for a locked page that was dirty: its content goes to its slot, the page is
   * under write-back, and it is unlocked. A page that nobody has swapped out any more stays.
   */
  writePage(pfn: number): void {
    const { frames, vmstat, waits } = this.spaces;
    if (this.cache.freeSlotOf(pfn)) {
      waits.unlock(pfn);
      return;
    }
    this.slots.tags[this.cache.slotOf(pfn)] = frames.pages.tags[pfn];
    frames.set(pfn, PG_WRITEBACK | PG_RECLAIM);
    vmstat.nr_writeback++;
    vmstat.pswpout++;
    waits.unlock(pfn);
    this.#plugged.push(pfn);
    if (this.#plugged.length === WRITE_PAGES) this.unplug();
  }

  /** swap_write_unplug: sends what was gathered to the device. */
  unplug(): void {
    if (this.#plugged.length === 0) return;
    this.device.write(this.#plugged, (pfn) => endPageWriteback(this.spaces, pfn));
    this.#plugged = [];
  }

  verify(entries: ReadonlyMap<number, number>): string[] {
    return verifySwap(this.spaces, this.cache, entries);
  }

  swapIn(access: SwapAccess): Waiting<boolean> {
    return swapInAnonymous(this, access);
  }

  swapInShmem(place: ShmemPlace, asking?: Asking): Waiting<boolean> {
    return swapInShmem(this, place, asking);
  }
}
