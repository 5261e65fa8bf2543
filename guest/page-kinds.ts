import { ControlError } from '../shared/control/line-server.ts';
import type { PageKind, PageMapRegion, PageMapView } from '../shared/control/schemas.ts';
import type { PfnRange } from '../shared/lib/pfn-ranges.ts';
import { MAX_PAGE_MAP_CELLS } from '../shared/limits.ts';
import type { GuestMemory } from './mm/memory.ts';
import { PAGE_STATE } from './mm/page/page-lifecycle.ts';

/**
 * What the frames of a guest hold, counted cell by cell for the control channel. `movable` is what
 * the LRU lists hold; `unmovable` is everything else in use, a page under migration as well.
 */
const KIND_OF_STATE: Readonly<Record<keyof typeof PAGE_STATE, PageKind>> = {
  reserved: 'reserved',
  free: 'free',
  pcp: 'free',
  allocated: 'unmovable',
  lru: 'movable',
  balloon: 'balloon',
  balloonIsolated: 'balloon',
  balloonReplaced: 'balloon',
  isolatedFree: 'free',
};
const STATE_NAMES = Object.keys(PAGE_STATE) as (keyof typeof PAGE_STATE)[];

/** Throws ControlError for cells so small that there would be more than MAX_PAGE_MAP_CELLS. */
export function countPages(memory: GuestMemory, cellPages: number): PageMapView {
  const cells = memory.regions.reduce((sum, { count }) => sum + Math.ceil(count / cellPages), 0);
  if (cells > MAX_PAGE_MAP_CELLS) {
    throw new ControlError(
      `MAX_PAGE_MAP_CELLS: ${cells} cells are more than ${MAX_PAGE_MAP_CELLS}`,
    );
  }
  return {
    cellPages,
    regions: memory.regions.map((range) => countRegion(memory, range, cellPages)),
  };
}

function countRegion(memory: GuestMemory, range: PfnRange, cellPages: number): PageMapRegion {
  const { states } = memory.allocator.pages;
  const empty = (): number[] => new Array<number>(Math.ceil(range.count / cellPages)).fill(0);
  const region = {
    startPfn: range.start,
    pageCount: range.count,
    free: empty(),
    balloon: empty(),
    movable: empty(),
    unmovable: empty(),
    reserved: empty(),
  };
  const byState = STATE_NAMES.map((name) => region[KIND_OF_STATE[name]]);
  for (let at = 0; at < range.count; at++) {
    byState[states.stateOf(range.start + at)][Math.floor(at / cellPages)]++;
  }
  return region;
}
