import { Compaction } from '../../../../guest/mm/move/compaction.ts';
import { SpacePages } from '../../../../guest/mm/move/space-pages.ts';
import { GFP_HIGHUSER_MOVABLE } from '../../../../guest/mm/page/gfp.ts';
import type { Kswapd } from '../../../../guest/mm/reclaim/kswapd.ts';
import { OomNotifierChain } from '../../../../guest/mm/reclaim/oom.ts';
import { OutOfMemory } from '../../../../guest/mm/reclaim/out-of-memory.ts';
import { Reclaim } from '../../../../guest/mm/reclaim/reclaim.ts';
import { Shrinkers } from '../../../../guest/mm/reclaim/shrinkers.ts';
import type { SpacesOptions } from '../../../../guest/mm/space/spaces.ts';
import { MIB } from '../../../../shared/lib/units.ts';
import { World } from '../space/support.ts';

export type ReclaimWorldOptions = Partial<SpacesOptions> & {
  readonly swapMib?: number;
  /** kswapd stays asleep: who needs memory reclaims for himself. */
  readonly noKswapd?: boolean;
};

/** A guest's memory with all that takes some of it back, as a kernel has it. */
export class ReclaimWorld extends World {
  readonly shrinkers = new Shrinkers();
  readonly notifiers = new OomNotifierChain();
  readonly compaction: Compaction;
  readonly reclaim: Reclaim;
  /** [order, highest zone] of every time that kcompactd was woken. */
  readonly kcompactdWakes: [number, number][] = [];
  killWorst: () => boolean = () => false;

  constructor(mib = 64, { swapMib = 0, noKswapd = false, ...options }: ReclaimWorldOptions = {}) {
    const late: { kswapd?: Kswapd } = {};
    super(mib, options, {
      wakeKswapd: (_zone, order, gfp, highest) => late.kswapd?.wakeup(order, gfp, highest),
    });
    const { allocator, balloons } = this.memory;
    this.compaction = new Compaction({ allocator, balloons, lru: new SpacePages(this.spaces) });
    this.reclaim = new Reclaim({
      spaces: this.spaces,
      shrinkers: this.shrinkers,
      compaction: this.compaction,
      swapBytes: swapMib * MIB,
      wakeKcompactd: (order, zone) => void this.kcompactdWakes.push([order, zone]),
      resetSkipHints: () => this.compaction.resetSkipHints(),
    });
    late.kswapd = this.reclaim.kswapd;
    if (noKswapd) this.reclaim.node.kswapdFailures = Number.POSITIVE_INFINITY;
    const outOfMemory = new OutOfMemory({
      allocator,
      vmstat: this.vmstat,
      notifiers: this.notifiers,
      killWorst: () => this.killWorst(),
    });
    this.spaces.supply.slowPath = this.compaction.slowPath({
      reclaim: (order, gfp, asking) => this.reclaim.tryToFreePages({ order, gfp, asking }),
      mayOom: (order, gfp) => outOfMemory.mayOom(order, gfp),
    });
    this.spaces.isPreempted = () => this.reclaim.kswapd.isRunning;
  }

  /** try_to_free_pages for one page of a process. */
  directReclaim(gfp = GFP_HIGHUSER_MOVABLE): number {
    const request = { order: 0, gfp, asking: { killed: false } };
    return this.run(this.reclaim.tryToFreePages(request));
  }
}
