import { __GFP_COMP, __GFP_ZERO } from './gfp.ts';
import { PAGE_EVENT, PAGE_STATE } from './page-lifecycle.ts';
import {
  ALLOC_ORDER_MASK,
  ALLOC_ORDER_SHIFT,
  DETAILS_WORD,
  type PageMap,
  REFCOUNT_WORD,
} from './page-map.ts';
import { stepBlock } from './pcp.ts';
import type { Tracepoints } from './tracepoints.ts';
import type { Zone } from './zone.ts';

/** PAGE_POISON in every byte: the content of free pages with page_poison=1, as tag and word. */
export const PAGE_POISON = 0xaaaa_aaaa;

/**
 * What the page allocator does to a block as it hands it out and as it takes it back: references,
 * order, content, and the poison in free pages. Not emulated: debugging aids other than that.
 */
export class PagePreparation {
  readonly #pages: PageMap;
  readonly #trace: Tracepoints;
  #poison = false;
  #poisonErrors = 0;

  constructor(pages: PageMap, trace: Tracepoints) {
    this.#pages = pages;
    this.#trace = trace;
  }

  get poison(): boolean {
    return this.#poison;
  }

  get poisonErrors(): number {
    return this.#poisonErrors;
  }

  enablePoison(): void {
    this.#poison = true;
    const { states, tags } = this.#pages;
    for (let pfn = 0; pfn < states.size; pfn++) {
      const state = states.stateOf(pfn);
      if (state === PAGE_STATE.free || state === PAGE_STATE.pcp) tags[pfn] = PAGE_POISON;
    }
  }

  /** post_alloc_hook: one reference, the order, with __GFP_ZERO zeroed content. */
  toUse(pfn: number, order: number, gfp: number): void {
    const { words } = this.#pages;
    const at = pfn << 2;
    words[at + DETAILS_WORD] =
      (words[at + DETAILS_WORD] & ~ALLOC_ORDER_MASK) | (order << ALLOC_ORDER_SHIFT);
    words[at + REFCOUNT_WORD] = 1;
    if (order > 0) this.#pages.setCompound(pfn, (gfp & __GFP_COMP) !== 0);
    if (this.#poison) this.#checkPoison(pfn, order);
    if ((gfp & __GFP_ZERO) !== 0) this.#pages.tags.fill(0, pfn, pfn + (1 << order));
  }

  /**
   * free_pages_prepare, and what __put_page does before: off the LRU. Returns the migratetype of
   * the pageblock, which the block carries along.
   */
  toFree(zone: Zone, pfn: number, order: number): number {
    const pages = this.#pages;
    const onLru = pages.states.stateOf(pfn) === PAGE_STATE.lru;
    if (onLru) stepBlock(zone, pfn, order, PAGE_EVENT.lruDel);
    if (order > 0) pages.setCompound(pfn, false);
    this.#trace.sink?.mm_page_free(pfn, order);
    if (this.#poison) pages.tags.fill(PAGE_POISON, pfn, pfn + (1 << order));
    const migratetype = pages.blockType(pfn);
    pages.setCachedType(pfn, migratetype);
    return migratetype;
  }

  /** kernel_unpoison_pages, which reports what it finds wrong and goes on. */
  #checkPoison(pfn: number, order: number): void {
    const { tags } = this.#pages;
    for (let at = pfn; at < pfn + (1 << order); at++) {
      if (tags[at] !== PAGE_POISON) this.#poisonErrors++;
    }
  }
}
