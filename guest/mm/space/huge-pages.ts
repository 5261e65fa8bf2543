import { assert, fail } from '../../../shared/lib/assert.ts';
import type { Vmstat } from '../vmstat.ts';
import {
  type Frames,
  HPAGE_PMD_NR,
  MAPPING,
  PG_ACTIVE,
  PG_ANON_EXCLUSIVE,
  PG_DIRTY,
  PG_ISOLATED,
  PG_MLOCKED,
  PG_REFERENCED,
  PG_SWAPBACKED,
  PG_UNEVICTABLE,
  PG_UPTODATE,
} from './frames.ts';
import { type Mm, VM_LOCKED, type Vma } from './mm-types.ts';
import type { PageRefs } from './page-refs.ts';
import type { PageTables } from './page-tables.ts';
import type { PageWaits } from './page-waits.ts';
import {
  isHugePmd,
  isMigrationEntry,
  makeMigrationEntry,
  makePte,
  migrationPfn,
  PMD_HUGE,
  PTE_FLAGS,
  ptePfn,
} from './pte.ts';
import type { Rmap } from './rmap.ts';
import type { Tlb } from './tlb.ts';

/** Flags that the frames of a split page inherit from its head. */
const INHERITED =
  PG_ACTIVE | PG_REFERENCED | PG_DIRTY | PG_UPTODATE | PG_SWAPBACKED | PG_UNEVICTABLE | PG_MLOCKED;
const MIGRATION_BITS = 0x7f;

export interface HugePageParts {
  readonly frames: Frames;
  readonly tables: PageTables;
  readonly tlb: Tlb;
  readonly refs: PageRefs;
  readonly waits: PageWaits;
  readonly vmstat: Vmstat;
}

/**
 * Transparent huge pages of anonymous memory: how a PMD that maps one becomes a table of PTEs and
 * how the page itself is split. A page of which a part is mapped by nobody any more waits to be
 * split until memory is short (the deferred split queue).
 *
 * Not emulated: khugepaged, the huge zero page, huge pages of tmpfs.
 */
export class HugePages {
  readonly #parts: HugePageParts;
  readonly #deferred = new Set<number>();
  #rmap: Rmap | undefined;

  constructor(parts: HugePageParts) {
    this.#parts = parts;
  }

  /** The reverse map and this one need each other. */
  connect(rmap: Rmap): void {
    this.#rmap = rmap;
  }

  /** Huge pages that wait to be split. */
  get deferredCount(): number {
    return this.#deferred.size;
  }

  /** deferred_split_huge_page. */
  deferSplit(head: number): void {
    if (this.#deferred.has(head)) return;
    this.#deferred.add(head);
    this.#parts.vmstat.thp_deferred_split_page++;
  }

  /** The page is freed as a whole. */
  onFree(head: number): void {
    this.#deferred.delete(head);
  }

  /** pgtable_trans_huge_deposit: a table for the day the PMD is split. */
  deposit(mm: Mm, pmdAt: number, tablePfn: number): void {
    const key = pmdAt >>> 9;
    const kept = mm.deposited.get(key);
    if (kept === undefined) mm.deposited.set(key, [tablePfn]);
    else kept.push(tablePfn);
  }

  /** pgtable_trans_huge_withdraw. */
  withdraw(mm: Mm, pmdAt: number): number {
    const key = pmdAt >>> 9;
    const kept = mm.deposited.get(key);
    const table = kept?.pop() ?? fail('a huge PMD has a table deposited');
    if (kept?.length === 0) mm.deposited.delete(key);
    return table;
  }

  /** __split_huge_pmd: the huge page stays one, but 512 PTEs map it here. */
  splitPmd(vma: Vma, vpn: number, pmdAt: number): void {
    const { tables, tlb, refs, vmstat } = this.#parts;
    const entry = tables.entries[pmdAt];
    const table = this.withdraw(vma.mm, pmdAt);
    const base = tables.baseOf(table);
    if (isHugePmd(entry)) this.#mapFrames(entry, base);
    else this.#moveMigrationEntry(entry, base);
    tables.entries[pmdAt] = 0;
    tables.populate(pmdAt, table);
    // A huge page is locked in memory only where it is mapped as one (page_remove_rmap).
    if (isHugePmd(entry) && vma.has(VM_LOCKED)) refs.lru.munlock(ptePfn(entry));
    const start = vpn & ~(HPAGE_PMD_NR - 1);
    tlb.flushRange(vma.mm, start, start + HPAGE_PMD_NR);
    vmstat.thp_split_pmd++;
  }

  /**
   * split_huge_page: makes 512 pages of one. False when somebody but its mappings refers to it, or
   * has it locked. Frames that nobody maps are freed.
   */
  split(head: number): boolean {
    const { frames, waits, vmstat } = this.#parts;
    assert(frames.order(head) > 0, 'only the head of a huge page is split');
    const exclusivelyMapped = frames.refcount(head) === frames.totalMapcount(head);
    if (!exclusivelyMapped || !waits.tryLock(head)) {
      vmstat.thp_split_page_failed++;
      return false;
    }
    this.#theRmap().walk(head, (vma, vpn, at, huge) => {
      if (huge) this.splitPmd(vma, vpn, at);
    });
    this.#deferred.delete(head);
    this.#makeSingles(head);
    waits.unlock(head);
    vmstat.thp_split_page++;
    for (let pfn = head; pfn < head + HPAGE_PMD_NR; pfn++) {
      if (frames.mapcount[pfn] === 0) this.#parts.refs.put(pfn);
    }
    return true;
  }

  /**
   * The same for a page that reclaim has isolated and locked: all its frames are isolated then, the
   * first one locked. Returns the others as they go to the end of a list, the last one first;
   * undefined when somebody else refers to the page. Frames that nobody maps are not freed.
   */
  splitIsolated(head: number): number[] | undefined {
    const { frames, vmstat } = this.#parts;
    if (frames.refcount(head) !== frames.totalMapcount(head) + 1) {
      vmstat.thp_split_page_failed++;
      return undefined;
    }
    this.#theRmap().walk(head, (vma, vpn, at, huge) => {
      if (huge) this.splitPmd(vma, vpn, at);
    });
    this.#deferred.delete(head);
    this.#makeSingles(head, 1);
    vmstat.thp_split_page++;
    return Array.from({ length: HPAGE_PMD_NR - 1 }, (_, at) => head + HPAGE_PMD_NR - 1 - at);
  }

  /** deferred_split_scan: splits up to `limit` pages that wait; returns how many were split. */
  splitDeferred(limit = Number.POSITIVE_INFINITY): number {
    let split = 0;
    let tried = 0;
    for (const head of [...this.#deferred]) {
      if (tried++ >= limit) break;
      if (this.split(head)) split++;
    }
    return split;
  }

  #mapFrames(entry: number, base: number): void {
    const { frames, tables } = this.#parts;
    const rmap = this.#theRmap();
    const head = ptePfn(entry);
    const flags = entry & PTE_FLAGS & ~PMD_HUGE;
    const exclusive = frames.has(head, PG_ANON_EXCLUSIVE);
    frames.get(head, HPAGE_PMD_NR - 1);
    for (let offset = 0; offset < HPAGE_PMD_NR; offset++) {
      tables.entries[base + offset] = makePte(head + offset, flags);
      if (exclusive) frames.set(head + offset, PG_ANON_EXCLUSIVE);
      rmap.add(head + offset);
    }
    rmap.remove(head, true);
  }

  #moveMigrationEntry(entry: number, base: number): void {
    assert(isMigrationEntry(entry), 'a PMD to split maps a huge page or one that moves');
    const { entries } = this.#parts.tables;
    const bits = entry & MIGRATION_BITS;
    for (let offset = 0; offset < HPAGE_PMD_NR; offset++) {
      entries[base + offset] = makeMigrationEntry(migrationPfn(entry) + offset, bits);
    }
  }

  /**
   * __split_huge_page: from the last frame to the head, as they come to stand on the LRU. Each has
   * the references of its mappings, and `extra` for whoever isolated the page.
   */
  #makeSingles(head: number, extra = 0): void {
    const { frames, refs } = this.#parts;
    const flags = frames.flags(head) & (extra > 0 ? INHERITED | PG_ISOLATED : INHERITED);
    const id = frames.mappingId(head);
    const index = frames.index[head];
    const onLru = refs.lru.has(head);
    for (let pfn = head + HPAGE_PMD_NR - 1; pfn >= head; pfn--) {
      const exclusive = frames.flags(pfn) & PG_ANON_EXCLUSIVE;
      frames.makeSingle(pfn, flags | exclusive, Math.max(1, frames.mapcount[pfn] + extra));
      frames.setMapping(pfn, MAPPING.anon, id, index + (pfn - head));
      if (onLru && pfn !== head) refs.lru.lists.addSplitFrame(pfn, head);
    }
  }

  #theRmap(): Rmap {
    return this.#rmap ?? fail('huge pages are used after the reverse map is there');
  }
}
