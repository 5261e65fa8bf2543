import { PAGE_STATE } from '../page/page-lifecycle.ts';
import { HPAGE_PMD_NR, MAPPING, PG_ANON_EXCLUSIVE } from './frames.ts';
import { type Mm, RSS, VM_LOCKED, VM_SHARED, VM_WRITE, type Vma } from './mm-types.ts';
import { PGD_PAGES, PMD_PAGES, PTRS_PER_TABLE, PUD_PAGES } from './page-tables.ts';
import {
  isHugePmd,
  isMigrationEntry,
  isPresent,
  isSwapEntry,
  isTable,
  migrationPfn,
  PTE_SPECIAL,
  PTE_WRITE,
  ptePfn,
  swapOffset,
} from './pte.ts';
import type { Spaces } from './spaces.ts';
import type { Report, Tally } from './verify-report.ts';
import { rssKind } from './zap.ts';

/** The part of verifySpaces that walks the page tables of every address space. */
export function checkTables(spaces: Spaces, tally: Tally, report: Report): void {
  let tables = 0;
  let counted = 0;
  for (const mm of spaces.mms) {
    checkVmas(mm, report);
    const walk = new TableWalk(spaces, mm, tally, report);
    tables += walk.run();
    counted += walk.counted;
  }
  const isCounted = counted === spaces.vmstat.get('nr_page_table_pages');
  report.expect(isCounted, 'nr_page_table_pages counts PTE and PMD tables', `${counted}`);
  report.expect(tables === spaces.tables.tableCount, 'every page table hangs in one place');
}

function checkVmas(mm: Mm, report: Report): void {
  let reached = 0;
  let total = 0;
  let locked = 0;
  for (const vma of mm.vmas) {
    const where = `process ${mm.id} pages ${vma.start} to ${vma.end}`;
    report.expect(vma.start < vma.end && vma.start >= reached, 'VMAs are sorted apart', where);
    report.expect(vma.mm === mm, 'a VMA is of the address space it is in', where);
    const owned = vma.anonVma === undefined || vma.anonVmas.has(vma.anonVma);
    report.expect(owned, 'a VMA is linked to its owner', where);
    for (const anonVma of vma.anonVmas) {
      report.expect(anonVma.vmas.has(vma), 'an owner knows the VMAs linked to it', where);
    }
    const known = vma.file === undefined || vma.file.vmas.has(vma);
    report.expect(known, 'a file knows the VMAs that map it', where);
    reached = vma.end;
    total += vma.pageCount;
    if (vma.has(VM_LOCKED)) locked += vma.pageCount;
  }
  report.expect(total === mm.totalPages, 'an address space counts its pages', `${mm.id}`);
  report.expect(locked === mm.lockedPages, 'an address space counts locked pages', `${mm.id}`);
}

/** One walk over the tables of one address space. */
class TableWalk {
  readonly #spaces: Spaces;
  readonly #mm: Mm;
  readonly #tally: Tally;
  readonly #report: Report;
  readonly #rss = new Int32Array(4);
  #tables = 0;
  /** Tables of PTEs, deposited ones too, and of PMDs. */
  counted = 0;

  constructor(spaces: Spaces, mm: Mm, tally: Tally, report: Report) {
    this.#spaces = spaces;
    this.#mm = mm;
    this.#tally = tally;
    this.#report = report;
  }

  /** Returns the number of tables, the pgd included. */
  run(): number {
    const mm = this.#mm;
    this.#level(mm.pgd, 0, PGD_PAGES);
    for (const kept of mm.deposited.values()) {
      for (const pfn of kept) {
        this.#countTable(pfn, -1);
        this.counted++;
      }
    }
    const below = this.#tables - 1;
    this.#expect(below === mm.tablePages, 'an address space counts its tables');
    const same = this.#rss.every((count, kind) => count === mm.rss[kind]);
    this.#expect(same, 'resident pages are counted', `${this.#rss} is not ${mm.rss}`);
    return this.#tables;
  }

  /** Entries of a table whose entries cover `size` pages each, from page `start` on. */
  #level(table: number, start: number, size: number): void {
    const { tables } = this.#spaces;
    this.#countTable(table, start);
    if (size === PMD_PAGES) this.counted++;
    const base = tables.baseOf(table);
    for (let number = 0; number < PTRS_PER_TABLE; number++) {
      const entry = tables.entries[base + number];
      if (entry === 0) continue;
      const vpn = start + number * size;
      if (size === PMD_PAGES) this.#pmd(entry, vpn, base + number);
      else this.#below(ptePfn(entry), vpn, size);
    }
  }

  #below(table: number, vpn: number, size: number): void {
    this.#inVma(vpn, size);
    this.#level(table, vpn, size === PGD_PAGES ? PUD_PAGES : PMD_PAGES);
  }

  #pmd(entry: number, vpn: number, at: number): void {
    if (isTable(entry)) {
      this.#inVma(vpn, PMD_PAGES);
      this.#ptes(ptePfn(entry), vpn);
      return;
    }
    const vma = this.#mm.vmas.find(vpn);
    const whole = vma !== undefined && vpn + HPAGE_PMD_NR <= vma.end;
    this.#expect(whole, 'a huge page lies in one VMA', `page ${vpn}`);
    const kept = this.#mm.deposited.get(at >>> 9)?.length ?? 0;
    this.#expect(kept > 0, 'a huge page has a table deposited', `page ${vpn}`);
    this.#rss[RSS.anon] += HPAGE_PMD_NR;
    if (!isHugePmd(entry)) this.#migration(entry, vpn);
    else if (vma !== undefined) {
      this.#tally.pmds[ptePfn(entry)]++;
      this.#mapped(vma, vpn, ptePfn(entry), entry);
    }
  }

  #ptes(table: number, start: number): void {
    const { tables } = this.#spaces;
    this.#countTable(table, start);
    this.counted++;
    const base = tables.baseOf(table);
    for (let number = 0; number < PTRS_PER_TABLE; number++) {
      const entry = tables.entries[base + number];
      if (entry !== 0) this.#pte(entry, start + number);
    }
  }

  #pte(entry: number, vpn: number): void {
    const vma = this.#mm.vmas.find(vpn);
    this.#expect(vma !== undefined, 'nothing is mapped outside of VMAs', `page ${vpn}`);
    if (!isPresent(entry)) {
      if (isSwapEntry(entry)) {
        this.#rss[RSS.swap]++;
        this.#tally.countSwap(swapOffset(entry));
      } else {
        this.#rss[rssKind(this.#spaces, migrationPfn(entry))]++;
        this.#migration(entry, vpn);
      }
      return;
    }
    const pfn = ptePfn(entry);
    if ((entry & PTE_SPECIAL) !== 0) {
      const zero = pfn === this.#spaces.zeroPfn && (entry & PTE_WRITE) === 0;
      this.#expect(zero, 'a special entry maps the zero page for reading', `page ${vpn}`);
      return;
    }
    this.#rss[rssKind(this.#spaces, pfn)]++;
    this.#tally.ptes[pfn]++;
    if (vma !== undefined) this.#mapped(vma, vpn, pfn, entry);
  }

  /** A mapped frame: in use, found again by the reverse map, writable only where it may be. */
  #mapped(vma: Vma, vpn: number, pfn: number, entry: number): void {
    const { frames, rmap } = this.#spaces;
    const where = `page ${vpn} frame ${pfn}`;
    const state = frames.pages.states.stateOf(pfn);
    const inUse = state === PAGE_STATE.lru || state === PAGE_STATE.allocated;
    this.#expect(inUse, 'only frames in use are mapped', where);
    const head = frames.head(pfn);
    const kind = frames.mappingKind(head);
    const owned = kind === MAPPING.anon || kind === MAPPING.file;
    this.#expect(owned, 'a mapped page has an owner', where);
    const found = rmap.vmasOf(head).has(vma);
    this.#expect(found, 'the reverse map finds every mapping', where);
    this.#expect(frames.indexOf(pfn) === vma.indexOf(vpn), 'a page knows its index', where);
    if ((entry & PTE_WRITE) === 0) return;
    this.#expect(vma.has(VM_WRITE), 'only writable VMAs map for writing', where);
    if (vma.has(VM_SHARED)) return;
    const exclusive = kind === MAPPING.anon && frames.has(pfn, PG_ANON_EXCLUSIVE);
    this.#expect(exclusive, 'a private page that may be written is exclusive', where);
  }

  #migration(entry: number, vpn: number): void {
    const moving = isMigrationEntry(entry) && this.#spaces.frames.isLocked(migrationPfn(entry));
    this.#expect(moving, 'the page of a migration entry is locked', `page ${vpn}`);
  }

  #inVma(vpn: number, size: number): void {
    const used = this.#mm.vmas.overlapping(vpn, vpn + size).length > 0;
    this.#expect(used, 'no table is kept where nothing is mapped', `page ${vpn}`);
  }

  #countTable(pfn: number, vpn: number): void {
    const { frames } = this.#spaces;
    this.#tables++;
    const first = this.#tally.tables[pfn]++ === 0;
    this.#expect(first && this.#spaces.isTable(pfn), 'a table is one and used once', `${vpn}`);
    const held = frames.refcount(pfn) === 1;
    const state = frames.pages.states.stateOf(pfn) === PAGE_STATE.allocated;
    this.#expect(held && state, 'a page table is an allocated frame', `page ${vpn} frame ${pfn}`);
  }

  #expect(holds: boolean, invariant: string, detail = ''): void {
    this.#report.expect(holds, invariant, `process ${this.#mm.id} ${detail}`);
  }
}
