import { type Scheduler, type Waiting, WaitQueue } from '../../sched/scheduler.ts';
import type { Zone } from '../page/zone.ts';
import type { Spaces } from '../space/spaces.ts';
import { Flusher } from './flusher.ts';
import { reclaimablePages, zoneReclaimablePages } from './reclaimable.ts';
import type { Shrinkers } from './shrinkers.ts';
import type { Swap } from './swap.ts';

/** What reclaim needs to know of compaction, which is above it. */
export interface CompactionHelp {
  /** compaction_suitable: there is a block of the order, or compaction could make one now. */
  canCompact(zone: Zone, order: number, highestZone: number): boolean;
  /** compaction_ready: the same, with room to spare: no need to reclaim first. */
  isReady(zone: Zone, order: number, highestZone: number): boolean;
}

export interface ReclaimNodeOptions {
  readonly spaces: Spaces;
  readonly shrinkers: Shrinkers;
  readonly compaction: CompactionHelp;
  /** Undefined in a guest without swap. */
  readonly swap: Swap | undefined;
}

/**
 * pg_data_t as reclaim sees it: the one node with its lists, and what reclaim remembers of it
 * between two runs.
 */
export class ReclaimNode {
  readonly spaces: Spaces;
  readonly shrinkers: Shrinkers;
  readonly compaction: CompactionHelp;
  readonly swap: Swap | undefined;
  readonly flusher: Flusher;
  /** Runs of kswapd without any success in a row. */
  kswapdFailures = 0;
  /** PGDAT_WRITEBACK: pages come round again before they are written. */
  isWritebackHeavy = false;
  /** PGDAT_DIRTY: nothing but dirty pages at the end of the lists; kswapd may write files. */
  isDirty = false;
  /** LRUVEC_CONGESTED. */
  isCongested = false;
  /** What it cost lately to reclaim pages of a kind: written ones, halved now and then. */
  anonCost = 0;
  fileCost = 0;
  readonly throttled = new WaitQueue('reclaim throttled');

  constructor(options: ReclaimNodeOptions) {
    this.spaces = options.spaces;
    this.shrinkers = options.shrinkers;
    this.compaction = options.compaction;
    this.swap = options.swap;
    this.flusher = new Flusher(options.spaces);
  }

  get scheduler(): Scheduler {
    return this.spaces.scheduler;
  }

  get zones(): readonly Zone[] {
    return this.spaces.allocator.zones;
  }

  /** can_reclaim_anon_pages: is there a place for them to go? */
  get canReclaimAnon(): boolean {
    return this.swap !== undefined && this.swap.freePages > 0;
  }

  reclaimablePages(zone: Zone): number {
    return zoneReclaimablePages(zone, reclaimablePages(this.spaces, zone));
  }

  /** lru_note_cost: pages of a kind had to be written. */
  noteCost(isFile: boolean, pages: number): void {
    if (isFile) this.fileCost += pages;
    else this.anonCost += pages;
    const { sizes } = this.spaces.lru.lists;
    const lruSize = sizes[0] + sizes[1] + sizes[2] + sizes[3];
    if (this.anonCost + this.fileCost <= lruSize >> 2) return;
    this.anonCost >>= 1;
    this.fileCost >>= 1;
  }

  /** Sleeps on `queue` for so long at most. False: nobody woke it. */
  *sleep(queue: WaitQueue, ms: number): Waiting<boolean> {
    const { clock } = this.scheduler;
    let isDue = false;
    const timer = clock.setTimeout(() => {
      isDue = true;
      this.scheduler.wake(queue);
      this.scheduler.run();
    }, ms);
    yield queue;
    clock.clearTimeout(timer);
    return !isDue;
  }
}
