import { assert } from '../../../shared/lib/assert.ts';
import type { Scheduler } from '../../sched/scheduler.ts';
import type { PageAllocator } from '../page/alloc.ts';
import type { Lru } from '../reclaim/lru.ts';
import type { Vmstat } from '../vmstat.ts';
import { AddressSpaces } from './address-spaces.ts';
import { PageSupply } from './alloc-pages.ts';
import { AnonVmas } from './anon-vmas.ts';
import { Frames, MAPPING } from './frames.ts';
import { Holds } from './holds.ts';
import { HugePages } from './huge-pages.ts';
import { leafEntry } from './leaf-entry.ts';
import type { Mm } from './mm-types.ts';
import { MmuGather } from './mmu-gather.ts';
import { PageRefs } from './page-refs.ts';
import { PageTables } from './page-tables.ts';
import { PageWaits } from './page-waits.ts';
import { MAX_PFN } from './pte.ts';
import { Rmap } from './rmap.ts';
import type { SwapPager } from './swap-pager.ts';
import { Tlb } from './tlb.ts';

/** transparent_hugepage/enabled. */
export type ThpMode = 'always' | 'madvise' | 'never';

/** Huge pages are on from 512 MiB of managed memory on (hugepage_init). */
const THP_MIN_PAGES = 131_072;

export interface SpacesOptions {
  readonly allocator: PageAllocator;
  readonly vmstat: Vmstat;
  readonly scheduler: Scheduler;
  /** Left out: always, or never on a guest below 512 MiB. */
  readonly thp?: ThpMode;
  /** What the disk takes for a read or a batch of writes. Left out: no time, but others may run. */
  readonly diskMs?: number;
  /** A verification run: every use of the TLB is compared with the page tables. */
  readonly checks?: boolean;
}

/**
 * The address spaces of one guest: page frames as they are mapped, page tables, TLB, reverse map,
 * page cache and LRU, and the processes' address spaces themselves. What is done with them is in
 * functions beside it (zap, fork, faults, calls).
 *
 * Not emulated: NUMA, memory control groups, mprotect and mremap, executable mappings, hugetlbfs,
 * pinned pages, more than one CPU.
 */
export class Spaces {
  readonly allocator: PageAllocator;
  readonly vmstat: Vmstat;
  readonly scheduler: Scheduler;
  readonly thp: ThpMode;
  readonly diskMs: number;
  readonly frames: Frames;
  readonly tables: PageTables;
  readonly tlb: Tlb;
  readonly refs: PageRefs;
  readonly lru: Lru;
  readonly waits: PageWaits;
  readonly rmap: Rmap;
  readonly hugePages: HugePages;
  readonly anonVmas = new AnonVmas();
  readonly files: AddressSpaces;
  readonly supply: PageSupply;
  readonly gather: MmuGather;
  readonly holds = new Holds();
  readonly mms = new Set<Mm>();
  /** Frame that reads of untouched anonymous memory see: PFN 0, which the allocator never has. */
  readonly zeroPfn = 0;
  /** Handed in by whoever swaps; without it no entry of a page table is a swap entry. */
  swap: SwapPager | undefined;
  /** Does kswapd want the CPU? Woken by an allocation, it comes before the task that woke it. */
  isPreempted: () => boolean = () => false;
  #lastMmId = 0;

  constructor(options: SpacesOptions) {
    const { allocator, vmstat, scheduler } = options;
    assert(allocator.pages.pageCount <= MAX_PFN, 'every frame of a guest fits a page-table entry');
    this.allocator = allocator;
    this.vmstat = vmstat;
    this.scheduler = scheduler;
    this.thp = options.thp ?? (allocator.managedPages >= THP_MIN_PAGES ? 'always' : 'never');
    this.diskMs = options.diskMs ?? 0;
    this.frames = new Frames(allocator.pages);
    this.tables = new PageTables(this.frames);
    this.tlb = new Tlb(
      options.checks === true ? (mm, vpn) => leafEntry(this.tables, mm, vpn) : undefined,
    );
    this.refs = new PageRefs(this.frames, allocator, vmstat, (head) => this.hugePages.onFree(head));
    this.lru = this.refs.lru;
    this.waits = new PageWaits(this.frames, scheduler);
    this.hugePages = new HugePages(this);
    this.files = new AddressSpaces(scheduler);
    this.rmap = new Rmap({
      frames: this.frames,
      tables: this.tables,
      anonVmas: this.anonVmas,
      files: this.files,
      vmstat,
      onPartlyUnmapped: (head) => this.hugePages.deferSplit(head),
    });
    this.hugePages.connect(this.rmap);
    this.supply = new PageSupply(allocator);
    this.gather = new MmuGather(allocator, this.refs, this.tlb, (pfns, count) => {
      const { swap } = this;
      if (swap === undefined) return;
      for (let index = 0; index < count; index++) swap.freeSwapCache(pfns[index]);
    });
  }

  /** The first number that no address space had. */
  newMmId(): number {
    return ++this.#lastMmId;
  }

  /** Bytes a frame costs, PageMap and address spaces together; page tables are counted apart. */
  get bytesPerFrame(): number {
    const { words, tags } = this.allocator.pages;
    const pageMapBytes = words.BYTES_PER_ELEMENT * 4 + tags.BYTES_PER_ELEMENT + 1;
    return pageMapBytes + Frames.BYTES_PER_FRAME;
  }

  /** Is the frame a page table? */
  isTable(pfn: number): boolean {
    return this.frames.mapping[pfn] === MAPPING.table;
  }
}
