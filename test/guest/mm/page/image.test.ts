import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { GuestMemory } from '../../../../guest/mm/memory.ts';
import { MIGRATETYPE } from '../../../../guest/mm/page/gfp.ts';
import { type FreeListDump, freeListDumpSchema } from '../../../../guest/mm/page/image.ts';
import { PAGE_STATE } from '../../../../guest/mm/page/page-lifecycle.ts';
import { PAGEBLOCK_ORDER } from '../../../../guest/mm/page/page-map.ts';
import { parseKmemTrace } from '../../../../guest/workload/kmem-trace.ts';
import { compareFreeLists } from '../../../../lab/verify/free-lists.ts';
import { replayTrace } from '../../../../lab/verify/trace-player.ts';
import { MIB } from '../../../../shared/lib/units.ts';

const read = (name: string, recording = 'exact-inflate-512m'): string =>
  gunzipSync(readFileSync(`lab/recordings/${recording}/${name}.gz`)).toString();
const readDump = (label: string, recording?: string): FreeListDump =>
  freeListDumpSchema.parse(JSON.parse(read(`freelists-${label}.json`, recording)));
const before = readDump('before');
const boot = (image: FreeListDump): GuestMemory =>
  GuestMemory.boot({ memoryBytes: 512 * MIB, image });

describe('a guest booted from a recorded dump', () => {
  it('has every list in the recorded order and keeps all invariants', () => {
    const memory = boot(before);
    expect(compareFreeLists(memory.allocator, before)).toEqual([]);
    expect(memory.verify()).toEqual([]);
  });

  it('has the recorded numbers', () => {
    const { allocator } = boot(before);
    expect(allocator.managedPages).toBe(3840 + 116484);
    expect(allocator.nrFree()).toBe(3808 + 78566);
    const [, dma32] = allocator.zones;
    expect([...dma32.watermark]).toEqual([663, 828, 993, 1158]);
    expect([dma32.pcp.count, dma32.pcp.high, dma32.pcp.batch]).toEqual([440, 828, 31]);
    expect([...allocator.zones[0].lowmemReserve]).toEqual([0, 445, 445]);
  });

  it('takes everything that is on no list for allocated', () => {
    const memory = boot(before);
    const { states } = memory.pages;
    const inZones = 3998 - 158 + 126944;
    expect(states.countOf(PAGE_STATE.allocated)).toBe(inZones - 3808 - 78566 - 440);
  });

  it('takes the optional values of a dump where they are there', () => {
    const zones = before.zones.map((zone) => ({
      ...zone,
      watermark_boost: 5,
      nr_reserved_highatomic: 512,
      flags: 3,
      pcp: { ...zone.pcp, free_factor: 2 },
    }));
    const [, zone] = boot({ ...before, zones }).allocator.zones;
    expect([zone.watermarkBoost, zone.nrReservedHighatomic]).toEqual([5, 512]);
    expect([zone.boostedWatermark, zone.reclaimActive, zone.pcp.freeFactor]).toEqual([
      true,
      true,
      2,
    ]);
  });

  it('takes a per-CPU frame for what its list is, whatever its pageblock is', () => {
    const pfn = before.zones[1].pcp.lists[MIGRATETYPE.unmovable][0];
    const types = before.pageblock_migratetype.map((type, block) =>
      block === pfn >>> PAGEBLOCK_ORDER ? MIGRATETYPE.movable : type,
    );
    const { pages } = boot({ ...before, pageblock_migratetype: types });
    expect(pages.cachedType(pfn)).toBe(MIGRATETYPE.unmovable);
  });

  it('counts the highatomic reserve where the dump does not tell it', () => {
    const types = before.pageblock_migratetype.map((type, block) => {
      return block === 100 || block === 101 ? MIGRATETYPE.highatomic : type;
    });
    const reserve = (image: FreeListDump) => boot(image).allocator.zones[1].nrReservedHighatomic;
    const untold = { ...before, pageblock_migratetype: types };
    expect([reserve(before), reserve(untold)]).toEqual([0, 1024]);
    const zones = before.zones.map((zone) => ({ ...zone, nr_reserved_highatomic: 512 }));
    expect(reserve({ ...untold, zones })).toBe(512);
  });

  it('refuses a dump of a guest of another size', () => {
    const other = () => GuestMemory.boot({ memoryBytes: 256 * MIB, image: before });
    expect(other).toThrow('a free-list dump is of a guest of this size');
  });

  it('refuses what is no dump', () => {
    expect(freeListDumpSchema.safeParse({ zones: [] }).success).toBe(false);
    const [zone] = before.zones;
    const short = { ...before, zones: [{ ...zone, free_area: zone.free_area.slice(1) }] };
    expect(freeListDumpSchema.safeParse(short).success).toBe(false);
  });
});

const all = (count: number) => ({
  expected: count,
  produced: count,
  equal: count,
  firstDifference: undefined,
});

describe('exact-inflate-512m: given the same requests', () => {
  const events = parseKmemTrace(read('kmem-trace.txt'));
  const memory = boot(before);
  const report = replayTrace(memory, events);

  it('hands out the same frames in the same order, 54,373 of 54,373', () => {
    expect(report.allocations).toEqual(all(54_373));
    expect(report.impossibleFrees).toBe(0);
  });

  it('takes the same blocks from the free lists in the same order', () => {
    expect(report.zoneLocked).toEqual(all(54_048));
    expect(report.fallbacks).toEqual(all(0));
  });

  it('drains the same blocks from the per-CPU lists in the same order', () => {
    expect(report.drains).toEqual(all(54_322));
  });

  it('ends with every list in the recorded order', () => {
    expect(compareFreeLists(memory.allocator, readDump('after'))).toEqual([]);
    expect(memory.verify()).toEqual([]);
  });
});

describe('exact-pressure-512m: given the same requests', () => {
  const name = 'exact-pressure-512m';
  const report = replayTrace(
    boot(readDump('before', name)),
    parseKmemTrace(read('kmem-trace.txt', name)),
  );

  it('falls back where the kernel did: block, both orders and both types, 5 of 5', () => {
    expect(report.fallbacks).toEqual(all(5));
  });

  it('takes and drains the same blocks in the same order', () => {
    expect(report.zoneLocked).toEqual(all(107_585));
    expect(report.drains).toEqual(all(93_555));
  });
});
