import { PG_SWAPBACKED, PG_SWAPCACHE } from '../space/frames.ts';
import type { Spaces } from '../space/spaces.ts';
import { Report } from '../space/verify-report.ts';
import type { SwapCache } from './swap-cache.ts';
import { SLOT_STATE } from './swap-slots.ts';

/**
 * What must hold of swap between any two steps of tasks: slots, page-table entries, files of tmpfs
 * and pages of the swap cache name one another. `entries` counts by slot what names it.
 */
export function verifySwap(
  spaces: Spaces,
  cache: SwapCache,
  entries: ReadonlyMap<number, number>,
): string[] {
  const report = new Report();
  const { slots } = cache;
  let free = 0;
  for (let slot = 1; slot <= slots.total; slot++) {
    const state = slots.states.stateOf(slot);
    const where = `slot ${slot}`;
    if (state === SLOT_STATE.free) free++;
    const named = entries.get(slot) ?? 0;
    report.expect(slots.counts[slot] === named, 'a slot counts the entries that name it', where);
    const isNamed = state === SLOT_STATE.shared || state === SLOT_STATE.swapped;
    report.expect(isNamed === named > 0, 'the state of a slot says whether it is named', where);
    const pfn = slots.cachedPage(slot);
    const isCached = state === SLOT_STATE.cached || state === SLOT_STATE.shared;
    report.expect(isCached === pfn >= 0, 'the state of a slot says whether it is cached', where);
    if (pfn < 0) continue;
    const knows = spaces.frames.has(pfn, PG_SWAPCACHE) && cache.slotOf(pfn) === slot;
    report.expect(knows, 'a page of the swap cache knows its slot', `${where} frame ${pfn}`);
  }
  report.expect(free === slots.freeCount, 'free slots are counted');
  checkPages(spaces, cache, report);
  return report.violated();
}

function checkPages(spaces: Spaces, cache: SwapCache, report: Report): void {
  const { frames, vmstat } = spaces;
  let cached = 0;
  for (let pfn = 0; pfn < frames.pages.pageCount; pfn++) {
    if (!frames.has(pfn, PG_SWAPCACHE)) continue;
    cached++;
    const isNamed = cache.slots.cachedPage(cache.slotOf(pfn)) === pfn;
    report.expect(isNamed, 'the slot of a cached page names it', String(pfn));
    const isSwappable = frames.has(pfn, PG_SWAPBACKED) && frames.order(pfn) === 0;
    report.expect(isSwappable, 'pages of the swap cache are small and backed by swap', `${pfn}`);
  }
  report.expect(cached === vmstat.get('nr_swapcached'), 'nr_swapcached counts the swap cache');
}
