import type { PfnRange } from '../../shared/lib/pfn-ranges.ts';
import { BalloonDevInfo, type BalloonOptions } from './balloon/balloon-dev-info.ts';
import { Balloons } from './balloon/balloons.ts';
import type { BalloonCompaction } from './balloon/compaction-mode.ts';
import { type AllocatorHooks, PageAllocator } from './page/alloc.ts';
import { bootFromImage, type FreeListDump } from './page/image.ts';
import { bootLayout } from './page/layout.ts';
import { PAGE_STATE } from './page/page-lifecycle.ts';
import type { PageMap } from './page/page-map.ts';
import { ramRegions } from './page/ram.ts';
import { Tracepoints } from './page/tracepoints.ts';
import { verifyMemory } from './verify.ts';

export interface BootOptions {
  /** RAM as QEMU's -m gives it: whole MiB, 64 MiB to 64 GiB; else SizeError. */
  readonly memoryBytes: number;
  /** A recorded free-list dump to start from instead of a fresh boot. */
  readonly image?: FreeListDump;
  readonly hooks?: AllocatorHooks;
  /** Free pages hold PAGE_POISON, as with page_poison=1. */
  readonly pagePoison?: boolean;
  /** How pages of balloons are moved, if at all; `movable` if left out. */
  readonly balloonCompaction?: BalloonCompaction;
}

/**
 * Memory of one guest: frames, allocator and balloons, booted for a RAM size or from a recorded
 * image. The balloon driver and workloads use it through here.
 */
export class GuestMemory {
  readonly pages: PageMap;
  readonly allocator: PageAllocator;
  /** All balloons: events, and which book a frame is in. */
  readonly balloons: Balloons;
  /** RAM as announced to the host; the counts sum up to memoryBytes exactly. */
  readonly regions: readonly PfnRange[];
  /** Frames in use that are not managed: the same at any time (I6). */
  readonly #unmanagedPages: number;

  private constructor(
    allocator: PageAllocator,
    regions: readonly PfnRange[],
    compaction: BalloonCompaction | undefined,
  ) {
    this.pages = allocator.pages;
    this.allocator = allocator;
    this.balloons = new Balloons(allocator, compaction);
    this.regions = regions;
    this.#unmanagedPages = this.#ownedPages() - allocator.managedPages;
  }

  static boot(options: BootOptions): GuestMemory {
    const memory = GuestMemory.#boot(options);
    if (options.pagePoison === true) memory.allocator.enablePagePoison();
    if (options.balloonCompaction === 'off') memory.allocator.pinBalloonPages();
    return memory;
  }

  static #boot({ memoryBytes, image, hooks, balloonCompaction }: BootOptions): GuestMemory {
    const regions = ramRegions(memoryBytes);
    const trace = new Tracepoints();
    if (image === undefined) {
      return new GuestMemory(bootLayout(regions, trace, hooks), regions, balloonCompaction);
    }
    const zones = bootFromImage(image, regions, trace);
    const allocator = new PageAllocator({ zones, trace, ...(hooks && { hooks }) });
    return new GuestMemory(allocator, regions, balloonCompaction);
  }

  /** A book for one balloon device. */
  newBalloon(options: BalloonOptions): BalloonDevInfo {
    return new BalloonDevInfo(this.balloons, options);
  }

  /**
   * The host discarded these frames: their content is zero now. Frames that do not exist are
   * ignored, since a host may send anything.
   */
  discard(ranges: Iterable<PfnRange>): void {
    for (const { start, count } of ranges) this.pages.tags.fill(0, start, start + count);
  }

  /** Names every violated invariant; empty when all hold. Walks all frames. */
  verify(): string[] {
    const violated = verifyMemory(this.allocator, this.balloons);
    const managed = this.allocator.managedPages + this.balloons.adjustedPages;
    if (this.#ownedPages() - managed !== this.#unmanagedPages) {
      violated.push('I6: managed pages are those of boot less those ballooned away');
    }
    return violated;
  }

  /** Frames that are not reserved. */
  #ownedPages(): number {
    const { states } = this.pages;
    return states.size - states.countOf(PAGE_STATE.reserved);
  }
}
