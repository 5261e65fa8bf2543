import { setup } from 'xstate';
import { assert, fail } from '../../../shared/lib/assert.ts';
import { procedure, YES_NO } from '../../../shared/lifecycle/procedure.ts';
import { PG_ANON_EXCLUSIVE, PG_SWAPCACHE } from '../space/frames.ts';
import { RSS, VM_LOCKED, type Vma } from '../space/mm-types.ts';
import { setDirty } from '../space/page-cache.ts';
import { isPresent, makeSwapEntry, PTE_DIRTY, ptePfn } from '../space/pte.ts';
import type { Spaces } from '../space/spaces.ts';
import { rssKind } from '../space/zap.ts';
import type { SwapCache } from './swap-cache.ts';

/** try_to_unmap of Linux 6.1 for pages of order 0: swap entries, or nothing, in place of PTEs. */

const { yes, no } = YES_NO;
/** Slots of the frame of `try_to_unmap_one`. */
const PFN = 1;
const AT = 2;
const ENTRY = 3;

interface UnmapWorld {
  readonly spaces: Spaces;
  readonly cache: SwapCache | undefined;
  /** Whose PTE it is. */
  vma: Vma | undefined;
}

function vmaOf({ vma }: UnmapWorld): Vma {
  return vma ?? fail('a mapping is taken from a VMA');
}

const unmapMachine = setup({}).createMachine({
  id: 'try_to_unmap_one',
  initial: 'check',
  states: {
    check: { on: { yes: 'clear', no: 'kept' } },
    clear: { on: { yes: 'dirty' } },
    dirty: { on: { yes: 'kind' } },
    kind: { on: { yes: 'duplicate', no: 'uncount' } },
    duplicate: { on: { yes: 'install' } },
    install: { on: { yes: 'remove' } },
    uncount: { on: { yes: 'remove' } },
    remove: { on: { yes: 'put' } },
    put: { on: { yes: 'unmapped' } },
    unmapped: { type: 'final' },
    kept: { type: 'final' },
  },
});

/**
 * try_to_unmap_one for one PTE, as a stepped procedure; the page lock and the page-table lock make
 * every step atomic. Slots of the frame: 1 the page, 2 the position of the PTE. The TLB flush is
 * put off (TTU_BATCH_FLUSH): the caller does it before it writes or frees.
 */
export const tryToUnmapOne = procedure(unmapMachine, YES_NO, {
  /** The PTE still maps the page, and not in locked memory. */
  check: (frame, world: UnmapWorld) => {
    const entry = world.spaces.tables.entries[frame[AT]];
    const isMapped = isPresent(entry) && ptePfn(entry) === frame[PFN];
    return isMapped && !vmaOf(world).has(VM_LOCKED) ? yes : no;
  },
  /** ptep_get_and_clear. */
  clear: (frame, world) => {
    const { spaces } = world;
    frame[ENTRY] = spaces.tables.entries[frame[AT]];
    spaces.tables.entries[frame[AT]] = 0;
    spaces.tlb.deferFlush(vmaOf(world).mm);
    return yes;
  },
  /** What was written through it has to be written out. */
  dirty: (frame, { spaces }) => {
    if ((frame[ENTRY] & PTE_DIRTY) !== 0) setDirty(spaces, frame[PFN]);
    return yes;
  },
  kind: (frame, { spaces }) => (spaces.frames.isAnon(frame[PFN]) ? yes : no),
  /** swap_duplicate: one more entry names the slot. */
  duplicate: (frame, { cache }) => {
    assert(cache !== undefined, 'anonymous pages are unmapped where there is swap');
    cache.slots.addEntry(cache.slotOf(frame[PFN]));
    return yes;
  },
  /** swp_entry_to_pte, with whose the page was (page_try_share_anon_rmap). */
  install: (frame, world) => {
    const { spaces, cache } = world;
    const { rss } = vmaOf(world).mm;
    const exclusive = spaces.frames.testAndClear(frame[PFN], PG_ANON_EXCLUSIVE);
    const slot = cache?.slotOf(frame[PFN]) ?? 0;
    spaces.tables.entries[frame[AT]] = makeSwapEntry(slot, exclusive);
    rss[RSS.anon]--;
    rss[RSS.swap]++;
    return yes;
  },
  /** dec_mm_counter for a page of a file: the next fault finds it there again. */
  uncount: (frame, world) => {
    vmaOf(world).mm.rss[rssKind(world.spaces, frame[PFN])]--;
    return yes;
  },
  /** page_remove_rmap. */
  remove: (frame, { spaces }) => {
    spaces.rmap.remove(frame[PFN]);
    return yes;
  },
  /** folio_put: the mapping's reference; the caller has another. */
  put: (frame, { spaces }) => {
    spaces.refs.put(frame[PFN]);
    return yes;
  },
});

/** try_to_unmap; one is kept by whoever reclaims, so that a page costs no allocation. */
export class Unmapper {
  readonly #world: UnmapWorld;
  readonly #frame = tryToUnmapOne.newFrame(-1, -1, 0);

  constructor(spaces: Spaces, cache: SwapCache | undefined) {
    this.#world = { spaces, cache, vma: undefined };
  }

  /**
   * Takes all mappings of a locked page of order 0 of which the caller has a reference; an
   * anonymous one is in the swap cache. Mappings in locked memory stay.
   */
  unmap(pfn: number): void {
    const { frames, rmap } = this.#world.spaces;
    const isReady = !frames.isAnon(pfn) || frames.has(pfn, PG_SWAPCACHE);
    assert(isReady, 'an anonymous page has a slot before it is unmapped');
    const frame = this.#frame;
    rmap.walk(pfn, (vma, _vpn, at) => {
      tryToUnmapOne.start(frame);
      frame[PFN] = pfn;
      frame[AT] = at;
      this.#world.vma = vma;
      tryToUnmapOne.run(frame, this.#world);
    });
  }
}
