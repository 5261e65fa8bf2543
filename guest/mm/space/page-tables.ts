import { assert } from '../../../shared/lib/assert.ts';
import { type Frames, MAPPING } from './frames.ts';
import { isTable, makePte, PTE_PFN_SHIFT, PTE_WRITE } from './pte.ts';

/**
 * Page tables of all processes: four levels (pgd, pud, pmd, pte) of 512 entries. A table is a page
 * frame had from the allocator; what is written in it lies in one array here, found by the number
 * in the frame's index. An entry is named by its position in that array, a small integer that
 * stays good until the table is given up.
 *
 * The array grows by doubling: nobody may keep a reference to `entries` over a call that adopts a
 * table. It is counted apart from the memory for page frames.
 *
 * Not emulated: five levels, user addresses above 8 TiB, the second page of a pgd that page-table
 * isolation keeps for user mode (the frame is taken, but nothing is written in it).
 */
export const PTRS_PER_TABLE = 512;
const TABLE_SHIFT = 9;
const INDEX_MASK = PTRS_PER_TABLE - 1;

/** Pages that one entry of each level covers. */
export const PMD_PAGES = 1 << 9;
export const PUD_PAGES = 1 << 18;
export const PGD_PAGES = 1 << 27;

/** Pages of a user address space (TASK_SIZE): page numbers stay below 2^31. */
export const TASK_SIZE_PAGES = 2 ** 31 - PMD_PAGES;

const FIRST_TABLES = 64;

export class PageTables {
  /** All entries; of a table the 512 from baseOf(pfn) on. */
  entries = new Int32Array(FIRST_TABLES * PTRS_PER_TABLE);
  readonly #frames: Frames;
  readonly #freeNumbers: number[] = [];
  #numbers = 0;

  constructor(frames: Frames) {
    this.#frames = frames;
  }

  /** Tables in use, pgds included. */
  get tableCount(): number {
    return this.#numbers - this.#freeNumbers.length;
  }

  /** Bytes of the array of entries. */
  get sizeBytes(): number {
    return this.entries.byteLength;
  }

  /** Makes a new frame an empty table. */
  adopt(pfn: number): void {
    const number = this.#freeNumbers.pop() ?? this.#numbers++;
    if ((number + 1) << TABLE_SHIFT > this.entries.length) this.#grow();
    const base = number << TABLE_SHIFT;
    this.entries.fill(0, base, base + PTRS_PER_TABLE);
    this.#frames.setMapping(pfn, MAPPING.table, 0, number);
  }

  /** The frame is no table any more; the caller frees it. */
  disown(pfn: number): void {
    assert(this.#frames.mapping[pfn] === MAPPING.table, 'only a page table is given up as one');
    this.#freeNumbers.push(this.#frames.index[pfn]);
    this.#frames.setMapping(pfn, MAPPING.none, 0, 0);
  }

  /** Position of the first entry of a table. */
  baseOf(pfn: number): number {
    return this.#frames.index[pfn] << TABLE_SHIFT;
  }

  /** Position of the first entry of the table that an entry leads to. */
  tableBase(entry: number): number {
    return this.#frames.index[entry >>> PTE_PFN_SHIFT] << TABLE_SHIFT;
  }

  /** pgd_populate and its likes: lets the entry lead to a table. */
  populate(at: number, tablePfn: number): void {
    assert(this.entries[at] === 0, 'a table is hung into an empty entry');
    this.entries[at] = makePte(tablePfn, PTE_WRITE);
  }

  /** Position of the PMD of a page, or -1 where a table above is missing. */
  pmdAt(pgdBase: number, vpn: number): number {
    const { entries } = this;
    const pgd = entries[pgdAt(pgdBase, vpn)];
    if (pgd === 0) return -1;
    const pud = entries[pudAt(this.tableBase(pgd), vpn)];
    return pud === 0 ? -1 : pmdIn(this.tableBase(pud), vpn);
  }

  /** Position of the PTE of a page, or -1 where there is no table of PTEs. */
  pteAt(pgdBase: number, vpn: number): number {
    const at = this.pmdAt(pgdBase, vpn);
    if (at < 0) return -1;
    const pmd = this.entries[at];
    return isTable(pmd) ? pteIn(this.tableBase(pmd), vpn) : -1;
  }

  #grow(): void {
    const larger = new Int32Array(this.entries.length * 2);
    larger.set(this.entries);
    this.entries = larger;
  }
}

/** Position of a page's entry in the table of each level that begins at `base`. */
export function pgdAt(base: number, vpn: number): number {
  return base + (vpn >>> 27);
}

export function pudAt(base: number, vpn: number): number {
  return base + ((vpn >>> 18) & INDEX_MASK);
}

export function pmdIn(base: number, vpn: number): number {
  return base + ((vpn >>> 9) & INDEX_MASK);
}

export function pteIn(base: number, vpn: number): number {
  return base + (vpn & INDEX_MASK);
}
