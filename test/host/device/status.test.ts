import { describe, expect, it } from 'vitest';
import { Op } from '../../../shared/protocol/messages.ts';
import {
  VIRTIO_BALLOON_F_FREE_PAGE_HINT,
  VIRTIO_BALLOON_F_MUST_TELL_HOST,
  VIRTIO_BALLOON_F_PAGE_POISON,
  VIRTIO_BALLOON_F_REPORTING,
  VIRTIO_BALLOON_F_STATS_VQ,
} from '../../../shared/virtio/balloon.ts';
import {
  ACKNOWLEDGE,
  DEVICE_NEEDS_RESET,
  DRIVER,
  FAILED,
  FEATURES_OK,
} from '../../../shared/virtio/device-status.ts';
import {
  type Features,
  featureBits,
  featureSet,
  hasFeature,
  VIRTIO_F_VERSION_1,
} from '../../../shared/virtio/features.ts';
import { LIVE, READY, ScriptedDriver } from './scripted-driver.ts';

const allProperties = {
  'deflate-on-oom': true,
  'free-page-hint': true,
  'free-page-reporting': true,
  'page-poison': true,
} as const;

describe('features a balloon device offers', () => {
  it('are statistics, poison and VERSION_1 by default, as in QEMU 7.2', () => {
    const { device } = new ScriptedDriver();
    expect(featureBits(device.offered)).toEqual([
      VIRTIO_BALLOON_F_STATS_VQ,
      VIRTIO_BALLOON_F_PAGE_POISON,
      VIRTIO_F_VERSION_1,
    ]);
  });

  it('G53: always hold VERSION_1, and never MUST_TELL_HOST', () => {
    for (const properties of [allProperties, { 'page-poison': false }]) {
      const { device } = new ScriptedDriver({ properties });
      expect(hasFeature(device.offered, VIRTIO_F_VERSION_1)).toBe(true);
      expect(hasFeature(device.offered, VIRTIO_BALLOON_F_MUST_TELL_HOST)).toBe(false);
    }
  });

  it('G28: are described before negotiation, with queue sizes and the config space', () => {
    const { device } = new ScriptedDriver({ properties: allProperties });
    const [op, deviceId, , , sizes, , config] = device.describe();
    expect([op, deviceId]).toEqual([Op.device, 5]);
    expect([...new Uint16Array(sizes.slice().buffer)]).toEqual([128, 128, 128, 1024, 32]);
    expect(config).toHaveLength(16);
  });

  it('bring the config space QEMU advertises for them', () => {
    const sizeOf = (properties: object): number =>
      new ScriptedDriver({ properties }).device.describe()[6].length;
    expect(sizeOf({})).toBe(16);
    expect(sizeOf({ 'page-poison': false })).toBe(8);
    expect(sizeOf({ 'page-poison': false, 'free-page-hint': true })).toBe(12);
    expect(sizeOf({ 'page-poison': false, 'qemu-4-0-config-size': true })).toBe(16);
  });
});

describe('negotiation', () => {
  const refusedFor = (driver: ScriptedDriver, subset: Features): boolean =>
    (driver.negotiate(subset) & FEATURES_OK) === 0;

  it('G29: shows each status byte as it was written, up to DRIVER_OK', () => {
    const driver = new ScriptedDriver();
    const shown = [0, ACKNOWLEDGE, ACKNOWLEDGE | DRIVER].map((value) => driver.status(value));
    driver.features(driver.device.offered);
    shown.push(driver.status(READY), driver.status(LIVE));
    expect(shown).toEqual([0, 1, 3, 11, 15]);
    expect(driver.device.negotiated).toBe(driver.device.offered);
    expect(driver.device.driverOk).toBe(true);
  });

  it('G08: leaves FEATURES_OK clear for a bit that was not offered', () => {
    const driver = new ScriptedDriver();
    const surplus = featureSet([VIRTIO_BALLOON_F_MUST_TELL_HOST]);
    expect(refusedFor(driver, driver.device.offered | surplus)).toBe(true);
    expect(driver.counters.get('feature-not-offered')).toBe(1);
    expect(driver.device.negotiated).toBe(0n);
  });

  it('G15: accepts every subset of the offer that keeps the queue numbers', () => {
    const driver = new ScriptedDriver();
    const optional = [VIRTIO_BALLOON_F_STATS_VQ, VIRTIO_BALLOON_F_PAGE_POISON];
    for (let choice = 0; choice < 4; choice++) {
      const bits = optional.filter((_, at) => (choice & (1 << at)) !== 0);
      const subset = featureSet([...bits, VIRTIO_F_VERSION_1]);
      expect(refusedFor(driver, subset)).toBe(false);
      expect(driver.device.negotiated).toBe(subset);
    }
  });

  it('G15: lets a driver try again with fewer features after a refusal', () => {
    const driver = new ScriptedDriver();
    driver.negotiate(driver.device.offered | 1n);
    driver.features(driver.device.offered);
    expect(driver.status(READY)).toBe(READY);
  });

  it('G17: accepts after a reset what it accepted before', () => {
    const driver = new ScriptedDriver();
    const subset = featureSet([VIRTIO_BALLOON_F_STATS_VQ, VIRTIO_F_VERSION_1]);
    expect(refusedFor(driver, subset)).toBe(false);
    expect(refusedFor(driver, subset)).toBe(false);
  });

  it('G53: gives up on a driver that does not accept VERSION_1', () => {
    const driver = new ScriptedDriver();
    expect(refusedFor(driver, featureSet([VIRTIO_BALLOON_F_STATS_VQ]))).toBe(true);
    expect(driver.counters.get('version-1-not-accepted')).toBe(1);
  });

  it('X4: refuses a subset over which driver and device would count queues differently', () => {
    const driver = new ScriptedDriver({ properties: allProperties });
    const withoutHints = driver.device.offered & ~featureSet([VIRTIO_BALLOON_F_FREE_PAGE_HINT]);
    expect(refusedFor(driver, withoutHints)).toBe(true);
    expect(driver.counters.get('queue-layout-disagrees')).toBe(1);
    const without = featureSet([VIRTIO_BALLOON_F_FREE_PAGE_HINT, VIRTIO_BALLOON_F_REPORTING]);
    expect(refusedFor(driver, driver.device.offered & ~without)).toBe(false);
  });

  it('G31: features written after FEATURES_OK change nothing', () => {
    const driver = new ScriptedDriver();
    const subset = featureSet([VIRTIO_F_VERSION_1]);
    driver.negotiate(subset);
    driver.features(driver.device.offered);
    driver.status(LIVE);
    expect(driver.device.negotiated).toBe(subset);
    expect(driver.counters.get('features-wrong-status')).toBe(1);
  });
});

describe('reset', () => {
  it('G20, G87: answers 0, whatever the status was', () => {
    const driver = new ScriptedDriver();
    driver.bringUp();
    expect(driver.status(0)).toBe(0);
    driver.status(FAILED);
    expect(driver.status(0)).toBe(0);
    expect(driver.device.negotiated).toBe(0n);
  });

  it('G21: sends no notification afterwards and has no queue', () => {
    const driver = new ScriptedDriver();
    driver.bringUp();
    driver.device.pollingIntervalSeconds = 1;
    driver.stats(['free-memory', 1n]);
    driver.status(0);
    driver.news();
    driver.host.advanceBy(10_000);
    expect(driver.news()).toEqual([]);
    expect(() => driver.inflate(1)).toThrow('the queue does not exist or is not enabled');
  });

  it('keeps num_pages and actual and drops poison_val, as QEMU does', () => {
    const driver = new ScriptedDriver();
    driver.negotiate();
    driver.writeConfig32(12, 0xaaaa_aaaa);
    driver.status(LIVE);
    driver.device.setTargetBytes(driver.device.targetBytes - 4096 * 10);
    driver.writeConfig32(4, 7);
    driver.status(0);
    expect(driver.config32(0)).toBe(10);
    expect(driver.config32(4)).toBe(7);
    expect(driver.config32(12)).toBe(0);
  });

  it('H5: empties the ledger and counts the pages a driver left in the balloon', () => {
    const driver = new ScriptedDriver();
    driver.bringUp();
    driver.inflate(1, 2, 3);
    driver.deflate(2);
    driver.status(0);
    expect(driver.ledger.balloonPages).toBe(0);
    expect(driver.counters.get('emptied_pages')).toBe(2);
    expect(driver.counters.get('resets')).toBe(2);
  });

  it('is gone through by unbind and bind as recorded: 0, 0, 1, 3, 11, 15', () => {
    const driver = new ScriptedDriver();
    driver.bringUp();
    const shown = [0, 0, 1, 3].map((value) => driver.status(value));
    driver.features(driver.device.offered);
    driver.enableQueues();
    shown.push(driver.status(11), driver.status(15));
    expect(shown).toEqual([0, 0, 1, 3, 11, 15]);
    expect(driver.counters.get('skipped-step')).toBe(0);
  });
});

describe('an error that needs a reset', () => {
  it('G06, G07: sets DEVICE_NEEDS_RESET and notifies a live driver', () => {
    const driver = new ScriptedDriver({ strict: true });
    driver.bringUp();
    driver.deflate(1);
    const [shown, notified, ...rest] = driver.news();
    expect(shown).toEqual([Op.statusValue, LIVE | DEVICE_NEEDS_RESET, false]);
    expect(notified?.[0]).toBe(Op.config);
    expect(notified?.[3]).toBe(true);
    expect(rest).toEqual([]);
    expect(driver.counters.get('needs_reset')).toBe(1);
  });

  it('G07: does not notify before DRIVER_OK', () => {
    const driver = new ScriptedDriver({ strict: true });
    driver.negotiate();
    driver.enableQueues();
    driver.news();
    driver.inflate(1);
    expect(driver.news()).toEqual([[Op.statusValue, READY | DEVICE_NEEDS_RESET, false]]);
  });

  it('answers a refused status write once, with the bit, after telling that it broke', () => {
    const driver = new ScriptedDriver({ strict: true });
    driver.status(0);
    driver.status(ACKNOWLEDGE);
    driver.news();
    driver.status(ACKNOWLEDGE | FEATURES_OK);
    const shown = ACKNOWLEDGE | DEVICE_NEEDS_RESET;
    expect(driver.news()).toEqual([
      [Op.statusValue, shown, false],
      [Op.statusValue, shown, true],
    ]);
    driver.status(DRIVER | DEVICE_NEEDS_RESET);
    expect(driver.news()).toEqual([[Op.statusValue, shown, true]]);
  });

  it('ends all processing until the reset, after which the device works again', () => {
    const driver = new ScriptedDriver({ strict: true });
    driver.bringUp();
    driver.deflate(1);
    driver.news();
    driver.inflate(2);
    expect(driver.news()).toEqual([]);
    expect(driver.ledger.balloonPages).toBe(0);
    expect(driver.counters.get('ignored_buffers')).toBe(1);
    expect(driver.device.buffersInFlight).toBe(2);
    driver.bringUp();
    expect(driver.device.status).toBe(LIVE);
    const id = driver.inflate(2);
    expect(driver.news().at(-1)).toEqual(driver.used('inflate', id));
  });

  it('ends processing as well when the driver sets FAILED', () => {
    const driver = new ScriptedDriver();
    driver.bringUp();
    driver.status(LIVE | FAILED);
    driver.news();
    driver.inflate(2);
    expect(driver.news()).toEqual([]);
    expect(driver.ledger.balloonPages).toBe(0);
  });
});
