import { PageAllocator } from '../../../guest/mm/page/alloc.ts';
import { addToFreeListTail } from '../../../guest/mm/page/free-area.ts';
import { MIGRATETYPE } from '../../../guest/mm/page/gfp.ts';
import { PAGE_EVENT } from '../../../guest/mm/page/page-lifecycle.ts';
import { listNodes } from '../../../guest/mm/page/page-list.ts';
import { PageMap } from '../../../guest/mm/page/page-map.ts';
import { stepBlock } from '../../../guest/mm/page/pcp.ts';
import { makeZones, ramRegions, spanOf } from '../../../guest/mm/page/ram.ts';
import { type KmemTrace, Tracepoints } from '../../../guest/mm/page/tracepoints.ts';
import { type Zone, zoneIndexOf } from '../../../guest/mm/page/zone.ts';
import { MIB } from '../../../shared/lib/units.ts';

/** First frame of DMA32: aligned to a block of the largest order. */
export const FIRST = 4096;

/**
 * A guest of 64 MiB (or more) with nothing free and no watermarks: a test says which blocks are.
 * All pageblocks are movable. Per-CPU lists take one block at a time and keep up to 1,000 frames.
 */
export class TestZone {
  readonly pages: PageMap;
  readonly zones: readonly Zone[];
  /** DMA32. */
  readonly zone: Zone;
  readonly allocator: PageAllocator;
  /** kmem trace events as lines. */
  readonly trace: string[] = [];
  /** Zones for which kswapd was woken, by name. */
  readonly woken: string[] = [];

  constructor(memoryMib = 64) {
    const regions = ramRegions(memoryMib * MIB);
    const tracepoints = new Tracepoints();
    this.pages = new PageMap(spanOf(regions));
    this.pages.blockTypes.fill(MIGRATETYPE.movable);
    this.zones = makeZones(this.pages, regions, tracepoints);
    this.zone = this.zones[1];
    for (const zone of this.zones) {
      zone.managedPages = zone.presentPages;
      zone.pcp.high = 1000;
    }
    const wakeKswapd = (zone: Zone): void => {
      this.woken.push(zone.name);
    };
    this.allocator = new PageAllocator({
      zones: this.zones,
      trace: tracepoints,
      hooks: { wakeKswapd },
    });
    this.allocator.traceSink = this.#sink();
  }

  /** Puts a block on the tail of a free list, as it is: nothing is merged. */
  free(pfn: number, order: number, migratetype: number = MIGRATETYPE.movable): void {
    const zone = this.zones[zoneIndexOf(pfn)];
    stepBlock(zone, pfn, order, PAGE_EVENT.release);
    addToFreeListTail(zone, pfn, order, migratetype);
    zone.modFreePages(1 << order);
  }

  /** Blocks of a free list of DMA32, first to last. */
  list(order: number, migratetype: number = MIGRATETYPE.movable): number[] {
    return [...listNodes(this.zone.words, this.zone.freeList(order, migratetype))];
  }

  /** Blocks of a per-CPU list of DMA32, first to last. */
  pcpList(pindex: number): number[] {
    return [...listNodes(this.zone.words, this.zone.pcp.list(pindex))];
  }

  /** Trace events of one kind, without the kind. */
  traced(kind: string): string[] {
    const lines = this.trace.filter((line) => line.startsWith(`${kind} `));
    return lines.map((line) => line.slice(kind.length + 1));
  }

  #sink(): KmemTrace {
    const { trace } = this;
    return {
      mm_page_alloc: (pfn, order, type) => trace.push(`A ${pfn} ${order} ${type}`),
      mm_page_free: (pfn, order) => trace.push(`F ${pfn} ${order}`),
      mm_page_free_batched: (pfn) => trace.push(`B ${pfn}`),
      mm_page_alloc_zone_locked: (pfn, order, type, refill) => {
        trace.push(`Z ${pfn} ${order} ${type} ${refill ? 1 : 0}`);
      },
      mm_page_pcpu_drain: (pfn, order, type) => trace.push(`D ${pfn} ${order} ${type}`),
      mm_page_alloc_extfrag: (taken) => {
        trace.push(
          `X ${taken.pfn} ${taken.order} ${taken.fallbackOrder} ` +
            `${taken.migratetype} ${taken.fallbackMigratetype}`,
        );
      },
    };
  }
}
