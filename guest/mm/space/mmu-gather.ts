import type { PageAllocator } from '../page/alloc.ts';
import { __GFP_NOWARN, GFP_NOWAIT } from '../page/gfp.ts';
import type { Mm } from './mm-types.ts';
import type { PageRefs } from './page-refs.ts';
import type { Tlb } from './tlb.ts';

/** MMU_GATHER_BUNDLE: pages gathered before a page is taken to hold more of them. */
const BUNDLE = 8;
/** Pointers in one page less the batch's header (MAX_GATHER_BATCH). */
const MAX_GATHER_BATCH = 510;
/** 10,000 pages at most before they are freed, whatever happens (MAX_GATHER_BATCH_COUNT). */
const MAX_GATHER_BATCH_COUNT = 19;

class Batch {
  readonly pfns: Int32Array;
  count = 0;
  /** The frame that holds this batch in the kernel; -1 for the first, which is on the stack. */
  framePfn = -1;

  constructor(capacity: number) {
    this.pfns = new Int32Array(capacity);
  }
}

/**
 * struct mmu_gather: pages and page tables that were just unmapped wait here, so that the TLB is
 * flushed once for many before the first of them is freed. The recordings show its steps: 8 pages,
 * then batches of 510 that each cost a page had with GFP_NOWAIT, freed batch by batch in reverse
 * order; the pages of the batches go last, one at a time.
 *
 * One is enough for a guest: nothing waits between `start` and `finish`.
 */
export class MmuGather {
  readonly #allocator: PageAllocator;
  readonly #refs: PageRefs;
  readonly #tlb: Tlb;
  /** free_swap_cache of every page that is about to go. */
  readonly #beforeRelease: (pfns: Int32Array, count: number) => void;
  /** The batch on the stack, then those had in this round or an earlier one. */
  readonly #batches: Batch[] = [new Batch(BUNDLE)];
  /** Batches of this run; of those behind it only the memory is kept. */
  #batchCount = 1;
  #active = 0;
  #mm: Mm | undefined;
  #start = 0;
  #end = 0;
  #wholeMm = false;

  constructor(
    allocator: PageAllocator,
    refs: PageRefs,
    tlb: Tlb,
    beforeRelease: (pfns: Int32Array, count: number) => void = () => {},
  ) {
    this.#allocator = allocator;
    this.#refs = refs;
    this.#tlb = tlb;
    this.#beforeRelease = beforeRelease;
  }

  /** tlb_gather_mmu; `wholeMm` when the address space ends (tlb_gather_mmu_fullmm). */
  start(mm: Mm, wholeMm = false): void {
    this.#mm = mm;
    this.#wholeMm = wholeMm;
    this.#resetRange();
  }

  /** tlb_flush_pte_range: these pages are not mapped any more. */
  unmapped(start: number, end: number): void {
    if (start < this.#start) this.#start = start;
    if (end > this.#end) this.#end = end;
  }

  /** __tlb_remove_page: true when the gather is full and wants `flush`. */
  remove(pfn: number): boolean {
    const batch = this.#batches[this.#active] as Batch;
    batch.pfns[batch.count++] = pfn;
    return batch.count === batch.pfns.length && !this.#nextBatch();
  }

  /** tlb_flush_mmu_tlbonly: the CPU forgets what was unmapped. */
  flushTlb(): void {
    const mm = this.#mm;
    if (mm === undefined || this.#end <= this.#start) return;
    if (this.#wholeMm) this.#tlb.flushMm(mm);
    else this.#tlb.flushRange(mm, this.#start, this.#end);
    this.#resetRange();
  }

  /** tlb_flush_mmu: flushes, then drops a reference of every page gathered. */
  flush(): void {
    this.flushTlb();
    for (let index = 0; index <= this.#active; index++) {
      const batch = this.#batches[index] as Batch;
      if (batch.count === 0) break;
      this.#beforeRelease(batch.pfns, batch.count);
      this.#refs.release(batch.pfns, batch.count);
      batch.count = 0;
    }
    this.#active = 0;
  }

  /** tlb_finish_mmu. */
  finish(): void {
    this.flush();
    for (let index = 1; index < this.#batchCount; index++) {
      const batch = this.#batches[index] as Batch;
      this.#allocator.free(batch.framePfn, 0);
      batch.framePfn = -1;
    }
    this.#batchCount = 1;
    this.#mm = undefined;
  }

  /** tlb_next_batch: false when there is no room for more. */
  #nextBatch(): boolean {
    if (this.#active + 1 < this.#batchCount) {
      this.#active++;
      return true;
    }
    if (this.#batchCount - 1 === MAX_GATHER_BATCH_COUNT) return false;
    const framePfn = this.#allocator.alloc(0, GFP_NOWAIT | __GFP_NOWARN);
    if (framePfn < 0) return false;
    this.#batches[this.#batchCount] ??= new Batch(MAX_GATHER_BATCH);
    (this.#batches[this.#batchCount] as Batch).framePfn = framePfn;
    this.#active = this.#batchCount++;
    return true;
  }

  #resetRange(): void {
    this.#start = Number.MAX_SAFE_INTEGER;
    this.#end = 0;
  }
}
