import type { PageAllocator } from '../../guest/mm/page/alloc.ts';
import type { FreeListDump } from '../../guest/mm/page/image.ts';
import { ZONE_NAMES, type Zone } from '../../guest/mm/page/zone.ts';

/**
 * Compares what a zone keeps beside its lists with a recorded dump: sizes of the per-CPU lists,
 * watermarks and boost, the highatomic reserve, where compaction stands and what it deferred, and
 * the pageblocks' skip hints. What was not dumped is not compared.
 */

/** One line for each difference; none when all is equal. */
export function compareZoneState(allocator: PageAllocator, dump: FreeListDump): string[] {
  const differences: string[] = [];
  for (const zoneDump of dump.zones) {
    const zone = allocator.zones[ZONE_NAMES.indexOf(zoneDump.name)];
    for (const [name, recorded] of dumpedNumbers(zoneDump)) {
      const actual = numbersOf(zone)[name].join(', ');
      if (recorded.join(', ') === actual) continue;
      differences.push(`${zone.name} ${name}: ${recorded.join(', ')}, not ${actual}`);
    }
  }
  dump.pageblock_skip?.forEach((expected, block) => {
    const actual = allocator.pages.blockSkips[block];
    if (actual === expected) return;
    differences.push(`skip hint of pageblock ${block}: ${expected}, not ${actual}`);
  });
  return differences;
}

/** How many places compareZoneState looks at. */
export function comparedState(dump: FreeListDump): number {
  const numbers = dump.zones.reduce((sum, zone) => sum + dumpedNumbers(zone).length, 0);
  return numbers + (dump.pageblock_skip?.length ?? 0);
}

type ZoneDump = FreeListDump['zones'][number];
type NumberName = keyof ReturnType<typeof numbersOf>;

function dumpedNumbers(dump: ZoneDump): [NumberName, readonly number[]][] {
  const { pcp, compact } = dump;
  const all: [NumberName, readonly (number | null | undefined)[]][] = [
    ['pcp.high', [pcp.high]],
    ['pcp.batch', [pcp.batch]],
    ['watermark', dump.watermark],
    ['watermark_boost', [dump.watermark_boost]],
    ['nr_reserved_highatomic', [dump.nr_reserved_highatomic]],
    ['cached_free_pfn', [compact?.cached_free_pfn]],
    ['cached_migrate_pfn', compact?.cached_migrate_pfn ?? [undefined]],
    ['init_migrate_pfn', [compact?.init_migrate_pfn]],
    ['init_free_pfn', [compact?.init_free_pfn]],
    ['considered', [compact?.considered]],
    ['defer_shift', [compact?.defer_shift]],
    ['order_failed', [compact?.order_failed]],
  ];
  return all.flatMap(([name, values]) => {
    const numbers = values.filter((value) => typeof value === 'number');
    return numbers.length === values.length ? [[name, numbers]] : [];
  });
}

function numbersOf({ pcp, compact, watermark, watermarkBoost, nrReservedHighatomic }: Zone) {
  return {
    'pcp.high': [pcp.high],
    'pcp.batch': [pcp.batch],
    watermark: [...watermark],
    watermark_boost: [watermarkBoost],
    nr_reserved_highatomic: [nrReservedHighatomic],
    cached_free_pfn: [compact.cachedFreePfn],
    cached_migrate_pfn: [...compact.cachedMigratePfn],
    init_migrate_pfn: [compact.initMigratePfn],
    init_free_pfn: [compact.initFreePfn],
    considered: [compact.considered],
    defer_shift: [compact.deferShift],
    order_failed: [compact.orderFailed],
  };
}
