import { assert } from '../../../shared/lib/assert.ts';
import type { Vmstat } from '../vmstat.ts';
import type { AddressSpaces } from './address-spaces.ts';
import type { AnonVmas } from './anon-vmas.ts';
import {
  type Frames,
  HPAGE_PMD_NR,
  MAPPING,
  MAX_MAPCOUNT,
  PG_ANON_EXCLUSIVE,
  PG_SWAPBACKED,
} from './frames.ts';
import type { Vma } from './mm-types.ts';
import { type PageTables, pteIn } from './page-tables.ts';
import { isPresent, isTable, ptePfn } from './pte.ts';

/**
 * The reverse map: from a page to all page-table entries that map it, through the VMAs of its
 * anonymous owner or of its file; and the counts of mappings that go with it.
 *
 * `huge` says that a PMD maps the huge page as a whole; otherwise `pfn` is the one frame that a
 * PTE maps, be it a page of its own or a part of a huge one.
 *
 * Not emulated: KSM, the cases of Linux 6.1's PageDoubleMap as flags (the counts are the same).
 */
export interface RmapParts {
  readonly frames: Frames;
  readonly tables: PageTables;
  readonly anonVmas: AnonVmas;
  readonly files: AddressSpaces;
  readonly vmstat: Vmstat;
  /** deferred_split_huge_page: a part of a huge page is mapped by nobody any more. */
  readonly onPartlyUnmapped: (head: number) => void;
}

/** One mapping found: the entry at `at` maps the page at `vpn`; `huge` when it is a PMD. */
export type MappingVisitor = (vma: Vma, vpn: number, at: number, huge: boolean) => void;

const NO_VMAS: ReadonlySet<Vma> = new Set();

export class Rmap {
  readonly #parts: RmapParts;
  readonly #frames: Frames;

  constructor(parts: RmapParts) {
    this.#parts = parts;
    this.#frames = parts.frames;
  }

  /** page_add_new_anon_rmap: the first mapping of a new anonymous page, which is exclusive. */
  addNewAnon(pfn: number, vma: Vma, vpn: number, huge = false): void {
    const frames = this.#frames;
    const { anonVma } = vma;
    assert(anonVma !== undefined, 'a VMA has an anon_vma before it has anonymous pages');
    frames.set(pfn, PG_SWAPBACKED | PG_ANON_EXCLUSIVE);
    frames.setMapping(pfn, MAPPING.anon, anonVma.id, vma.indexOf(vpn));
    if (huge) frames.addCompoundMapcount(pfn, 1);
    else frames.mapcount[pfn]++;
    this.#countMapped(pfn, huge ? HPAGE_PMD_NR : 1);
    if (huge) this.#parts.vmstat.nr_anon_transparent_hugepages += HPAGE_PMD_NR;
  }

  /** page_add_anon_rmap, page_add_file_rmap, page_dup_*_rmap: one more mapping of the page. */
  add(pfn: number, huge = false): void {
    const frames = this.#frames;
    const head = frames.head(pfn);
    if (huge) {
      if (frames.compoundMapcount(head) === 0) {
        this.#parts.vmstat.nr_anon_transparent_hugepages += HPAGE_PMD_NR;
        this.#countMapped(head, this.#unmappedFrames(head));
      }
      frames.addCompoundMapcount(head, 1);
      return;
    }
    assert(frames.mapcount[pfn] < MAX_MAPCOUNT, 'a page is mapped less often than can be counted');
    if (frames.mapcount[pfn]++ === 0 && frames.compoundMapcount(head) === 0) {
      this.#countMapped(head, 1);
    }
  }

  /** page_move_anon_rmap: the only user takes the page for its own. */
  moveAnon(pfn: number, vma: Vma): void {
    const frames = this.#frames;
    const { anonVma } = vma;
    assert(anonVma !== undefined, 'only a VMA with an anon_vma takes a page over');
    const head = frames.head(pfn);
    frames.setMapping(head, MAPPING.anon, anonVma.id, frames.index[head]);
    frames.set(pfn, PG_ANON_EXCLUSIVE);
  }

  /** page_remove_rmap: one mapping less. */
  remove(pfn: number, huge = false): void {
    const frames = this.#frames;
    const head = frames.head(pfn);
    if (huge) {
      this.#removeHuge(head);
      return;
    }
    assert(frames.mapcount[pfn] > 0, 'a page is unmapped as often as it was mapped');
    if (--frames.mapcount[pfn] > 0 || frames.compoundMapcount(head) > 0) return;
    this.#countMapped(head, -1);
    if (frames.order(head) > 0) this.#parts.onPartlyUnmapped(head);
  }

  /**
   * rmap_walk: calls `visit` for every entry that maps any frame of the page. The visitor may
   * change the entry and the counts, not the VMAs.
   */
  walk(pfn: number, visit: MappingVisitor): void {
    const head = this.#frames.head(pfn);
    const { tables } = this.#parts;
    this.visitPlaces(head, (vma, vpn, at, huge) => {
      const entry = tables.entries[at];
      const mapped = huge ? head : head + (vma.indexOf(vpn) - this.#frames.index[head]);
      if (isPresent(entry) && ptePfn(entry) === mapped) visit(vma, vpn, at, huge);
    });
  }

  /**
   * Calls `visit` for every place in page tables where the page could be mapped, whatever the entry
   * there says: a PMD that is no table, or a PTE for each frame.
   */
  visitPlaces(head: number, visit: MappingVisitor): void {
    const count = this.#frames.pageCount(head);
    for (const vma of this.vmasOf(head)) this.#visitVma(vma, head, count, visit);
  }

  /** VMAs that may map the page. */
  vmasOf(head: number): ReadonlySet<Vma> {
    const id = this.#frames.mappingId(head);
    switch (this.#frames.mappingKind(head)) {
      case MAPPING.anon:
        return this.#parts.anonVmas.get(id)?.vmas ?? NO_VMAS;
      case MAPPING.file:
        return this.#parts.files.get(id)?.vmas ?? NO_VMAS;
      default:
        return NO_VMAS;
    }
  }

  /** page_vma_mapped_walk over the part of the page that lies in the VMA. */
  #visitVma(vma: Vma, head: number, count: number, visit: MappingVisitor): void {
    const { tables } = this.#parts;
    const index = this.#frames.index[head];
    for (let offset = 0; offset < count; offset++) {
      const vpn = vma.vpnOf(index + offset);
      if (vpn < 0) continue;
      const pmdAt = tables.pmdAt(vma.mm.pgdBase, vpn);
      if (pmdAt < 0) continue;
      const pmd = tables.entries[pmdAt];
      if (isTable(pmd)) visit(vma, vpn, pteIn(tables.tableBase(pmd), vpn), false);
      else if (pmd !== 0 && offset === 0 && count === HPAGE_PMD_NR) {
        visit(vma, vpn, pmdAt, true);
        return;
      }
    }
  }

  #removeHuge(head: number): void {
    const frames = this.#frames;
    frames.addCompoundMapcount(head, -1);
    if (frames.compoundMapcount(head) > 0) return;
    this.#parts.vmstat.nr_anon_transparent_hugepages -= HPAGE_PMD_NR;
    const unmapped = this.#unmappedFrames(head);
    this.#countMapped(head, -unmapped);
    if (unmapped > 0 && unmapped < HPAGE_PMD_NR) this.#parts.onPartlyUnmapped(head);
  }

  /** Frames of a huge page that no PTE maps. */
  #unmappedFrames(head: number): number {
    let unmapped = 0;
    for (let pfn = head; pfn < head + HPAGE_PMD_NR; pfn++) {
      if (this.#frames.mapcount[pfn] === 0) unmapped++;
    }
    return unmapped;
  }

  #countMapped(head: number, delta: number): void {
    const anon = this.#frames.mappingKind(head) === MAPPING.anon;
    if (anon) this.#parts.vmstat.nr_anon_pages += delta;
    else this.#parts.vmstat.nr_mapped += delta;
  }
}
