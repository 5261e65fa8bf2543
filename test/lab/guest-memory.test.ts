import { describe, expect, it } from 'vitest';
import { parseGuestMemory, parseSwapSize } from '../../lab/guest-memory.ts';
import { GIB, MIB } from '../../shared/lib/units.ts';

describe('sizes as people write them', () => {
  it('RAM is 64 MiB to 64 GiB, whole MiB', () => {
    expect(parseGuestMemory('1G')).toBe(GIB);
    for (const text of ['63M', '65G', '100000K', 'much']) {
      expect(() => parseGuestMemory(text), text).toThrow();
    }
  });

  it('a swap device is 1 MiB to 64 GiB, whole MiB', () => {
    expect([parseSwapSize('1M'), parseSwapSize('64G')]).toEqual([MIB, 64 * GIB]);
    for (const text of ['0', '1025K', '65G', 'some']) {
      expect(() => parseSwapSize(text), text).toThrow();
    }
  });
});
