import { HPAGE_PMD_NR, PG_REFERENCED, PG_SWAPBACKED } from '../space/frames.ts';
import { VM_LOCKED } from '../space/mm-types.ts';
import { PTE_ACCESSED } from '../space/pte.ts';
import type { Spaces } from '../space/spaces.ts';

/** What became of a page since it was looked at last. */
export const REFERENCES = { reclaim: 0, reclaimClean: 1, keep: 2, activate: 3 } as const;
export type References = (typeof REFERENCES)[keyof typeof REFERENCES];

interface Referenced {
  /** Mappings through which the page was used. */
  readonly mappings: number;
  readonly isLocked: boolean;
}

/**
 * folio_referenced: how many mappings of a page were used since this was asked last; their accessed
 * bits are cleared. x86 leaves the TLB alone and trusts that it forgets soon; here the page is
 * flushed from it, since this one forgets nothing by itself.
 */
export function pageReferenced(spaces: Spaces, head: number): Referenced {
  const { rmap, tables, tlb } = spaces;
  let mappings = 0;
  let isLocked = false;
  rmap.walk(head, (vma, vpn, at, huge) => {
    if (vma.has(VM_LOCKED)) isLocked = true;
    if ((tables.entries[at] & PTE_ACCESSED) === 0) return;
    tables.entries[at] &= ~PTE_ACCESSED;
    if (huge) tlb.flushRange(vma.mm, vpn, vpn + HPAGE_PMD_NR);
    else tlb.flushPage(vma.mm, vpn);
    mappings++;
  });
  return { mappings, isLocked };
}

/** folio_check_references: second chances for pages at the end of an inactive list. */
export function checkReferences(spaces: Spaces, head: number): References {
  const { frames } = spaces;
  const { mappings, isLocked } = pageReferenced(spaces, head);
  const wasReferenced = frames.testAndClear(head, PG_REFERENCED);
  if (isLocked) return REFERENCES.activate;
  if (mappings > 0) {
    // All pages start out used, by the fault that made them: it takes two looks to tell.
    frames.set(head, PG_REFERENCED);
    return wasReferenced || mappings > 1 ? REFERENCES.activate : REFERENCES.keep;
  }
  const isFile = !frames.has(head, PG_SWAPBACKED);
  return wasReferenced && isFile ? REFERENCES.reclaimClean : REFERENCES.reclaim;
}
