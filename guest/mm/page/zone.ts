import { MIGRATETYPES, WMARK, ZONES } from './gfp.ts';
import { MAX_ORDER, type PageMap } from './page-map.ts';
import { NR_PCP_LISTS, PerCpuPages } from './per-cpu-pages.ts';
import type { Tracepoints } from './tracepoints.ts';
import { ZoneCompaction } from './zone-compaction.ts';

export const ZONE_NAMES = ['DMA', 'DMA32', 'Normal'] as const;

/** First PFN behind a zone: 16 MiB, 4 GiB, the end of memory. */
export const MAX_DMA_PFN = 4096;
export const MAX_DMA32_PFN = 1 << 20;

/** Index of the zone a frame belongs to (x86-64). */
export function zoneIndexOf(pfn: number): number {
  if (pfn < MAX_DMA_PFN) return 0;
  return pfn < MAX_DMA32_PFN ? 1 : 2;
}

/** page_reporting_notify_free: who is told of free blocks from an order on. */
export interface FreeNotifier {
  readonly order: number;
  notify(): void;
}

export interface ZoneSpan {
  readonly index: number;
  readonly startPfn: number;
  /** Frames from start to end, holes included; 0 for a zone without memory. */
  readonly spannedPages: number;
  /** Frames that exist. */
  readonly presentPages: number;
}

/** struct capture_control: a block of this order goes to its holder as it is freed. */
export interface CaptureControl {
  readonly order: number;
  /** First PFN of the block, which is allocated then; -1 until there is one. */
  pfn: number;
}

/**
 * struct zone: a range of frames with its free lists, per-CPU lists, watermarks and counters.
 * One node, one CPU. Not emulated: NUMA nodes, CMA, memory hotplug, free-list shuffling.
 */
export class Zone {
  readonly pages: PageMap;
  /** pages.words, one dereference nearer: the free lists run through it. */
  readonly words: Int32Array;
  readonly index: number;
  readonly name: string;
  readonly startPfn: number;
  readonly spannedPages: number;
  readonly presentPages: number;
  /** Frames the allocator manages, less those a balloon has accounted away. */
  managedPages = 0;
  /** _watermark, by WMARK: min, low, high, promo. Without the boost. */
  readonly watermark = new Int32Array(4);
  /** Added to every watermark until kswapd has reclaimed as much (boost_watermark). */
  watermarkBoost = 0;
  /** lowmem_reserve by the highest zone a request may use. */
  readonly lowmemReserve = new Int32Array(ZONES);
  nrReservedHighatomic = 0;
  /** ZONE_BOOSTED_WATERMARK: the next allocation from here wakes kswapd. */
  boostedWatermark = false;
  /** ZONE_RECLAIM_ACTIVE: kswapd reclaims, per-CPU lists are kept short. */
  reclaimActive = false;
  /** Node number of the list of order 0, unmovable; see freeList(). */
  readonly #freeLists: number;
  /** free_area[order].nr_free: blocks of all migratetypes. */
  readonly nrFree = new Int32Array(MAX_ORDER);
  readonly pcp: PerCpuPages;
  readonly compact = new ZoneCompaction();
  /** Set while the task that runs compacts this zone for a block it wants (capture_control). */
  capture: CaptureControl | undefined;
  readonly trace: Tracepoints;
  /** Told of large free blocks; undefined while nobody reports them (page_reporting_enabled). */
  freeNotifier: FreeNotifier | undefined = undefined;
  /** Frames that __isolate_free_page took and nobody has put back. */
  isolatedFreePages = 0;
  /** Pageblocks of which nothing is handed out at the moment (page-isolation.ts). */
  nrIsolatePageblock = 0;
  #freePages = 0;
  /** What this CPU has not added to the zone's counter yet (vm_stat_diff). */
  #freePagesDiff = 0;
  /** calculate_normal_threshold for one CPU, by managed pages at boot. */
  statThreshold = 0;
  /** Blocks handed out and frames in them (pgalloc_dma and so on). */
  pgalloc = 0;

  constructor(pages: PageMap, span: ZoneSpan, trace: Tracepoints) {
    this.pages = pages;
    this.words = pages.words;
    this.index = span.index;
    this.name = ZONE_NAMES[span.index];
    this.startPfn = span.startPfn;
    this.spannedPages = span.spannedPages;
    this.presentPages = span.presentPages;
    this.trace = trace;
    this.#freeLists = pages.newLists(MAX_ORDER * MIGRATETYPES);
    this.pcp = new PerCpuPages(pages.newLists(NR_PCP_LISTS));
  }

  get endPfn(): number {
    return this.startPfn + this.spannedPages;
  }

  get populated(): boolean {
    return this.presentPages > 0;
  }

  /** Node number of free_area[order].free_list[migratetype]. */
  freeList(order: number, migratetype: number): number {
    return this.#freeLists + order * MIGRATETYPES + migratetype;
  }

  /**
   * Frames on the free lists, exactly. Those on per-CPU lists and those of isolated pageblocks are
   * not among them.
   */
  get freePages(): number {
    return this.#freePages;
  }

  /**
   * zone_page_state(NR_FREE_PAGES): what watermarks are compared with. It lags behind by what
   * this CPU has not folded in, at most statThreshold.
   */
  get freePagesStat(): number {
    return this.#freePages - this.#freePagesDiff;
  }

  /** __mod_zone_page_state(NR_FREE_PAGES). */
  modFreePages(delta: number): void {
    this.#freePages += delta;
    const diff = this.#freePagesDiff + delta;
    this.#freePagesDiff = diff > this.statThreshold || diff < -this.statThreshold ? 0 : diff;
  }

  /** refresh_cpu_vm_stats, which the vmstat worker runs once a second. */
  foldStats(): void {
    this.#freePagesDiff = 0;
  }

  /** wmark_pages. */
  mark(wmark: number): number {
    return this.watermark[wmark] + this.watermarkBoost;
  }

  get lowMark(): number {
    return this.mark(WMARK.low);
  }

  get highMark(): number {
    return this.mark(WMARK.high);
  }
}
