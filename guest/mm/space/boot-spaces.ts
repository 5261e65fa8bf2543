import { PAGE_EVENT, PAGE_STATE } from '../page/page-lifecycle.ts';
import { PG_DIRTY, PG_SWAPBACKED, PG_UPTODATE } from './frames.ts';
import { addToPageCache } from './page-cache.ts';
import { Spaces, type SpacesOptions } from './spaces.ts';

/** The address spaces of a guest that has just booted: no process, but pages cached at boot. */
export function bootSpaces(options: SpacesOptions): Spaces {
  const spaces = new Spaces(options);
  adoptBootPages(spaces);
  return spaces;
}

/**
 * Gives the pages that were cached at boot an owner: they are the unpacked RAM disk, one file of
 * tmpfs that is never removed. What else a boot layout counts as mapped belongs to init, whose
 * address space is not emulated: it stays allocated and on no list.
 */
function adoptBootPages(spaces: Spaces): void {
  const { allocator, frames, lru, refs, vmstat } = spaces;
  vmstat.nr_slab_reclaimable += allocator.levels.slabReclaimable;
  const cachedPages = allocator.levels.filePages;
  allocator.levels.filePages = 0;
  const { states } = allocator.pages;
  if (states.countOf(PAGE_STATE.lru) === 0) return;
  const rootfs = spaces.files.create('tmpfs');
  rootfs.uses = 1;
  rootfs.sizePages = cachedPages;
  const adopted: number[] = [];
  for (let pfn = 0; states.countOf(PAGE_STATE.lru) > 0; pfn++) {
    pfn = states.indexOf(PAGE_STATE.lru, pfn);
    states.step(pfn, PAGE_EVENT.lruDel);
    if (rootfs.nrPages === cachedPages) continue;
    frames.set(pfn, PG_SWAPBACKED | PG_UPTODATE | PG_DIRTY);
    addToPageCache(spaces, rootfs, rootfs.nrPages, pfn);
    refs.put(pfn);
    adopted.push(pfn);
  }
  for (const pfn of adopted) lru.add(pfn);
  lru.drain();
}
