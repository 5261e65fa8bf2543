import { beforeEach, describe, expect, it } from 'vitest';
import type { BalloonDevInfo } from '../../../guest/mm/balloon/balloon-dev-info.ts';
import { GuestMemory } from '../../../guest/mm/memory.ts';
import { addToFreeListTail, delFromFreeList } from '../../../guest/mm/page/free-area.ts';
import { GFP_HIGHUSER_MOVABLE, MIGRATETYPE } from '../../../guest/mm/page/gfp.ts';
import { PAGE_EVENT } from '../../../guest/mm/page/page-lifecycle.ts';
import { listDel } from '../../../guest/mm/page/page-list.ts';
import type { Zone } from '../../../guest/mm/page/zone.ts';
import { MIB, PAGE_SIZE } from '../../../shared/lib/units.ts';

let memory: GuestMemory;
let book: BalloonDevInfo;

beforeEach(() => {
  memory = GuestMemory.boot({ memoryBytes: 64 * MIB });
  book = memory.newBalloon({ adjustManagedPageCount: true });
});

describe('guest memory', () => {
  it('announces regions that add up to its RAM', () => {
    const pages = memory.regions.reduce((sum, { count }) => sum + count, 0);
    expect(pages * PAGE_SIZE).toBe(64 * MIB);
  });

  it('costs at most 24 bytes a frame', () => {
    const { pages } = memory;
    const bytes = pages.words.byteLength + pages.tags.byteLength + pages.states.size;
    expect(bytes / pages.pageCount).toBeLessThan(24);
  });

  it('calls up to kswapd through its hook', () => {
    const woken = new Set<string>();
    const hooks = { wakeKswapd: (zone: Zone) => void woken.add(zone.name) };
    const { allocator } = GuestMemory.boot({ memoryBytes: 64 * MIB, hooks });
    while (allocator.allocBalloonPage() >= 0);
    expect(woken).toContain('DMA32');
  });
});

describe('a discard', () => {
  it('zeroes the content of exactly the frames named', () => {
    memory.pages.tags.fill(9, 5000, 5100);
    memory.discard([
      { start: 5001, count: 3 },
      { start: 5050, count: 1 },
    ]);
    const zeroed = Array.from({ length: 100 }, (_, index) => 5000 + index).filter(
      (pfn) => memory.pages.tags[pfn] === 0,
    );
    expect(zeroed).toEqual([5001, 5002, 5003, 5050]);
  });

  it('of frames that do not exist does nothing: a host may send anything', () => {
    memory.pages.tags[memory.pages.pageCount - 1] = 9;
    memory.discard([
      { start: memory.pages.pageCount, count: 10 },
      { start: 0xffffffff, count: 0xffffffff },
    ]);
    expect(memory.pages.tags[memory.pages.pageCount - 1]).toBe(9);
    memory.discard([{ start: memory.pages.pageCount - 1, count: 0xffffffff }]);
    expect(memory.pages.tags[memory.pages.pageCount - 1]).toBe(0);
  });
});

describe('verify', () => {
  it('finds nothing wrong after boot, use and a balloon', () => {
    const pfns = Array.from({ length: 100 }, () => memory.allocator.alloc(0, GFP_HIGHUSER_MOVABLE));
    for (const pfn of pfns.slice(0, 50)) memory.allocator.free(pfn, 0);
    book.enqueue(memory.allocator.allocBalloonPage());
    expect(memory.verify()).toEqual([]);
  });

  const zone = () => memory.allocator.zones[1];
  const firstBlock = (order: number): number => {
    const { words } = memory.pages;
    for (let type = 0; type < 3; type++) {
      const list = zone().freeList(order, type);
      if (words[list << 2] - 1 !== list) return words[list << 2] - 1;
    }
    throw new Error(`no free block of order ${order}`);
  };

  it.each<[string, () => void]>([
    ['nr_free counts the blocks of an order', () => zone().nrFree[3]++],
    ['the zone counts its free frames', () => zone().modFreePages(1)],
    ['per-CPU lists hold what they count', () => zone().pcp.count++],
    ['all free frames are on lists', () => listDel(memory.pages.words, firstBlock(4))],
    ['all pcp frames are on lists', () => listDel(memory.pages.words, pcpFrame())],
    [
      'every frame of a listed block is free',
      () => memory.pages.states.step(firstBlock(4) + 3, PAGE_EVENT.take),
    ],
    [
      'every frame of a cached block is pcp',
      () => memory.pages.states.step(pcpFrame(), PAGE_EVENT.handOut),
    ],
    ['a listed block begins with its order', () => setBlockOrder(firstBlock(4), 3)],
    ['free buddies are merged', unmerge],
    [
      'I5: inflated less deflated is in the balloons',
      () => memory.balloons.events.balloon_inflate++,
    ],
    ['I6: managed pages are those of boot', () => zone().managedPages++],
    ['I1: isolated balloon pages are counted', () => step(inflated(), PAGE_EVENT.isolate)],
    ['I2: a listed balloon page is one', () => step(inflated(), PAGE_EVENT.deflate)],
    ['a balloon page has a reference', () => memory.pages.words.fill(0, ...refcountOf(inflated()))],
    ['I1: balloon pages are listed', () => listDel(memory.pages.words, inflated())],
  ])('names it: %s', (invariant, damage) => {
    expect(memory.verify()).toEqual([]);
    damage();
    expect(memory.verify().filter((line) => line.startsWith(invariant))).toHaveLength(1);
  });

  function step(pfn: number, event: number): void {
    memory.pages.states.step(pfn, event);
  }

  /** The words of a frame that are its reference count. */
  function refcountOf(pfn: number): [number, number] {
    return [(pfn << 2) + 3, (pfn << 2) + 4];
  }

  function inflated(): number {
    const pfn = memory.allocator.allocBalloonPage();
    book.enqueue(pfn);
    return pfn;
  }

  function pcpFrame(): number {
    const pfn = memory.allocator.alloc(0, GFP_HIGHUSER_MOVABLE);
    memory.allocator.free(pfn, 0);
    return pfn;
  }

  function setBlockOrder(pfn: number, order: number): void {
    memory.pages.words[(pfn << 2) + 2] = (memory.pages.words[(pfn << 2) + 2] & ~0xf) | (order + 1);
  }

  /** Cuts a block in two and lists both halves. */
  function unmerge(): void {
    const pfn = firstBlock(4);
    delFromFreeList(zone(), pfn, 4);
    for (const half of [pfn, pfn + 8]) addToFreeListTail(zone(), half, 3, MIGRATETYPE.movable);
  }
});
