import { MIGRATETYPE } from '../../../guest/mm/page/gfp.ts';
import { type FreeListDump, freeListDumpSchema } from '../../../guest/mm/page/image.ts';

/** Pageblocks of the guest of `smallDump`. */
const PAGEBLOCKS = 32;

/** What is not in use in a small guest. */
export interface SmallDump {
  /** First PFNs of free movable blocks, by their order. */
  readonly movable: Readonly<Record<number, readonly number[]>>;
  readonly batch: number;
  /** Frames on the per-CPU list of movable pages; none if left out. */
  readonly cached?: readonly number[];
  /** Migratetype of each pageblock; all are movable if left out. */
  readonly typeOf?: (block: number) => number;
}

/** A dump of a 64 MiB guest whose DMA32 zone has these free, and all other frames in use. */
export function smallDump({ movable, batch, cached = [], typeOf }: SmallDump): FreeListDump {
  const pcpLists = Array.from({ length: 13 }, (_, pindex) => (pindex === 1 ? cached : []));
  return freeListDumpSchema.parse({
    zones: [
      {
        name: 'DMA32',
        start_pfn: 4096,
        managed: 12000,
        spanned: 12256,
        present: 12256,
        watermark: [1, 2, 3, 4],
        lowmem_reserve: [0, 0, 0, 0, 0],
        free_area: Array.from({ length: 11 }, (_, order) => ({
          ...{ unmovable: [], movable: movable[order] ?? [], reclaimable: [] },
          ...{ highatomic: [], isolate: [] },
        })),
        pcp: { count: cached.length, high: 100, batch, lists: pcpLists },
      },
    ],
    pageblock_migratetype: Array.from({ length: PAGEBLOCKS }, (_, block) => {
      return typeOf?.(block) ?? MIGRATETYPE.movable;
    }),
  });
}
