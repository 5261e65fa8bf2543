import { setup } from 'xstate';
import { assert } from '../../../shared/lib/assert.ts';
import { procedure, YES_NO } from '../../../shared/lifecycle/procedure.ts';
import type { Waiting } from '../../sched/scheduler.ts';
import { GFP_HIGHUSER_MOVABLE } from '../page/gfp.ts';
import type { Asking } from '../space/alloc-pages.ts';
import {
  MAPPING,
  PG_ANON_EXCLUSIVE,
  PG_MLOCKED,
  PG_SWAPBACKED,
  PG_SWAPCACHE,
  PG_UPTODATE,
} from '../space/frames.ts';
import { RSS, VM_LOCKED, VM_WRITE, type Vma } from '../space/mm-types.ts';
import { addToPageCache } from '../space/page-cache.ts';
import {
  makePte,
  PTE_ACCESSED,
  PTE_DIRTY,
  PTE_WRITE,
  SWP_EXCLUSIVE,
  swapOffset,
} from '../space/pte.ts';
import type { Spaces } from '../space/spaces.ts';
import type { ShmemPlace, SwapAccess } from '../space/swap-pager.ts';
import type { SwapCache } from './swap-cache.ts';
import type { SwapDevice } from './swap-device.ts';
import { SLOT_STATE } from './swap-slots.ts';

/**
 * Pages on their way back from swap: found in the swap cache or read into it, then mapped, or put
 * back into the file of tmpfs they belong to.
 */

export interface SwapStore {
  readonly spaces: Spaces;
  readonly cache: SwapCache;
  readonly device: SwapDevice;
}

/** What `findPage` could not do: no memory, or nobody needs the slot any more. */
const NO_MEMORY = -1;
const NOT_NEEDED = -2;

const { yes, no } = YES_NO;
/** Slots of the frame of `do_swap_page`. */
const PFN = 1;
const AT = 2;
const ENTRY = 3;
const VPN = 4;
const WRITE = 5;
const IS_EXCLUSIVE = 6;

interface SwapInWorld extends SwapStore {
  readonly vma: Vma;
}

const swapInMachine = setup({}).createMachine({
  id: 'do_swap_page',
  initial: 'cached',
  states: {
    cached: { on: { yes: 'drain', no: 'release' } },
    drain: { on: { yes: 'recheck' } },
    recheck: { on: { yes: 'freeEntry', no: 'release' } },
    freeEntry: { on: { yes: 'freeSlot' } },
    freeSlot: { on: { yes: 'own' } },
    own: { on: { yes: 'map' } },
    map: { on: { yes: 'unlock' } },
    unlock: { on: { yes: 'mapped' } },
    release: { on: { yes: 'changed' } },
    mapped: { type: 'final' },
    changed: { type: 'final' },
  },
});

/**
 * do_swap_page from where the page is there and locked, as a stepped procedure. Slots of the frame:
 * 1 the page, of which the caller has a reference that the new mapping takes over, 2 the position
 * of the page-table entry, 3 the swap entry that was found there, 4 the page number, 5 whether the
 * access writes. `changed`: somebody was faster, and nothing was done.
 */
export const doSwapPage = procedure(swapInMachine, YES_NO, {
  /** Page lock: it is still what the entry stands for. */
  cached: (frame, { spaces, cache }: SwapInWorld) => {
    if (!spaces.frames.has(frame[PFN], PG_SWAPCACHE)) return no;
    return cache.slotOf(frame[PFN]) === swapOffset(frame[ENTRY]) ? yes : no;
  },
  /** Page lock: the batch of new pages may hold the one reference too many. */
  drain: (frame, { spaces }) => {
    if (frame[WRITE] === 1 && !spaces.lru.has(frame[PFN])) spaces.lru.drain();
    return yes;
  },
  /** Page lock and page-table lock, from here to `map`. */
  recheck: (frame, { spaces }) => (spaces.tables.entries[frame[AT]] === frame[ENTRY] ? yes : no),
  /** swap_free; the page stays in the cache. */
  freeEntry: (frame, { cache }) => {
    cache.slots.dropEntry(swapOffset(frame[ENTRY]));
    return yes;
  },
  /** should_try_to_free_swap: who writes, or has it locked, needs no copy in swap. */
  freeSlot: (frame, { spaces, cache, vma }) => {
    const { frames } = spaces;
    const isLast = frame[WRITE] === 1 && frames.refcount(frame[PFN]) === 2;
    const isLocked = vma.has(VM_LOCKED) || frames.has(frame[PFN], PG_MLOCKED);
    if (isLast || isLocked || cache.slots.isFull) cache.freeSlotOf(frame[PFN]);
    return yes;
  },
  /** page_add_anon_rmap: an exclusive page is the VMA's own, a shared one its oldest owner's. */
  own: (frame, { spaces, vma }) => {
    const { frames, anonVmas } = spaces;
    const isExclusive = (frame[ENTRY] & SWP_EXCLUSIVE) !== 0 || frames.refcount(frame[PFN]) === 1;
    frame[IS_EXCLUSIVE] = isExclusive ? 1 : 0;
    if (frames.mappingKind(frame[PFN]) === MAPPING.anon) return yes;
    anonVmas.prepare(vma);
    const oldest = isExclusive ? vma.anonVma : [...vma.anonVmas][0];
    frames.setMapping(frame[PFN], MAPPING.anon, oldest?.id ?? 0, vma.indexOf(frame[VPN]));
    return yes;
  },
  /** set_pte_at. */
  map: (frame, { spaces, vma }) => {
    const isOwn = frame[IS_EXCLUSIVE] === 1;
    spaces.rmap.add(frame[PFN]);
    if (isOwn) spaces.frames.set(frame[PFN], PG_ANON_EXCLUSIVE);
    if (vma.has(VM_LOCKED)) spaces.lru.mlock(frame[PFN]);
    vma.mm.rss[RSS.anon]++;
    vma.mm.rss[RSS.swap]--;
    const mayWrite = isOwn && frame[WRITE] === 1 && vma.has(VM_WRITE);
    const flags = mayWrite ? PTE_ACCESSED | PTE_WRITE | PTE_DIRTY : PTE_ACCESSED;
    spaces.tables.entries[frame[AT]] = makePte(frame[PFN], flags);
    return yes;
  },
  unlock: (frame, { spaces }) => {
    spaces.waits.unlock(frame[PFN]);
    return yes;
  },
  release: (frame, { spaces }) => {
    spaces.waits.unlock(frame[PFN]);
    return yes;
  },
});

/**
 * Brings the page of a swap entry back and maps it, unless the entry changed meanwhile: then the
 * access is looked at afresh. False when there is no memory.
 */
export function* swapInAnonymous(store: SwapStore, access: SwapAccess): Waiting<boolean> {
  const { spaces } = store;
  const { vma, vpn, at, write, mm } = access;
  const entry = spaces.tables.entries[at];
  const slot = swapOffset(entry);
  const pfn = yield* findPage(store, slot, mm, true);
  if (pfn < 0) return pfn === NOT_NEEDED || spaces.tables.entries[at] !== entry;
  yield* spaces.waits.lock(pfn);
  const frame = doSwapPage.newFrame(pfn, at, entry, vpn, write ? 1 : 0, 0);
  const outcome = doSwapPage.run(frame, { ...store, vma });
  spaces.holds.remove(pfn);
  if (outcome === 'changed') spaces.refs.put(pfn);
  return true;
}

/** shmem_swapin_folio: false when there is no memory; else the file has its page, or changed. */
export function* swapInShmem(
  store: SwapStore,
  place: ShmemPlace,
  asking: Asking | undefined,
): Waiting<boolean> {
  const { spaces, cache } = store;
  const { mapping, index } = place;
  const slot = mapping.swapOffset(index);
  if (slot < 0) return true;
  const pfn = yield* findPage(store, slot, asking, place.isFault);
  if (pfn < 0) return pfn === NOT_NEEDED || mapping.swapOffset(index) !== slot;
  yield* spaces.waits.lock(pfn);
  yield* spaces.waits.untilWritten(pfn);
  const isSame = cache.slots.cachedPage(slot) === pfn && mapping.swapOffset(index) === slot;
  if (isSame) {
    addToPageCache(spaces, mapping, index, pfn);
    cache.slots.dropEntry(slot);
    assert(cache.freeSlotOf(pfn), 'a slot of tmpfs has one entry');
  }
  spaces.waits.unlock(pfn);
  spaces.holds.remove(pfn);
  spaces.refs.put(pfn);
  return true;
}

/**
 * The page of a slot, from the swap cache or read into it, with a reference that is written down
 * among the holds; or one of the reasons above. It may be locked. A fault that has to read is a
 * major one.
 */
function* findPage(
  store: SwapStore,
  slot: number,
  asking: Asking | undefined,
  isFault: boolean,
): Waiting<number> {
  const { spaces, cache } = store;
  const cached = cache.slots.cachedPage(slot);
  if (cached >= 0) return hold(spaces, cached);
  const pfn = yield* spaces.supply.allocPages(0, GFP_HIGHUSER_MOVABLE, asking);
  if (pfn < 0) return NO_MEMORY;
  if (cache.slots.states.stateOf(slot) !== SLOT_STATE.swapped) {
    // While memory was waited for somebody else read it, or the last who needed it went.
    spaces.allocator.free(pfn, 0);
    const other = cache.slots.cachedPage(slot);
    return other >= 0 ? hold(spaces, other) : NOT_NEEDED;
  }
  if (isFault) spaces.vmstat.pgmajfault++;
  yield* read(store, slot, pfn);
  return pfn;
}

/** swap_readpage into a new page, whose one reference becomes the caller's. */
function* read({ spaces, cache, device }: SwapStore, slot: number, pfn: number): Waiting {
  const { frames, vmstat, waits } = spaces;
  waits.tryLock(pfn);
  frames.set(pfn, PG_SWAPBACKED);
  cache.addToRead(pfn, slot);
  spaces.holds.add(pfn);
  spaces.lru.add(pfn);
  vmstat.pswpin++;
  yield* device.transfer(1);
  frames.pages.tags[pfn] = cache.slots.tags[slot];
  frames.set(pfn, PG_UPTODATE);
  waits.unlock(pfn);
}

function hold(spaces: Spaces, pfn: number): number {
  spaces.frames.get(pfn);
  spaces.holds.add(pfn);
  return pfn;
}
