import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { GuestMemory } from '../../../../guest/mm/memory.ts';
import { MAX_ORDER } from '../../../../guest/mm/page/page-map.ts';
import { MIB } from '../../../../shared/lib/units.ts';
import { ROOT } from '../../../support/puff.ts';

/** How near a fresh guest's memory is to what recorded guests showed right after their boot. */
interface Snapshot {
  readonly label: string;
  readonly meminfo: string;
  readonly buddyinfo: string;
  readonly pagetypeinfo: string;
}

function bootSnapshot(recording: string): Snapshot {
  const path = join(ROOT, 'lab/recordings', recording, 'guest.jsonl.gz');
  const [line = ''] = gunzipSync(readFileSync(path)).toString().split('\n');
  const snapshot: Snapshot = JSON.parse(line);
  expect(snapshot.label).toBe('boot');
  return snapshot;
}

/** Free blocks by order, all zones together. */
function buddyinfo({ buddyinfo: text }: Snapshot): number[] {
  const rows = text.trim().split('\n');
  const counts = rows.map((row) => row.trim().split(/\s+/).slice(4).map(Number));
  return Array.from({ length: MAX_ORDER }, (_, order) => {
    return counts.reduce((sum, row) => sum + (row[order] ?? 0), 0);
  });
}

function meminfo({ meminfo: text }: Snapshot, name: string): number {
  return Number(new RegExp(`^${name}: +(\\d+) kB$`, 'm').exec(text)?.[1]) / 4;
}

/** Pageblocks of DMA32: unmovable, movable, reclaimable. */
function pageblocks({ pagetypeinfo: text }: Snapshot): number[] {
  const row = text.split('\n').findLast((line) => /^Node 0, zone +DMA32/.test(line)) ?? '';
  return row.trim().split(/\s+/).slice(4, 7).map(Number);
}

const difference = (actual: number, recorded: number): number => {
  return Math.abs(actual - recorded) / recorded;
};

describe.each([
  ['out-of-puff-256m', 256, 0],
  ['deflate-on-oom-512m', 512, 6],
  ['page-reporting-512m', 512, 6],
  ['free-page-hint-512m', 512, 6],
  ['compaction-1g', 1024, 31],
])('a fresh guest beside %s', (recording, mib, unmovableMissing) => {
  const recorded = bootSnapshot(recording);
  const { allocator, pages } = GuestMemory.boot({ memoryBytes: mib * MIB });
  const blocks = Array.from({ length: MAX_ORDER }, (_, order) => {
    return allocator.zones.reduce((sum, zone) => sum + zone.nrFree[order], 0);
  });

  test('MemTotal is the same; free and available pages are within 0.6 %', () => {
    const { memTotal, memFree, memAvailable } = allocator.memInfo();
    expect(memTotal).toBe(meminfo(recorded, 'MemTotal'));
    expect(difference(memFree, meminfo(recorded, 'MemFree'))).toBeLessThan(0.006);
    expect(difference(memAvailable, meminfo(recorded, 'MemAvailable'))).toBeLessThan(0.006);
  });

  test('as many blocks of order 10 are free, and of each smaller order to within 4', () => {
    const expected = buddyinfo(recorded);
    expect(blocks[10]).toBe(expected[10]);
    const apart = blocks.map((count, order) => Math.abs(count - (expected[order] as number)));
    expect(Math.max(...apart), `${blocks} beside ${expected}`).toBeLessThanOrEqual(4);
  });

  test(`as many pageblocks are reclaimable; ${unmovableMissing} fewer are unmovable`, () => {
    const counts = [0, 0, 0];
    for (let block = 8; block < mib / 2; block++) counts[pages.blockTypes[block] as number]++;
    const [unmovable, movable, reclaimable] = pageblocks(recorded) as [number, number, number];
    const moved = unmovableMissing;
    expect(counts).toEqual([unmovable - moved, movable + moved, reclaimable]);
  });
});
