import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  VIRTIO_BALLOON_F_FREE_PAGE_HINT,
  VIRTIO_BALLOON_F_PAGE_POISON,
  VIRTIO_BALLOON_F_REPORTING,
  VIRTIO_BALLOON_F_STATS_VQ,
} from '../../../shared/virtio/balloon.ts';
import {
  CONFIG_FIELDS,
  type ConfigAccess,
  ConfigSpace,
  type ConfigViolation,
  configSizeBytes,
} from '../../../shared/virtio/config-space.ts';
import { DEVICE_NEEDS_RESET, FAILED } from '../../../shared/virtio/device-status.ts';
import { featureSet } from '../../../shared/virtio/features.ts';

const HINT = featureSet([VIRTIO_BALLOON_F_FREE_PAGE_HINT]);
const POISON = featureSet([VIRTIO_BALLOON_F_PAGE_POISON]);
const LIVE: ConfigAccess = { status: 15, negotiated: HINT | POISON };
const SETUP: ConfigAccess = { status: 11, negotiated: HINT | POISON };

type Write = Parameters<ConfigSpace['driverWrite']>;

function le32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}

describe('the size that QEMU advertises', () => {
  it.each([
    ['nothing', 0n, 8],
    [
      'statistics and reporting',
      featureSet([VIRTIO_BALLOON_F_STATS_VQ, VIRTIO_BALLOON_F_REPORTING]),
      8,
    ],
    ['hinting', HINT, 12],
    ['poisoning', POISON, 16],
    ['hinting and poisoning', HINT | POISON, 16],
  ])('follows the last field that %s bring', (_what, offered, sizeBytes) => {
    expect(configSizeBytes(offered)).toBe(sizeBytes);
  });

  it('is the whole structure with qemu-4-0-config-size', () => {
    expect(configSizeBytes(0n, true)).toBe(16);
    expect(configSizeBytes(POISON, true)).toBe(16);
  });
});

describe('the config space', () => {
  it('N07: is little-endian', () => {
    const space = new ConfigSpace(16);
    space.deviceWrite('num_pages', 0x0102_0304);
    space.deviceWrite('free_page_hint_cmd_id', 0x8000_0001);
    expect([...space.bytes]).toEqual([4, 3, 2, 1, 0, 0, 0, 0, 1, 0, 0, 0x80, 0, 0, 0, 0]);
    expect(space.read('free_page_hint_cmd_id')).toBe(0x8000_0001);
  });

  it('holds every target up to 2^32 - 1 pages', () => {
    const space = new ConfigSpace(8);
    space.deviceWrite('num_pages', 0xffff_ffff);
    expect(space.read('num_pages')).toBe(0xffff_ffff);
    expect(() => space.deviceWrite('num_pages', 2 ** 32)).toThrow(
      'config value is no 32-bit number',
    );
    expect(() => space.deviceWrite('num_pages', -1)).toThrow('config value is no 32-bit number');
  });

  it('copies its initial content', () => {
    const content = le32(7);
    const space = new ConfigSpace(Uint8Array.of(...content, ...content));
    content[0] = 9;
    expect(space.read('num_pages')).toBe(7);
    expect(space.read('actual')).toBe(7);
  });

  it('has a field only where its bytes are', () => {
    const present = (sizeBytes: number): string[] => {
      const space = new ConfigSpace(sizeBytes);
      return CONFIG_FIELDS.map(({ name }) => name).filter((name) => space.has(name));
    };
    expect(present(8)).toEqual(['num_pages', 'actual']);
    expect(present(12)).toEqual(['num_pages', 'actual', 'free_page_hint_cmd_id']);
    expect(present(15)).toEqual(['num_pages', 'actual', 'free_page_hint_cmd_id']);
    expect(present(16)).toHaveLength(4);
    expect(() => new ConfigSpace(8).read('poison_val')).toThrow('config field read past the end');
    expect(() => new ConfigSpace(8).deviceWrite('poison_val', 1)).toThrow(
      'config field written past the end',
    );
  });
});

describe('G80: the generation', () => {
  it('changes when the device changes a field, and only then', () => {
    const space = new ConfigSpace(16, 5);
    expect(space.deviceWrite('num_pages', 256)).toBe(true);
    expect(space.generation).toBe(6);
    expect(space.deviceWrite('num_pages', 256)).toBe(false);
    expect(space.generation).toBe(6);
    expect(space.driverWrite(4, le32(256), LIVE)).toBeUndefined();
    expect(space.generation).toBe(6);
  });

  it('wraps as a 32-bit number', () => {
    const space = new ConfigSpace(8, 0xffff_ffff);
    space.deviceWrite('num_pages', 1);
    expect(space.generation).toBe(0);
  });
});

describe('what a driver may write', () => {
  it('`actual`, in one access, from FEATURES_OK on', () => {
    const space = new ConfigSpace(16);
    expect(space.driverWrite(4, le32(512), SETUP)).toBeUndefined();
    expect(space.driverWrite(4, le32(768), LIVE)).toBeUndefined();
    expect(space.read('actual')).toBe(768);
  });

  it('N55: `poison_val` before DRIVER_OK', () => {
    const space = new ConfigSpace(16);
    expect(space.driverWrite(12, le32(0xaaaa_aaaa), SETUP)).toBeUndefined();
    expect(space.read('poison_val')).toBe(0xaaaa_aaaa);
  });

  it('also while the device needs a reset, which the driver may not know yet', () => {
    const access = { ...LIVE, status: 15 | DEVICE_NEEDS_RESET };
    expect(new ConfigSpace(16).driverWrite(4, le32(1), access)).toBeUndefined();
  });
});

describe('what a driver may not write', () => {
  const whole = le32(1);
  const during = (status: number): ConfigAccess => ({ ...LIVE, status });
  const noPoison: ConfigAccess = { ...SETUP, negotiated: HINT };
  const part = (from: number, to: number): Uint8Array => whole.subarray(from, to);
  it.each<[what: string, violation: ConfigViolation, ...write: Write]>([
    ['N56: `poison_val` with DRIVER_OK set', 'config-after-driver-ok', 12, whole, LIVE],
    ['G25: `poison_val` not negotiated', 'config-not-negotiated', 12, whole, noPoison],
    ['X5: `num_pages`', 'config-device-field', 0, whole, LIVE],
    ['`free_page_hint_cmd_id`', 'config-device-field', 8, whole, LIVE],
    ['N23: a part of `actual`', 'config-partial', 4, part(0, 2), LIVE],
    ['N23: the last byte of `actual`', 'config-partial', 7, part(0, 1), LIVE],
    ['nothing', 'config-partial', 4, part(0, 0), LIVE],
    ['four bytes across two fields', 'config-partial', 6, whole, LIVE],
    ['G23: two fields at once', 'config-several-fields', 4, new Uint8Array(8), LIVE],
    ['past the end', 'config-past-end', 16, whole, LIVE],
    ['over the end', 'config-past-end', 14, whole, LIVE],
    ['far away', 'config-past-end', 65_535, whole, LIVE],
    ['nothing at the end', 'config-past-end', 16, part(0, 0), LIVE],
    ['G30: before FEATURES_OK', 'config-wrong-status', 4, whole, during(3)],
    ['G21: after a reset', 'config-wrong-status', 4, whole, during(0)],
    ['after FAILED', 'config-wrong-status', 4, whole, during(15 | FAILED)],
  ])('%s', (_what, violation, ...write) => {
    const space = new ConfigSpace(16);
    expect(space.driverWrite(...write)).toBe(violation);
    expect([...space.bytes]).toEqual(new Array(16).fill(0));
  });

  it('a field beyond a small space, although its offset is known', () => {
    expect(new ConfigSpace(8).driverWrite(12, whole, SETUP)).toBe('config-past-end');
  });

  it('bytes of a larger space that are no field', () => {
    expect(new ConfigSpace(20).driverWrite(16, whole, SETUP)).toBe('config-past-end');
  });

  it('anything else: no write touches a byte outside the field it names', () => {
    const write = fc.record({
      offset: fc.nat(24),
      data: fc.uint8Array({ maxLength: 12 }),
      status: fc.constantFrom(0, 1, 3, 11, 15, 79, 143),
      sizeBytes: fc.constantFrom(8, 12, 16, 20),
    });
    fc.assert(
      fc.property(write, ({ offset, data, status, sizeBytes }) => {
        const space = new ConfigSpace(sizeBytes);
        const violation = space.driverWrite(offset, data, { status, negotiated: POISON });
        const expected = new Uint8Array(sizeBytes);
        const allowed =
          data.length === 4 && sizeBytes >= offset + 4
            ? (offset === 4 && [11, 15, 79].includes(status)) || (offset === 12 && status === 11)
            : false;
        if (allowed) expected.set(data, offset);
        expect(violation === undefined).toBe(allowed);
        expect(space.bytes).toEqual(expected);
      }),
    );
  });
});

describe('the mirror of the driver', () => {
  it('takes over content and generation', () => {
    const mirror = new ConfigSpace(8);
    const content = Uint8Array.of(...le32(256), ...le32(128));
    expect(mirror.load(content, 3)).toBe(true);
    content.fill(0);
    expect(mirror.read('num_pages')).toBe(256);
    expect(mirror.read('actual')).toBe(128);
    expect(mirror.generation).toBe(3);
  });

  it('refuses content of another size', () => {
    const mirror = new ConfigSpace(8, 1);
    expect(mirror.load(new Uint8Array(12).fill(9), 2)).toBe(false);
    expect(mirror.read('num_pages')).toBe(0);
    expect(mirror.generation).toBe(1);
  });
});
