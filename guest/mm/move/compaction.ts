import type { Waiting } from '../../sched/scheduler.ts';
import type { Balloons } from '../balloon/balloons.ts';
import type { PageAllocator } from '../page/alloc.ts';
import { GFP_KERNEL } from '../page/gfp.ts';
import type { Zone } from '../page/zone.ts';
import type { SlowPath } from '../space/alloc-pages.ts';
import { CompactControl, type CompactOptions } from './compact-control.ts';
import { CompactEvents } from './compact-events.ts';
import { type CompactionWorld, ZoneCompactor } from './compact-zone.ts';
import { CompactionTrace } from './compaction-trace.ts';
import { COMPACT, MIGRATE_MODE, WHOLE_NODE } from './constants.ts';
import type { LruPages } from './lru-pages.ts';
import { Proactiveness } from './proactiveness.ts';
import { compactionReady, reclaimForCompaction } from './reclaim-for-compaction.ts';
import { resetIsolationSuitable } from './skip-hints.ts';
import { AllocSlowPath, type SlowPathOptions } from './slow-path.ts';
import { compactionSuitable } from './suitability.ts';

export interface CompactionOptions {
  /** kswapd_is_running: compaction in the background leaves it the CPU. Left out: never. */
  readonly kswapdIsRunning?: () => boolean;
  readonly allocator: PageAllocator;
  readonly balloons: Balloons;
  readonly lru: LruPages;
}

/**
 * Memory compaction of a guest, as mm/compaction.c of Linux 6.1: who asks for it and over which
 * zones it goes. What one run over one zone does is in compact-zone.ts, kcompactd in kcompactd.ts.
 *
 * Not emulated: NUMA nodes, contiguous allocation (CMA, alloc_contig_range), memory hotplug.
 */
export class Compaction {
  readonly world: CompactionWorld;

  constructor(options: CompactionOptions) {
    const trace = new CompactionTrace();
    const events = new CompactEvents();
    this.world = {
      kswapdIsRunning: () => false,
      ...options,
      trace,
      events,
      proactiveness: new Proactiveness(),
    };
  }

  /** vmstat's events of compaction. */
  get events(): CompactEvents {
    return this.world.events;
  }

  get proactiveness(): Proactiveness {
    return this.world.proactiveness;
  }

  get trace(): CompactionTrace {
    return this.world.trace;
  }

  /** compact_memory: every zone from end to end, waiting for whatever has to be waited for. */
  *compactMemory(): Waiting {
    this.world.lru.drain();
    yield* this.#compactZones({ mode: MIGRATE_MODE.sync });
  }

  /** proactive_compact_node: until no zone is too fragmented any more. */
  *compactProactively(): Waiting {
    yield* this.#compactZones({ mode: MIGRATE_MODE.syncLight, proactive: true });
  }

  /** The slow path of allocations, whose other steps are handed in. */
  slowPath(steps: Omit<SlowPathOptions, 'world'>): SlowPath {
    return new AllocSlowPath({ ...steps, world: this.world });
  }

  /** What reclaim asks of compaction for a block of an order (CompactionHelp). */
  canCompact(zone: Zone, order: number, highestZone: number): boolean {
    const request = { order, allocFlags: 0, highestZone };
    return compactionSuitable(zone, request, this.world.trace) !== COMPACT.skipped;
  }

  isReady(zone: Zone, order: number, highestZone: number): boolean {
    return compactionReady(this.world, zone, { order, highestZone });
  }

  /** reset_isolation_suitable, when kswapd is about to sleep. */
  resetSkipHints(): void {
    resetIsolationSuitable(this.world.allocator.zones);
  }

  /** What is left of direct reclaim where pages of the LRU are not reclaimed. */
  reclaimByShrinkers(order: number, gfp: number, shrink: () => number): Waiting<number> {
    return reclaimForCompaction({ world: this.world, shrink }, order, gfp);
  }

  get populatedZones(): readonly Zone[] {
    return this.world.allocator.zones.filter((zone) => zone.populated);
  }

  *#compactZones(options: Pick<CompactOptions, 'mode' | 'proactive'>): Waiting {
    const zones = this.populatedZones;
    const control = new CompactControl(zones[0], {
      ...options,
      order: WHOLE_NODE,
      gfp: GFP_KERNEL,
      wholeZone: true,
      ignoreSkipHint: true,
    });
    const compactor = new ZoneCompactor(control, this.world);
    for (const zone of zones) yield* compactor.run(zone);
  }
}
