import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  formatSize,
  GIB,
  MIB,
  PAGE_SHIFT,
  PAGE_SIZE,
  PAGES_PER_MIB,
  parseSize,
  SizeError,
} from '../../../shared/lib/units.ts';

it('pages are 4096 bytes', () => {
  expect(PAGE_SIZE).toBe(2 ** PAGE_SHIFT);
  expect(PAGES_PER_MIB * PAGE_SIZE).toBe(MIB);
});

describe('a size', () => {
  it.each([
    ['512', 512 * MIB],
    ['512M', 512 * MIB],
    [' 2g ', 2 * GIB],
    ['1.5G', 1536 * MIB],
    ['4096K', 4 * MIB],
    ['1T', 1024 * GIB],
    ['4097B', 4097],
    ['64MiB', 64 * MIB],
    ['64 MB', 64 * MIB],
    ['0', 0],
  ])('%j is %i bytes', (text, bytes) => {
    expect(parseSize(text)).toBe(bytes);
  });

  it.each(['', 'M', '-1', '1e3', '12X', '1,5G', '0x10', '0.3K', '9999999T', '1 2M'])(
    '%j is refused with what is accepted',
    (text) => {
      expect(() => parseSize(text)).toThrow(SizeError);
      expect(() => parseSize(text)).toThrow(`'${text}' is no size; write a number of MiB`);
    },
  );

  it('is written in the largest unit that keeps it exact', () => {
    const sizes = [0, 1, 4097, 4096, MIB, 1536 * MIB, 2 * GIB, 1024 * GIB];
    const written = ['0B', '1B', '4097B', '4K', '1M', '1536M', '2G', '1T'];
    expect(sizes.map(formatSize)).toEqual(written);
  });

  it('is read back as it was written', () => {
    const bytes = fc.oneof(
      fc.nat(),
      fc.nat(4096).map((pages) => pages * PAGE_SIZE),
      fc.nat(4096).map((gib) => gib * GIB),
    );
    fc.assert(fc.property(bytes, (size) => parseSize(formatSize(size)) === size));
  });
});
