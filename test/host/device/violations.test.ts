import { describe, expect, it } from 'vitest';
import {
  QEMU_POLICY,
  VIOLATION_NAMES,
  type Violation,
  type ViolationPolicy,
} from '../../../host/device/violations.ts';
import { MAX_BUFFER_PFNS, MAX_REPORT_PAGES, MAX_STATS_ENTRIES } from '../../../shared/limits.ts';
import { writePfns } from '../../../shared/protocol/bodies.ts';
import { Op } from '../../../shared/protocol/messages.ts';
import { DEVICE_NEEDS_RESET, FAILED, SUSPEND } from '../../../shared/virtio/device-status.ts';
import { LIVE, READY, ScriptedDriver } from './scripted-driver.ts';

type Deed = (driver: ScriptedDriver) => void;

const PAGE = 4096;
const entry = (count: number) => Array.from({ length: count }, () => ['swap-in', 1n] as const);

/** A migration asks for hints and the driver takes the round up. */
const startRound = (driver: ScriptedDriver): void => {
  driver.device.hint('start');
  driver.buffer('free_page', writePfns([driver.device.hints.id]));
};

/** How a driver commits each violation, once: on a live device, or on one that is not yet. */
const ON_LIVE_DEVICE: Partial<Record<Violation, Deed>> = {
  'unknown-status-bit': (driver) => driver.status(LIVE | 0x20),
  'suspend-not-offered': (driver) => driver.status(LIVE | SUSPEND),
  'device-status-bit': (driver) => driver.status(LIVE | DEVICE_NEEDS_RESET),
  'cleared-bit': (driver) => driver.status(READY),
  'config-past-end': (driver) => driver.writeConfig32(16, 1),
  'config-partial': (driver) => driver.send([Op.configWrite, 4, Uint8Array.of(1)]),
  'config-several-fields': (driver) => driver.send([Op.configWrite, 4, new Uint8Array(8)]),
  'config-device-field': (driver) => driver.writeConfig32(0, 1),
  'config-after-driver-ok': (driver) => driver.writeConfig32(12, 1),
  'features-wrong-status': (driver) => driver.features(0n),
  'queue-enabled-twice': (driver) => driver.send([Op.queue, 0, 128]),
  'buffer-wrong-direction': (driver) =>
    driver.buffer('inflate', writePfns([1]), new Uint8Array(12)),
  'chain-too-long': (driver) =>
    driver.report(
      ...Array.from({ length: 33 }, (_, pfn) => ({ address: pfn * PAGE, lengthBytes: PAGE })),
    ),
  'pfn-list-empty': (driver) => driver.inflate(),
  'pfn-list-cut': (driver) => driver.buffer('deflate', new Uint8Array(3)),
  MAX_BUFFER_PFNS: (driver) => {
    driver.buffer('deflate', new Uint8Array(4 * (MAX_BUFFER_PFNS + 1)));
  },
  'pfn-out-of-ram': (driver) => driver.inflate(0xffff),
  'inflated-twice': (driver) => driver.inflate(1, 1),
  'deflated-without-inflation': (driver) => driver.deflate(1),
  'stats-second-buffer': (driver) => {
    driver.stats();
    driver.stats();
  },
  'stats-cut': (driver) => driver.buffer('stats', new Uint8Array(9)),
  'stats-repeated-tag': (driver) => driver.stats(...entry(2)),
  'stats-other-subset': (driver) => {
    driver.stats(['swap-in', 1n]);
    driver.device.pollingIntervalSeconds = 1;
    driver.host.advanceBy(0);
    driver.stats(['swap-out', 1n]);
  },
  MAX_STATS_ENTRIES: (driver) => driver.stats(...entry(MAX_STATS_ENTRIES + 1)),
  'hint-command-size': (driver) => driver.buffer('free_page', new Uint8Array(2)),
  'hint-id-repeated': (driver) => {
    startRound(driver);
    driver.buffer('free_page', writePfns([driver.device.hints.id]));
  },
  'hint-unaligned': (driver) => {
    startRound(driver);
    driver.hint({ address: 5, lengthBytes: PAGE });
  },
  'hint-out-of-ram': (driver) => {
    startRound(driver);
    driver.hint({ address: 2 ** 40, lengthBytes: PAGE });
  },
  'report-unaligned': (driver) => driver.report({ address: 5, lengthBytes: PAGE }),
  'report-out-of-ram': (driver) => driver.report({ address: 2 ** 40, lengthBytes: PAGE }),
  'report-in-balloon': (driver) => {
    driver.inflate(1);
    driver.report({ address: PAGE, lengthBytes: PAGE });
  },
  MAX_REPORT_PAGES: (driver) => {
    const whole = { address: 0, lengthBytes: (MAX_REPORT_PAGES / 4) * PAGE };
    driver.report(...Array.from({ length: 5 }, () => whole));
  },
};

const BEFORE: Partial<Record<Violation, Deed>> = {
  'after-failed': (driver) => {
    driver.status(FAILED);
    driver.status(FAILED | 1);
  },
  'skipped-step': (driver) => driver.status(READY),
  'config-wrong-status': (driver) => driver.writeConfig32(4, 1),
  'config-not-negotiated': (driver) => {
    driver.negotiate(driver.device.offered & ~0x10n);
    driver.writeConfig32(12, 1);
  },
  'queue-bad-size': (driver) => {
    driver.negotiate();
    driver.send([Op.queue, 0, 3]);
  },
  'queue-wrong-status': (driver) => driver.send([Op.queue, 0, 128]),
  'buffer-before-driver-ok': (driver) => {
    driver.negotiate();
    driver.enableQueues();
    driver.inflate(1);
  },
};

const properties = { 'free-page-hint': true, 'free-page-reporting': true };
/** Deeds that are only possible together with another one. */
const COMPANIONS: Partial<Record<Violation, readonly Violation[]>> = {
  MAX_BUFFER_PFNS: ['deflated-without-inflation'],
  'stats-cut': [],
  MAX_STATS_ENTRIES: ['stats-repeated-tag'],
};

function commit(violation: Violation, policy: ViolationPolicy): ScriptedDriver {
  const regions = [{ start: 0, count: MAX_REPORT_PAGES / 4 }];
  const whole = violation === 'MAX_REPORT_PAGES' ? { regions } : {};
  const driver = new ScriptedDriver({ properties, policy, ...whole });
  const onLive = ON_LIVE_DEVICE[violation];
  if (onLive !== undefined) driver.bringUp();
  (onLive ?? BEFORE[violation])?.(driver);
  return driver;
}

describe.each(VIOLATION_NAMES)('%s', (violation) => {
  const tolerant: ViolationPolicy = { ...QEMU_POLICY, [violation]: 'tolerate' };
  const strict: ViolationPolicy = { ...QEMU_POLICY, [violation]: 'refuse' };

  it('is counted, alone, and tolerated', () => {
    const driver = commit(violation, tolerant);
    const companions = COMPANIONS[violation] ?? [];
    expect(driver.counters.get(violation)).toBe(1);
    for (const other of VIOLATION_NAMES) {
      if (other === violation || companions.includes(other)) continue;
      expect(driver.counters.get(other), other).toBe(0);
    }
    expect(driver.device.status & DEVICE_NEEDS_RESET).toBe(0);
    expect(driver.counters.get('needs_reset')).toBe(0);
  });

  it('G06: is counted and refused by a device that is told to, until the reset', () => {
    const driver = commit(violation, strict);
    expect(driver.counters.get(violation)).toBe(1);
    expect(driver.counters.get('needs_reset')).toBe(1);
    expect(driver.last(Op.statusValue)[1] & DEVICE_NEEDS_RESET).toBe(DEVICE_NEEDS_RESET);
    expect(driver.status(0)).toBe(0);
    driver.bringUp();
    expect(driver.device.driverOk).toBe(true);
  });
});

it('a driver that does everything right commits none', () => {
  const driver = new ScriptedDriver({ properties, strict: true });
  driver.bringUp();
  driver.stats(['swap-in', 1n]);
  driver.device.setTargetBytes(PAGE);
  driver.inflate(1, 2, 3);
  driver.writeConfig32(4, 3);
  driver.deflate(3, 2);
  driver.writeConfig32(4, 1);
  driver.report({ address: 0x1000 * PAGE, lengthBytes: 8 * PAGE });
  startRound(driver);
  driver.hint({ address: 0, lengthBytes: 4 * PAGE });
  driver.buffer('free_page', writePfns([0]));
  expect(VIOLATION_NAMES.filter((name) => driver.counters.get(name) > 0)).toEqual([]);
  expect(driver.device.status).toBe(LIVE);
});
