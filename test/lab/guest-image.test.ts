import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, describe, expect, it, test } from 'vitest';
import { GuestMemory } from '../../guest/mm/memory.ts';
import type { FreeListDump } from '../../guest/mm/page/image.ts';
import { readGuestImage } from '../../lab/guest-image.ts';
import { readPackedText } from '../../lab/packed-file.ts';
import { MIB } from '../../shared/lib/units.ts';
import { ROOT } from '../support/puff.ts';

const folder = mkdtempSync(join(tmpdir(), 'puff-image-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const recorded = (name: string): string => {
  return join(ROOT, 'lab/recordings', name, 'freelists-before.json.gz');
};
const { image: real } = readGuestImage(recorded('exact-compact-1g'));

function write(name: string, bytes: Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}

const pack = (name: string, value: unknown): string => {
  return write(name, gzipSync(JSON.stringify(value)));
};

test.each([
  ['exact-inflate-512m', 512],
  ['exact-pressure-512m', 512],
  ['exact-compact-1g', 1024],
])('the image of %s tells that its guest has %i MiB', (name, mib) => {
  const { image, memoryBytes } = readGuestImage(recorded(name));
  expect(memoryBytes).toBe(mib * MIB);
  expect(readGuestImage(recorded(name), mib * MIB).memoryBytes).toBe(memoryBytes);
  expect(GuestMemory.boot({ memoryBytes, image }).verify()).toEqual([]);
});

test('memory of another size is refused with the size to use', () => {
  expect(() => readGuestImage(recorded('exact-inflate-512m'), 1024 * MIB)).toThrow(
    /freelists-before\.json\.gz: is of a guest of 512M, not 1G; use 512M or none$/,
  );
});

describe('a file that is no image is refused in one line with its name', () => {
  const whole = gzipSync('{}');
  test.each([
    ['plain.json', Buffer.from('{}'), /plain\.json: is not gzip$/],
    ['cut.gz', whole.subarray(0, 15), /cut\.gz: is not whole gzip: unexpected end of file$/],
    ['text.gz', gzipSync('zones'), /text\.gz: is not JSON$/],
    ['empty.gz', whole, /empty\.gz: zones: is missing; pageblock_migratetype: is missing$/],
    ['nothing', Buffer.alloc(0), /nothing: is not gzip$/],
  ])('%s', (name, bytes, message) => {
    expect(() => readGuestImage(write(name, bytes))).toThrow(message);
  });

  it('that is not there, or no file', () => {
    expect(() => readGuestImage(join(folder, 'none'))).toThrow(/none: no such file$/);
    expect(() => readGuestImage(folder)).toThrow(/: is no plain file$/);
    expect(() => readGuestImage('/dev/zero')).toThrow('/dev/zero: is no plain file');
    const fifo = join(folder, 'fifo');
    execFileSync('mkfifo', [fifo]);
    expect(() => readGuestImage(fifo)).toThrow(/fifo: is no plain file$/);
  });

  it('or larger than a limit, packed or unpacked', () => {
    const path = pack('large.gz', ' '.repeat(5000));
    const limits = { packedBytes: 4096, unpackedBytes: 4096 };
    expect(() => readPackedText(path, limits)).toThrow(/large\.gz: unpacked it is larger than 4K$/);
    expect(() => readPackedText(path, { ...limits, packedBytes: 10 })).toThrow(
      /large\.gz: is larger than 10B$/,
    );
  });
});

type ZoneDump = FreeListDump['zones'][number];

/** The recorded dump with another DMA32 zone. */
function changed(change: (zone: ZoneDump) => Partial<ZoneDump>): FreeListDump {
  const [dma, dma32] = real.zones as [ZoneDump, ZoneDump];
  return { ...real, zones: [dma, { ...dma32, ...change(dma32) }] };
}

/** One more block on a list of DMA32. */
function withBlock(order: number, pfn: number): FreeListDump {
  return changed(({ free_area: area }) => ({
    free_area: area.map((lists, at) => {
      return at === order ? { ...lists, movable: [...lists.movable, pfn] } : lists;
    }),
  }));
}

describe('a dump that no allocator could have', () => {
  const [, dma32] = real.zones as [ZoneDump, ZoneDump];
  const [large] = (dma32.free_area[10] as ZoneDump['free_area'][number]).movable as [number];
  const compact = { ...dma32.compact, cached_free_pfn: 9_999_999 } as ZoneDump['compact'];
  test.each([
    ['a block twice', withBlock(10, large), /DMA32: PFN \d+ of order 10: frame \d+ is there twice/],
    ['a block in a block', withBlock(0, large + 5), /order 10: frame \d+ is there twice/],
    ['a block askew', withBlock(3, large + 4), /PFN \d+ of order 3 is not aligned/],
    ['a block outside', withBlock(0, 999_999), /PFN 999999 of order 0 is not in the zone/],
    [
      'two buddies',
      changed(() => ({ free_area: dma32.free_area.map(halved(large)) })),
      /PFN \d+ of order 8 and its buddy are both free/,
    ],
    ['a wrong count', changed(({ pcp }) => ({ pcp: { ...pcp, count: 1 } })), /pcp.count is 1/],
    [
      'a large batch',
      changed(({ pcp }) => ({ pcp: { ...pcp, batch: 64 } })),
      /DMA32: batch is 64, of 1 to 63/,
    ],
    ['no watermarks', changed(() => ({ watermark: [0, 0, 0, 0] })), /watermarks do not ascend/],
    ['few managed', changed(() => ({ managed: 5 })), /more frames are free than managed \(5\)/],
    ['a lost scanner', changed(() => ({ compact })), /a scanner of compaction is outside/],
    ['short pageblocks', { ...real, pageblock_migratetype: [1] }, /has 1 of 512 pageblocks/],
    ['a zone twice', { ...real, zones: [...real.zones, dma32] }, /zone DMA32 is there twice/],
    ['one zone', { ...real, zones: [dma32] }, /zones are not those of a guest on QEMU's q35/],
    ['an odd size', changed(() => ({ spanned: 5000 })), /zones are not those of a guest/],
  ])('%s', (_name, dump, message) => {
    expect(() => readGuestImage(pack('odd.gz', dump))).toThrow(message);
  });
});

/** The block of order 10 at `pfn` as four of order 8. */
function halved(pfn: number) {
  return (lists: ZoneDump['free_area'][number], order: number): typeof lists => {
    if (order === 8) {
      const quarters = [0, 256, 512, 768].map((offset) => pfn + offset);
      return { ...lists, movable: [...lists.movable, ...quarters] };
    }
    if (order !== 10) return lists;
    return { ...lists, movable: lists.movable.filter((other) => other !== pfn) };
  };
}
