import { assert } from '../../../shared/lib/assert.ts';
import { freeOnePage } from './buddy.ts';
import { MIGRATE_PCPTYPES, MIGRATETYPE } from './gfp.ts';
import { PAGE_EVENT } from './page-lifecycle.ts';
import { type PageMap, REFCOUNT_WORD } from './page-map.ts';
import { freeUnrefCommitEach, freeUnrefPageCommit, roomInPcp, stepBlock } from './pcp.ts';
import { pcpAllowedOrder } from './per-cpu-pages.ts';
import type { PagePreparation } from './prepare.ts';
import type { Tracepoints } from './tracepoints.ts';
import { type Zone, zoneIndexOf } from './zone.ts';

/** Whose per-CPU list takes a frame of a pageblock of `migratetype`. */
function pcpType(migratetype: number): number {
  return migratetype < MIGRATE_PCPTYPES ? migratetype : MIGRATETYPE.movable;
}

export interface FreeingOptions {
  readonly zones: readonly Zone[];
  readonly trace: Tracepoints;
  readonly preparation: PagePreparation;
}

/**
 * The half of the page allocator that takes blocks back: to the per-CPU lists, or to the free lists
 * where they do not serve. See PageAllocator, which is what others call.
 */
export class PageFreeing {
  /** vmstat's pgfree: frames freed. */
  pgfree = 0;
  readonly #pages: PageMap;
  readonly #zones: readonly Zone[];
  readonly #trace: Tracepoints;
  readonly #preparation: PagePreparation;

  constructor({ zones, trace, preparation }: FreeingOptions) {
    this.#pages = zones[0].pages;
    this.#zones = zones;
    this.#trace = trace;
    this.#preparation = preparation;
  }

  /** PageAllocator.freeUnreferenced. */
  one(pfn: number): void {
    const order = this.#pages.allocOrder(pfn);
    const zone = this.#zoneOf(pfn);
    const migratetype = this.#preparation.toFree(zone, pfn, order);
    if (pcpAllowedOrder(order)) this.#freeUnrefPage(zone, pfn, order, migratetype);
    else this.#freeOne(zone, pfn, order, migratetype);
  }

  /**
   * PageAllocator.freeUnreferencedEach: frames of one zone and migratetype are put on their per-CPU
   * list together, up to the one that makes it too long.
   */
  each(pfns: Int32Array, from: number, to: number): void {
    for (let at = from; at < to; ) {
      const next = this.#prepareAlike(pfns, at, to);
      if (next > at) {
        const zone = this.#zoneOf(pfns[at]);
        const listType = pcpType(this.#pages.blockType(pfns[at]));
        this.pgfree += next - at;
        freeUnrefCommitEach(zone, listType, { pfns, from: at, to: next });
        at = next;
      } else {
        this.one(pfns[at++]);
      }
    }
  }

  /** PageAllocator.freeList. */
  list(pfns: Int32Array, count: number): void {
    const { words } = this.#pages;
    for (let index = 0; index < count; index++) {
      const pfn = pfns[index];
      const at = (pfn << 2) + REFCOUNT_WORD;
      assert(words[at] === 1, 'a batched free takes the last reference');
      words[at] = 0;
      const zone = this.#zoneOf(pfn);
      const migratetype = this.#preparation.toFree(zone, pfn, 0);
      if (migratetype === MIGRATETYPE.isolate) this.#freeOne(zone, pfn, 0, migratetype);
    }
    for (let index = 0; index < count; index++) {
      const pfn = pfns[index];
      const zone = this.#zoneOf(pfn);
      const migratetype = this.#pages.cachedType(pfn);
      if (migratetype === MIGRATETYPE.isolate) continue;
      if (!zone.pcp.locked) this.#trace.sink?.mm_page_free_batched(pfn);
      this.#freeUnrefPage(zone, pfn, 0, migratetype);
    }
  }

  /** Prepares frames that can go to a per-CPU list together; the place after the last of them. */
  #prepareAlike(pfns: Int32Array, from: number, to: number): number {
    const pages = this.#pages;
    const zone = this.#zoneOf(pfns[from]);
    const migratetype = pages.blockType(pfns[from]);
    if (migratetype === MIGRATETYPE.isolate || zone.pcp.locked) return from;
    const end = Math.min(to, from + roomInPcp(zone));
    let at = from;
    for (; at < end; at++) {
      const pfn = pfns[at];
      if (pages.blockType(pfn) !== migratetype || pages.allocOrder(pfn) > 0) break;
      if (this.#zoneOf(pfn) !== zone) break;
      this.#preparation.toFree(zone, pfn, 0);
    }
    return at;
  }

  #zoneOf(pfn: number): Zone {
    return this.#zones[zoneIndexOf(pfn)];
  }

  /**
   * free_unref_page: to the per-CPU lists unless the pageblock is isolated or they are locked.
   * Frames of highatomic pageblocks go to the movable list, so that they can be had back.
   */
  #freeUnrefPage(zone: Zone, pfn: number, order: number, migratetype: number): void {
    if (migratetype === MIGRATETYPE.isolate || zone.pcp.locked) {
      this.#freeOne(zone, pfn, order, migratetype);
      return;
    }
    this.pgfree += 1 << order;
    freeUnrefPageCommit(zone, pfn, order, pcpType(migratetype));
  }

  /** free_one_page. */
  #freeOne(zone: Zone, pfn: number, order: number, migratetype: number): void {
    this.pgfree += 1 << order;
    stepBlock(zone, pfn, order, PAGE_EVENT.merge);
    freeOnePage(zone, pfn, order, migratetype);
  }
}
