import { describe, expect, it } from 'vitest';
import { GuestMemory } from '../../../guest/mm/memory.ts';
import { GFP_HIGHUSER_MOVABLE, GFP_KERNEL } from '../../../guest/mm/page/gfp.ts';
import { REFCOUNT_WORD } from '../../../guest/mm/page/page-map.ts';
import { MIB } from '../../../shared/lib/units.ts';

/** A guest whose allocator is used a little: a block of order 3, a page, and one that was freed. */
function scene() {
  const memory = GuestMemory.boot({ memoryBytes: 64 * MIB });
  const { allocator, pages } = memory;
  const [, zone] = allocator.zones;
  const block = allocator.alloc(3, GFP_KERNEL);
  const page = allocator.alloc(0, GFP_HIGHUSER_MOVABLE);
  const freed = allocator.alloc(0, GFP_HIGHUSER_MOVABLE);
  allocator.free(freed, 0);
  if (zone === undefined) throw new Error('a guest has a DMA32 zone');
  expect(memory.verify()).toEqual([]);
  return { memory, pages, block, page, freed, zone };
}

type Scene = ReturnType<typeof scene>;

const setReferences = ({ pages }: Scene, pfn: number, count: number): void => {
  pages.words[(pfn << 2) + REFCOUNT_WORD] = count;
};

/** Each breaks one thing; the verifier has to name it. What lists hold is in memory.test.ts. */
const BREAKAGES: Record<string, (scene: Scene) => void> = {
  'a frame without an owner has no reference': (scene) => setReferences(scene, scene.freed, 1),
  'a frame in use has a holder': (scene) => setReferences(scene, scene.page, 0),
  'a block in use is so as a whole': (scene) => setReferences(scene, scene.block + 3, 1),
  'watermarks ascend': ({ zone }) => {
    zone.watermark[0] = 1e6;
  },
  'nr_reserved_highatomic counts the reserve': ({ zone }) => {
    zone.nrReservedHighatomic += 512;
  },
  'a zone manages frames that it has': ({ zone }) => {
    zone.managedPages = zone.presentPages + 1;
  },
  'NR_FREE_PAGES lags by its threshold at most': ({ zone }) => {
    zone.statThreshold = 100;
    zone.modFreePages(50);
    zone.statThreshold = 2;
  },
  'populations count their frames': ({ pages }) => {
    pages.states.count[0]++;
  },
};

describe('the verifier of allocator and balloons', () => {
  for (const [invariant, breakIt] of Object.entries(BREAKAGES)) {
    it(`sees that "${invariant}" no longer holds`, () => {
      const broken = scene();
      breakIt(broken);
      const named = broken.memory.verify().map((text) => text.split(':')[0]);
      expect(named).toContain(invariant);
    });
  }
});
