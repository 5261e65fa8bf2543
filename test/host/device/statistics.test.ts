import { describe, expect, it } from 'vitest';
import { MAX_STATS_ENTRIES } from '../../../shared/limits.ts';
import { Op } from '../../../shared/protocol/messages.ts';
import { STATS_ENTRY_BYTES } from '../../../shared/virtio/balloon.ts';
import { encodeStats, LINUX_6_12_TAG_ORDER } from '../../../shared/virtio/stats.ts';
import { LIVE, ScriptedDriver } from './scripted-driver.ts';

const live = (options?: ConstructorParameters<typeof ScriptedDriver>[0]): ScriptedDriver => {
  const driver = new ScriptedDriver(options);
  driver.bringUp();
  return driver;
};

/** When the device returned statistics buffers, in milliseconds of the machine's clock. */
function watchRequests(driver: ScriptedDriver, untilMs: number, answer: boolean): number[] {
  const times: number[] = [];
  for (let ms = 0; ms <= untilMs; ms += 50) {
    driver.host.advanceBy(ms === 0 ? 0 : 50);
    if (!driver.news().some(([op]) => op === Op.used)) continue;
    times.push(driver.clock.now());
    if (answer) driver.stats(['free-memory', BigInt(ms)]);
  }
  return times;
}

describe('a statistics buffer', () => {
  it('is kept: the driver gets it back when new values are wanted', () => {
    const driver = live();
    driver.stats(['free-memory', 5n]);
    expect(driver.news()).toEqual([]);
    expect(driver.device.stats.values).toEqual({ 'free-memory': 5n });
    expect(driver.device.buffersInFlight).toBe(0);
  });

  it('says when it came, in seconds of the host’s wall clock; 0 before the first', () => {
    const driver = live();
    expect(driver.device.stats).toEqual({ values: {}, lastUpdateSeconds: 0 });
    driver.host.advanceBy(2_600);
    driver.stats(['free-memory', 5n]);
    expect(driver.device.stats.lastUpdateSeconds).toBe(1_700_000_002);
  });

  it('N33: may hold tags that nobody knows', () => {
    const driver = live();
    const strange = Uint8Array.of(0xff, 0xff, 1, 0, 0, 0, 0, 0, 0, 0);
    driver.buffer('stats', Buffer.concat([strange, encodeStats([['total-memory', 9n]])]));
    expect(driver.device.stats.values).toEqual({ 'total-memory': 9n });
  });

  it('N34: may have its tags in any order', () => {
    const driver = live();
    driver.stats(['disk-caches', 1n], ['swap-in', 2n], ['free-memory', 3n]);
    expect(driver.device.stats.values).toEqual({
      'swap-in': 2n,
      'free-memory': 3n,
      'disk-caches': 1n,
    });
  });

  it('N31: may hold a subset, and all 16 tags of Linux 6.12', () => {
    const driver = live();
    driver.stats(...LINUX_6_12_TAG_ORDER.map((tag, at) => [tag, BigInt(at)] as const));
    expect(Object.keys(driver.device.stats.values)).toHaveLength(16);
  });

  it('keeps all 64 bits of a value', () => {
    const driver = live();
    driver.stats(['free-memory', 0xffff_ffff_ffff_ffffn]);
    expect(driver.device.stats.values['free-memory']).toBe(0xffff_ffff_ffff_ffffn);
  });

  it('N25: that is the second one returns the first', () => {
    const driver = live();
    const first = driver.stats(['free-memory', 1n]);
    driver.stats(['free-memory', 2n]);
    expect(driver.news()).toEqual([driver.used('stats', first)]);
    expect(driver.counters.get('stats-second-buffer')).toBe(1);
    expect(driver.device.stats.values).toEqual({ 'free-memory': 2n });
  });

  it('N32: with another subset than the first one is counted; a lacking value is undefined', () => {
    const driver = live();
    driver.stats(['free-memory', 1n], ['swap-in', 1n]);
    driver.stats(['free-memory', 2n]);
    expect(driver.counters.get('stats-other-subset')).toBe(1);
    expect(driver.device.stats.values).toEqual({ 'free-memory': 2n });
    driver.bringUp();
    driver.stats(['disk-caches', 1n]);
    expect(driver.counters.get('stats-other-subset')).toBe(1);
  });

  it('N29: is read up to its last whole entry', () => {
    const driver = live();
    const cut = encodeStats([
      ['swap-in', 1n],
      ['swap-out', 2n],
    ]);
    driver.buffer('stats', cut.subarray(0, 2 * STATS_ENTRY_BYTES - 1));
    expect(driver.device.stats.values).toEqual({ 'swap-in': 1n });
    expect(driver.counters.get('stats-cut')).toBe(1);
  });

  it('is read up to MAX_STATS_ENTRIES, and a repeated tag counts with its last value', () => {
    const driver = live();
    const entries = Array.from({ length: MAX_STATS_ENTRIES + 2 }, (_, index) => {
      return ['swap-in', BigInt(index)] as const;
    });
    driver.stats(...entries);
    expect(driver.device.stats.values['swap-in']).toBe(BigInt(MAX_STATS_ENTRIES - 1));
    expect(driver.counters.get('MAX_STATS_ENTRIES')).toBe(2);
    expect(driver.counters.get('stats-repeated-tag')).toBe(MAX_STATS_ENTRIES - 1);
  });

  it('keeps its values over a device reset, as QEMU 7.2 does', () => {
    const driver = live();
    driver.stats(['free-memory', 5n]);
    driver.status(0);
    expect(driver.device.stats.values).toEqual({ 'free-memory': 5n });
  });

  it('G34: that comes before DRIVER_OK, as Linux sends it, is taken and kept', () => {
    const driver = new ScriptedDriver();
    driver.negotiate();
    driver.enableQueues();
    const early = driver.stats(['free-memory', 5n]);
    expect(driver.device.stats.values).toEqual({ 'free-memory': 5n });
    expect(driver.counters.get('buffer-before-driver-ok')).toBe(1);
    driver.status(LIVE);
    driver.news();
    driver.device.pollingIntervalSeconds = 1;
    driver.host.advanceBy(0);
    expect(driver.news()).toEqual([driver.used('stats', early)]);
  });
});

describe('polling', () => {
  it('asks at once and then one interval after each answer', () => {
    const driver = live();
    driver.stats(['free-memory', 5n]);
    driver.device.pollingIntervalSeconds = 1;
    expect(driver.news()).toEqual([]);
    expect(watchRequests(driver, 3_500, true)).toEqual([0, 1000, 2000, 3000]);
  });

  it('is not repeated for a guest that does not answer', () => {
    const driver = live();
    driver.stats(['free-memory', 5n]);
    driver.device.pollingIntervalSeconds = 1;
    expect(watchRequests(driver, 10_000, false)).toEqual([0]);
    driver.stats(['free-memory', 6n]);
    expect(watchRequests(driver, 2_000, false)).toEqual([11_000]);
  });

  it('tries again when the driver has sent no buffer yet', () => {
    const driver = live();
    driver.device.pollingIntervalSeconds = 2;
    driver.host.advanceBy(3_000);
    driver.stats(['free-memory', 5n]);
    expect(watchRequests(driver, 3_000, false)).toEqual([5_000]);
  });

  it('is timed anew when the interval changes, and not asked at once', () => {
    const driver = live();
    driver.stats(['free-memory', 5n]);
    driver.device.pollingIntervalSeconds = 10;
    expect(watchRequests(driver, 0, true)).toEqual([0]);
    driver.host.advanceBy(4_000);
    driver.device.pollingIntervalSeconds = 3;
    expect(watchRequests(driver, 4_000, false)).toEqual([7_000]);
  });

  it('is not timed anew when the interval is set to what it is', () => {
    const driver = live();
    driver.device.pollingIntervalSeconds = 2;
    driver.host.advanceBy(0);
    driver.stats(['free-memory', 5n]);
    driver.host.advanceBy(1_500);
    driver.device.pollingIntervalSeconds = 2;
    expect(watchRequests(driver, 1_000, false)).toEqual([2_000]);
  });

  it('ends with an interval of 0 and begins at once with the next one', () => {
    const driver = live();
    driver.stats(['free-memory', 5n]);
    driver.device.pollingIntervalSeconds = 1;
    driver.device.pollingIntervalSeconds = 0;
    expect(watchRequests(driver, 5_000, true)).toEqual([]);
    driver.device.pollingIntervalSeconds = 7;
    expect(driver.device.pollingIntervalSeconds).toBe(7);
    expect(watchRequests(driver, 1_000, true)).toEqual([5_000]);
  });

  it('stands still with the machine’s clock', () => {
    const driver = live();
    driver.device.pollingIntervalSeconds = 2;
    driver.host.advanceBy(0);
    driver.stats(['free-memory', 5n]);
    driver.host.advanceBy(500);
    driver.clock.pause();
    driver.host.advanceBy(60_000);
    expect(driver.news()).toEqual([]);
    driver.clock.resume();
    expect(watchRequests(driver, 2_000, false)).toEqual([2_000]);
  });

  it('goes on over a device reset with the new driver’s first buffer', () => {
    const driver = live();
    driver.stats(['free-memory', 5n]);
    driver.device.pollingIntervalSeconds = 1;
    expect(watchRequests(driver, 0, false)).toEqual([0]);
    driver.bringUp();
    driver.host.advanceBy(5_000);
    expect(driver.news()).toEqual([]);
    driver.stats(['free-memory', 6n]);
    expect(watchRequests(driver, 2_000, false)).toEqual([6_000]);
  });

  it('does not fire early for an interval longer than timers hold', () => {
    const driver = live();
    driver.device.pollingIntervalSeconds = 2 ** 32 - 1;
    driver.host.advanceBy(0);
    driver.stats(['free-memory', 5n]);
    driver.host.advanceBy(2 ** 31 - 2);
    expect(driver.news()).toEqual([]);
  });
});
