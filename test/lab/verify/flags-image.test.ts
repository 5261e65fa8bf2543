import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { FRAME } from '../../../guest/mm/page/page-dump.ts';
import type { ZoneState } from '../../../lab/verify/boot-state.ts';
import { flagsImage } from '../../../lab/verify/flags-image.ts';
import { PageFlags } from '../../../lab/verify/page-flags.ts';
import { readSnapshots } from '../../../lab/verify/snapshots.ts';

const KPF = { lru: 5, slab: 7, buddy: 10, anon: 12, head: 15, tail: 16, offline: 23, reserved: 32 };

/** Flags of so many frames, each with the bits that `of` names. */
function flags(pageCount: number, of: (pfn: number) => readonly (keyof typeof KPF)[]): PageFlags {
  const words = new BigUint64Array(pageCount);
  for (let pfn = 0; pfn < pageCount; pfn++) {
    for (const name of of(pfn)) words[pfn] |= 1n << BigInt(KPF[name]);
  }
  return new PageFlags(new Uint8Array(words.buffer));
}

const NOBODY: ZoneState['pcp'] = { count: 0, high: 0, batch: 1 };

function zone(name: ZoneState['name'], startPfn: number, pages: number): ZoneState {
  return {
    ...{ name, startPfn, spannedPages: pages, presentPages: pages, managedPages: pages },
    ...{ watermark: [1, 2, 3] as const, lowmemReserve: [0, 0, 0, 0], pcp: NOBODY },
    ...{ freeBlocks: [], pageblocks: [] },
  };
}

describe('flags of frames', () => {
  it('are read as 64-bit words', () => {
    const read = flags(16, (pfn) => {
      if (pfn === 1) return ['lru', 'anon'];
      if (pfn === 2) return ['lru'];
      if (pfn === 4) return ['head'];
      if (pfn > 4 && pfn < 8) return ['tail'];
      return pfn === 3 ? ['reserved'] : [];
    });
    expect([1, 2, 3].map((pfn) => read.describe(pfn))).toEqual([
      FRAME.lru,
      FRAME.lru | FRAME.file,
      0,
    ]);
    expect([read.isReserved(3), read.isReserved(2), read.isPlain(0)]).toEqual([true, false, true]);
    expect([read.compoundOrder(4), read.compoundOrder(5), read.compoundOrder(99)]).toEqual([
      2, 0, 0,
    ]);
  });
});

describe('an image made from them', () => {
  it('has the free frames in the largest blocks they make', () => {
    const image = flagsImage(
      flags(8192, (pfn) => {
        if (pfn >= 4096 + 512 && pfn < 4096 + 1024) return ['offline'];
        if (pfn === 4096 + 1030) return ['slab'];
        return pfn >= 4096 ? ['buddy'] : ['reserved'];
      }),
      [zone('DMA32', 4096, 4096)],
    );
    const area = image.zones[0].free_area;
    expect(area[10].movable).toEqual([6144, 7168]);
    expect([area[9].movable, area[9].reclaimable]).toEqual([[4096], [5632]]);
    expect(Object.values(area[8]).flat()).toEqual([5376]);
    // Slab makes a pageblock reclaimable, and what was taken with it.
    expect(image.pageblock_migratetype.slice(8, 13)).toEqual([1, 1, 2, 2, 1]);
  });
});

describe('snapshots of a guest', () => {
  it('name their counters; what is missing is 0', () => {
    const directory = mkdtempSync(join(tmpdir(), 'puff-snapshots-'));
    try {
      expect(readSnapshots(directory)).toEqual([]);
      const lines = [
        { label: 'before', vmstat: 'compact_isolated 5\nballoon_migrate 2' },
        { label: 'after' },
      ];
      const text = lines.map((line) => JSON.stringify(line)).join('\n');
      writeFileSync(join(directory, 'guest.jsonl.gz'), gzipSync(text));
      const [before, after] = readSnapshots(directory);
      expect([before.label, before.vmstat('balloon_migrate')]).toEqual(['before', 2]);
      expect([after.vmstat('balloon_migrate'), after.zones]).toEqual([0, []]);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});
