import { setup } from 'xstate';
import { assert } from '../../../shared/lib/assert.ts';
import { PAGE_SIZE } from '../../../shared/lib/units.ts';
import { compileLifecycle } from '../../../shared/lifecycle/compile.ts';
import { Population } from '../../../shared/lifecycle/population.ts';
import { MAX_MAPCOUNT } from '../space/frames.ts';

/**
 * Who needs a place in the swap area: the swap cache (SWAP_HAS_CACHE), entries of page tables and
 * tmpfs files (the count of swap_map), both or nobody. A zeroed array is free.
 */
const slotMachine = setup({}).createMachine({
  id: 'swap_slot',
  initial: 'free',
  states: {
    free: { on: { take: 'cached' } },
    cached: {
      description: 'A page in the swap cache has it; no entry names it.',
      on: { firstEntry: 'shared', dropCache: 'free' },
    },
    shared: {
      description: 'A page in the swap cache has it and entries name it.',
      on: { lastEntry: 'cached', dropCache: 'swapped' },
    },
    swapped: {
      description: 'Entries name it; what they stand for is in the swap area alone.',
      on: { lastEntry: 'free', cache: 'shared' },
    },
  },
});

export const SLOT_STATE = { free: 0, cached: 1, shared: 2, swapped: 3 } as const;
const SLOT_EVENT = { take: 0, firstEntry: 1, lastEntry: 2, cache: 3, dropCache: 4 } as const;

export const slotLifecycle = {
  machine: slotMachine,
  table: compileLifecycle(slotMachine, { states: SLOT_STATE, events: SLOT_EVENT }),
};

/** Offsets fit a page-table entry (pte.ts): 1 TiB. */
const MAX_SLOTS = 2 ** 28;

/**
 * The swap area: a slot a page, 11 bytes each, with its content. Slot 0 holds the header and is
 * never given out. Free slots are had in ascending order from the last one on, and round again
 * (scan_swap_map_slots with `cluster_next`).
 *
 * Not emulated: clusters of 256 slots, the cache of 64 slots a CPU, priorities of several areas,
 * bad slots, discard, continuation of counts.
 */
export class SwapSlots {
  readonly states: Population;
  /** Entries that name the slot. */
  readonly counts: Uint16Array;
  /** What was written there last. */
  readonly tags: Uint32Array;
  /** PFN + 1 of the page in the swap cache. */
  readonly #cached: Int32Array;
  #freeCount: number;
  #next = 1;

  /** `sizeBytes` is that of the device; at least two pages. */
  constructor(sizeBytes: number) {
    const slots = Math.floor(sizeBytes / PAGE_SIZE);
    assert(slots >= 2 && slots <= MAX_SLOTS, 'a swap area has room for a page, at most for 1 TiB');
    this.states = new Population(slotLifecycle.table, slots);
    this.counts = new Uint16Array(slots);
    this.tags = new Uint32Array(slots);
    this.#cached = new Int32Array(slots);
    this.#freeCount = slots - 1;
  }

  /** total_swap_pages. */
  get total(): number {
    return this.counts.length - 1;
  }

  /** get_nr_swap_pages. */
  get freeCount(): number {
    return this.#freeCount;
  }

  /** vm_swap_full: more than half is used; pages in memory do not keep a slot for later. */
  get isFull(): boolean {
    return this.#freeCount * 2 < this.total;
  }

  /** folio_alloc_swap: a slot for a page that goes to the swap cache now, or -1. */
  take(pfn: number): number {
    if (this.#freeCount === 0) return -1;
    let slot = this.#next;
    while (this.states.stateOf(slot) !== SLOT_STATE.free) slot = this.#after(slot);
    this.#next = this.#after(slot);
    this.#freeCount--;
    this.states.step(slot, SLOT_EVENT.take);
    this.#cached[slot] = pfn + 1;
    return slot;
  }

  /** The page in the swap cache, or -1. */
  cachedPage(slot: number): number {
    return this.#cached[slot] - 1;
  }

  /** swapcache_prepare: a page that is being read in. The slot has entries and no page. */
  cache(slot: number, pfn: number): void {
    this.states.step(slot, SLOT_EVENT.cache);
    this.#cached[slot] = pfn + 1;
  }

  /** The page in the cache has moved. */
  move(slot: number, pfn: number): void {
    assert(this.#cached[slot] > 0, 'a slot whose page moves has a page in the cache');
    this.#cached[slot] = pfn + 1;
  }

  /** put_swap_folio: the page has left the cache. */
  dropCache(slot: number): void {
    this.#cached[slot] = 0;
    if (this.states.step(slot, SLOT_EVENT.dropCache) === SLOT_STATE.free) this.#freeCount++;
  }

  /** swap_duplicate: one more entry. */
  addEntry(slot: number): void {
    assert(this.counts[slot] < MAX_MAPCOUNT, 'a slot has fewer entries than can be counted');
    if (this.counts[slot]++ === 0) this.states.step(slot, SLOT_EVENT.firstEntry);
  }

  /** swap_free: one entry less. */
  dropEntry(slot: number): void {
    assert(this.counts[slot] > 0, 'an entry is freed as often as it was made');
    if (--this.counts[slot] > 0) return;
    if (this.states.step(slot, SLOT_EVENT.lastEntry) === SLOT_STATE.free) this.#freeCount++;
  }

  #after(slot: number): number {
    return slot + 1 < this.counts.length ? slot + 1 : 1;
  }
}
