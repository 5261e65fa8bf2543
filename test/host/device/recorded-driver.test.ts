import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { VIOLATION_NAMES } from '../../../host/device/violations.ts';
import { type Recording, readRecording } from '../../../lab/verify/recording.ts';
import type { WireBuffer } from '../../../lab/verify/wire-lines.ts';
import { Op } from '../../../shared/protocol/messages.ts';
import { VIRTIO_BALLOON_F_STATS_VQ } from '../../../shared/virtio/balloon.ts';
import { FEATURES_OK } from '../../../shared/virtio/device-status.ts';
import { featureSet, VIRTIO_F_VERSION_1 } from '../../../shared/virtio/features.ts';
import { LIVE, ScriptedDriver } from './scripted-driver.ts';

const PAGE = 4096;
/** What the recorded driver accepts, less the bits that describe rings. */
const ACCEPTED = featureSet([VIRTIO_BALLOON_F_STATS_VQ, VIRTIO_F_VERSION_1]);

const recording = (name: string): Recording =>
  readRecording(fileURLToPath(new URL(`../../../lab/recordings/${name}`, import.meta.url)));

function pfnsOf({ runs }: WireBuffer): number[] {
  return runs.flatMap(([first, count, step]) =>
    Array.from({ length: count }, (_, index) => first + index * step),
  );
}

/** Lets a device see what Linux' driver did under QEMU; `check` is called at what QEMU showed. */
function replay(
  { memoryBytes, wire }: Recording,
  check: (driver: ScriptedDriver, shown: { num_pages?: number; actual: number }) => void,
): ScriptedDriver {
  const driver = new ScriptedDriver({ regions: [{ start: 0, count: memoryBytes / PAGE }] });
  for (const event of wire) {
    switch (event.ev) {
      case 'status':
        if ((event.val & FEATURES_OK) !== 0 && event.val !== LIVE) driver.features(ACCEPTED);
        expect(driver.status(event.val)).toBe(event.val);
        if ((event.val & FEATURES_OK) !== 0 && event.val !== LIVE) driver.enableQueues();
        break;
      case 'target':
        driver.device.setTargetBytes(memoryBytes - event.num_pages * PAGE);
        break;
      case 'config-set':
        driver.writeConfig32(4, event.actual);
        check(driver, event);
        break;
      case 'config-get':
        check(driver, event);
        break;
      case 'buf':
        if (event.queue === 'inflate') driver.inflate(...pfnsOf(event));
        else if (event.queue === 'deflate') driver.deflate(...pfnsOf(event));
        else driver.stats(['free-memory', 1n]);
        break;
      case 'used':
        break;
    }
  }
  return driver;
}

describe.each(['inflate-deflate-1g', 'driver-rebind-1g', 'qmp-errors-512m'])(
  'what Linux did in %s',
  (name) => {
    it('is taken without objection but for the early kick, and the ledger equals actual', () => {
      const recorded = recording(name);
      const driver = replay(recorded, ({ device, ledger }, { num_pages, actual }) => {
        expect(device.actualBytes).toBe(recorded.memoryBytes - actual * PAGE);
        expect(ledger.balloonPages).toBe(actual);
        if (num_pages === undefined) return;
        expect(device.targetBytes).toBe(recorded.memoryBytes - num_pages * PAGE);
      });
      const kicks = recorded.wire.filter((event) => event.ev === 'buf' && event.queue === 'stats');
      const objections = VIOLATION_NAMES.filter((violation) => driver.counters.get(violation) > 0);
      expect(objections).toEqual(['buffer-before-driver-ok']);
      expect(driver.counters.get('buffer-before-driver-ok')).toBe(kicks.length);
      const used = driver.sent.filter(([op]) => op === Op.used);
      expect(used).toHaveLength(recorded.wire.filter(({ ev }) => ev === 'used').length);
      expect(used.every((message) => message[3] === 0)).toBe(true);
    });
  },
);

describe('statistics polled in stats-512m', () => {
  it('are asked for when QEMU asked for them, to 1.5 ms', () => {
    const { wire } = recording('stats-512m');
    const driver = new ScriptedDriver();
    driver.bringUp();
    const times = statsTimes(wire);
    driver.stats(['free-memory', 1n]);
    driver.host.advanceTo(times[0]?.askedMs ?? 0);
    driver.device.pollingIntervalSeconds = 1;
    for (const { askedMs, answeredMs } of times) {
      const seen = nextRequest(driver, askedMs + 10);
      expect(Math.abs(seen - askedMs), `request at ${askedMs} ms`).toBeLessThan(1.5);
      driver.host.advanceTo(answeredMs);
      driver.stats(['free-memory', 2n]);
    }
    expect(times.length).toBeGreaterThan(8);
  });

  /** Advances until the device returns the buffer; the time at which it did. */
  function nextRequest(driver: ScriptedDriver, untilMs: number): number {
    for (;;) {
      const dueMs = Math.max(driver.host.now(), driver.host.nextDueMs() ?? untilMs);
      driver.host.advanceTo(Math.min(dueMs, untilMs));
      if (driver.news().some(([op]) => op === Op.used)) return driver.host.now();
      if (driver.host.now() >= untilMs) return Number.POSITIVE_INFINITY;
    }
  }

  /** A `used` that returns no balloon buffer asks for statistics; the next buffer answers. */
  function statsTimes(wire: Recording['wire']): { askedMs: number; answeredMs: number }[] {
    const asked: number[] = [];
    const answered: number[] = [];
    let balloonBuffers = 0;
    for (const event of wire) {
      if (event.ev === 'buf' && event.queue === 'stats') answered.push(event.tMs);
      else if (event.ev === 'buf') balloonBuffers++;
      else if (event.ev === 'used' && balloonBuffers > 0) balloonBuffers--;
      else if (event.ev === 'used') asked.push(event.tMs);
    }
    // The first buffer was not asked for.
    return asked.map((askedMs, index) => ({ askedMs, answeredMs: answered[index + 1] as number }));
  }
});
