import type { PageAllocator } from '../../guest/mm/page/alloc.ts';
import { MIGRATETYPE_NAMES } from '../../guest/mm/page/gfp.ts';
import type { FreeListDump } from '../../guest/mm/page/image.ts';
import { listNodes } from '../../guest/mm/page/page-list.ts';
import { ZONE_NAMES, type Zone } from '../../guest/mm/page/zone.ts';

/**
 * Compares every free list and per-CPU list, in order, the pageblocks' migratetypes and the
 * counts with a recorded dump. Returns one line for each difference; none when all is equal.
 */
export function compareFreeLists(allocator: PageAllocator, dump: FreeListDump): string[] {
  const differences: string[] = [];
  for (const zoneDump of dump.zones) {
    const zone = allocator.zones[ZONE_NAMES.indexOf(zoneDump.name)];
    const compare = (what: string, list: number, expected: readonly number[]): void => {
      const difference = compareList(zone, list, expected);
      if (difference !== '') differences.push(`${zone.name} ${what}: ${difference}`);
    };
    zoneDump.free_area.forEach((area, order) => {
      MIGRATETYPE_NAMES.forEach((name, migratetype) => {
        compare(`order ${order} ${name}`, zone.freeList(order, migratetype), area[name]);
      });
    });
    zoneDump.pcp.lists.forEach((expected, pindex) => {
      compare(`per-CPU list ${pindex}`, zone.pcp.list(pindex), expected);
    });
    const { free_factor: freeFactor } = zoneDump.pcp;
    if (typeof freeFactor === 'number' && freeFactor !== zone.pcp.freeFactor) {
      differences.push(`${zone.name} free_factor: ${freeFactor}, not ${zone.pcp.freeFactor}`);
    }
  }
  dump.pageblock_migratetype.forEach((expected, block) => {
    const actual = allocator.pages.blockTypes[block];
    if (actual !== expected) differences.push(`pageblock ${block}: ${expected}, not ${actual}`);
  });
  return differences;
}

/** The first place where a list is not as expected; '' when it is. */
function compareList(zone: Zone, list: number, expected: readonly number[]): string {
  const actual = [...listNodes(zone.words, list)];
  const length = Math.max(actual.length, expected.length);
  for (let index = 0; index < length; index++) {
    if (actual[index] === expected[index]) continue;
    const lengths = `${expected.length} and ${actual.length} blocks`;
    return `recorded ${expected[index]}, emulated ${actual[index]} at ${index}; ${lengths}`;
  }
  return '';
}

/** How many places compareFreeLists looks at: lists, free factors that were dumped, pageblocks. */
export function comparedPlaces(dump: FreeListDump): number {
  const zones = dump.zones.map(({ free_area, pcp }) => {
    const lists = free_area.length * MIGRATETYPE_NAMES.length + pcp.lists.length;
    return lists + (typeof pcp.free_factor === 'number' ? 1 : 0);
  });
  return zones.reduce((sum, places) => sum + places, dump.pageblock_migratetype.length);
}
