import type { Waiting } from '../../sched/scheduler.ts';
import { GFP_KERNEL, ZONE } from '../page/gfp.ts';
import { MAPPING, PG_ACTIVE, PG_DIRTY, PG_SWAPBACKED, PG_UNEVICTABLE } from '../space/frames.ts';
import type { Spaces } from '../space/spaces.ts';
import { directReclaim, type ReclaimFor } from './direct-reclaim.ts';
import { Kswapd, type KswapdOptions } from './kswapd.ts';
import { type CompactionHelp, ReclaimNode } from './reclaim-node.ts';
import { ScanControl } from './scan-control.ts';
import { NodeShrinker } from './shrink-node.ts';
import { PageShrinker, ReclaimStat } from './shrink-pages.ts';
import type { Shrinkers } from './shrinkers.ts';
import { Swap } from './swap.ts';

export interface ReclaimOptions extends Omit<KswapdOptions, 'shrinker'> {
  readonly spaces: Spaces;
  readonly shrinkers: Shrinkers;
  readonly compaction: CompactionHelp;
  /** Size of the swap device; 0: there is none. */
  readonly swapBytes: number;
}

/**
 * Page reclaim of a guest, as mm/vmscan.c of Linux 6.1: what takes memory back from processes and
 * files before anybody is killed for it. One node; kswapd in the background, direct reclaim for
 * who cannot wait for it; anonymous pages go to swap, where there is a device.
 *
 * Not emulated: multi-generation LRU, memory control groups, working-set detection and what it
 * adds to the costs of a list, NUMA, the time that scanning takes.
 */
export class Reclaim {
  readonly node: ReclaimNode;
  readonly kswapd: Kswapd;
  readonly swap: Swap | undefined;
  readonly #shrinker: NodeShrinker;
  readonly #pages: PageShrinker;

  constructor(options: ReclaimOptions) {
    const { spaces, shrinkers, compaction, swapBytes } = options;
    this.swap = swapBytes > 0 ? new Swap(spaces, swapBytes) : undefined;
    spaces.swap = this.swap;
    this.node = new ReclaimNode({ spaces, shrinkers, compaction, swap: this.swap });
    this.#shrinker = new NodeShrinker(this.node);
    this.#pages = new PageShrinker(this.node);
    const { wakeKcompactd, resetSkipHints } = options;
    this.kswapd = new Kswapd({ shrinker: this.#shrinker, wakeKcompactd, resetSkipHints });
    shrinkers.register(deferredSplits(spaces));
  }

  /** try_to_free_pages: returns the pages reclaimed. */
  tryToFreePages(request: ReclaimFor): Waiting<number> {
    return directReclaim(this.#shrinker, request);
  }

  /**
   * reclaim_clean_pages_from_list: of isolated pages that were to be moved, those that only have to
   * be forgotten, since they are on disk as they are. Returns the others; those that would not go
   * stand first.
   */
  reclaimClean(pfns: readonly number[]): readonly number[] {
    const { frames } = this.node.spaces;
    const isClean = (pfn: number): boolean => {
      const isFile = frames.mappingKind(pfn) === MAPPING.file && !frames.has(pfn, PG_SWAPBACKED);
      return isFile && !frames.has(pfn, PG_DIRTY | PG_UNEVICTABLE);
    };
    const clean = pfns.filter(isClean);
    if (clean.length === 0) return pfns;
    for (const pfn of clean) frames.clear(pfn, PG_ACTIVE);
    const sc = new ScanControl({
      gfp: GFP_KERNEL,
      order: 0,
      highestZone: ZONE.normal,
      isKswapd: false,
    });
    sc.ignoreReferences = true;
    const { kept } = this.#pages.shrink(clean, sc, new ReclaimStat());
    const tried = new Set(clean);
    return [...kept].reverse().concat(pfns.filter((pfn) => !tried.has(pfn)));
  }
}

/** deferred_split_shrinker: huge pages of which a part is not used any more. */
function deferredSplits({ hugePages }: Spaces): { count(): number; scan(pages: number): number } {
  return {
    count: () => hugePages.deferredCount,
    scan: (pages) => hugePages.splitDeferred(pages),
  };
}
