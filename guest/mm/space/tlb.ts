import { Counters } from '../../../shared/lib/counters.ts';
import type { Mm } from './mm-types.ts';
import { PTE_ACCESSED, PTE_DIRTY, PTE_PFN_SHIFT, PTE_WRITE } from './pte.ts';

/**
 * The translation cache of the one CPU: what it remembers of page tables stays until it is
 * flushed, whatever the tables say meanwhile. Entries carry the context number of their address
 * space (a PCID), so that switching between processes flushes nothing.
 *
 * A flush may be put off (try_to_unmap_flush_dirty and the batch of migration): until then the CPU
 * can still reach a page through a stale entry. Nothing may run that does; where `checkUse` is set
 * every use is compared with the tables and a stale one is remembered.
 *
 * Not emulated: real sizes and replacement, entries of 2 MiB (a huge page is cached in pieces),
 * caches of upper levels, other CPUs and the interrupts that make them flush.
 */
const ENTRIES = 1024;
/** Longer ranges are flushed by forgetting the whole address space (x86). */
export const TLB_SINGLE_PAGE_FLUSH_CEILING = 33;

const TLB_COUNTERS = ['flush_all', 'flush_one', 'deferred'] as const;

/** What a translation allows. */
const TLB_WRITE_READY = PTE_WRITE | PTE_DIRTY;

/** Looks a translation up in the page tables: an entry for exactly this page, 0 for none. */
export type TableLookup = (mm: Mm, vpn: number) => number;

export class Tlb {
  readonly counters = new Counters(TLB_COUNTERS);
  /** Uses of an entry that the tables no longer agree with, while checks are on. */
  readonly staleUses: string[] = [];
  readonly #contexts = new Int32Array(ENTRIES);
  readonly #vpns = new Int32Array(ENTRIES);
  readonly #entries = new Int32Array(ENTRIES);
  readonly #deferred = new Set<Mm>();
  readonly #byContext = new Map<number, Mm>();
  readonly #check: TableLookup | undefined;
  #lastContext = 0;

  /** With `check` every use of an entry is compared with the page tables. */
  constructor(check?: TableLookup) {
    this.#check = check;
  }

  /** Gives an address space its first context, or a new one: all that was cached is forgotten. */
  newContext(mm: Mm): void {
    this.#byContext.delete(mm.tlbContext);
    mm.tlbContext = ++this.#lastContext;
    this.#byContext.set(mm.tlbContext, mm);
  }

  /** The address space is gone. */
  dropContext(mm: Mm): void {
    this.#byContext.delete(mm.tlbContext);
    this.#deferred.delete(mm);
    mm.tlbContext = 0;
  }

  /**
   * The cached entry of a page, with the PFN of exactly this page, or 0. An entry that is not
   * dirty cannot serve a write: the CPU has to set the bit in the table first.
   */
  lookup(mm: Mm, vpn: number, write: boolean): number {
    const at = slotOf(mm.tlbContext, vpn);
    if (this.#vpns[at] !== vpn || this.#contexts[at] !== mm.tlbContext) return 0;
    const entry = this.#entries[at];
    if (write && (entry & TLB_WRITE_READY) !== TLB_WRITE_READY) return 0;
    if (this.#check !== undefined) this.#checkUse(mm, vpn, entry);
    return entry;
  }

  /** Remembers a translation that was just walked. */
  fill(mm: Mm, vpn: number, entry: number): void {
    const at = slotOf(mm.tlbContext, vpn);
    this.#contexts[at] = mm.tlbContext;
    this.#vpns[at] = vpn;
    this.#entries[at] = entry;
  }

  /** flush_tlb_page. */
  flushPage(mm: Mm, vpn: number): void {
    this.counters.add('flush_one');
    this.#forget(mm, vpn);
  }

  /** flush_tlb_mm_range: pages [start, end). */
  flushRange(mm: Mm, start: number, end: number): void {
    if (end - start > TLB_SINGLE_PAGE_FLUSH_CEILING) {
      this.flushMm(mm);
      return;
    }
    this.counters.add('flush_one', end - start);
    for (let vpn = start; vpn < end; vpn++) this.#forget(mm, vpn);
  }

  /** flush_tlb_mm. */
  flushMm(mm: Mm): void {
    this.counters.add('flush_all');
    this.#deferred.delete(mm);
    this.newContext(mm);
  }

  /** set_tlb_ubc_flush_pending: a PTE was cleared and its flush is put off. */
  deferFlush(mm: Mm): void {
    this.counters.add('deferred');
    this.#deferred.add(mm);
  }

  /** try_to_unmap_flush: does every flush that was put off. */
  flushDeferred(): void {
    for (const mm of [...this.#deferred]) this.flushMm(mm);
  }

  /** flush_tlb_batched_pending: before the tables of this address space are looked at to unmap. */
  flushDeferredOf(mm: Mm): void {
    if (this.#deferred.has(mm)) this.flushMm(mm);
  }

  isFlushDeferred(mm: Mm): boolean {
    return this.#deferred.has(mm);
  }

  /** Everything that is cached for living address spaces, for checks. */
  *cached(): Generator<{ mm: Mm; vpn: number; entry: number }> {
    for (let at = 0; at < ENTRIES; at++) {
      const mm = this.#byContext.get(this.#contexts[at]);
      if (mm !== undefined) yield { mm, vpn: this.#vpns[at], entry: this.#entries[at] };
    }
  }

  #forget(mm: Mm, vpn: number): void {
    const at = slotOf(mm.tlbContext, vpn);
    if (this.#vpns[at] === vpn && this.#contexts[at] === mm.tlbContext) this.#contexts[at] = 0;
  }

  #checkUse(mm: Mm, vpn: number, entry: number): void {
    const inTable = this.#check?.(mm, vpn) ?? 0;
    if (agrees(entry, inTable)) return;
    const what = `process ${mm.id} page ${vpn}: ${entry >>> PTE_PFN_SHIFT}`;
    if (this.staleUses.length < 16) this.staleUses.push(what);
  }
}

/** Does a cached entry allow nothing that the tables do not? */
export function agrees(cached: number, inTable: number): boolean {
  if (cached >>> PTE_PFN_SHIFT !== inTable >>> PTE_PFN_SHIFT) return false;
  const granted = cached & (PTE_WRITE | PTE_DIRTY | PTE_ACCESSED);
  return inTable !== 0 && (granted & ~inTable) === 0;
}

function slotOf(context: number, vpn: number): number {
  return (vpn ^ Math.imul(context, 0x61c8_8647)) & (ENTRIES - 1);
}
