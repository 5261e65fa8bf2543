import { beforeEach, describe, expect, it } from 'vitest';
import { VirtioDevice } from '../../../guest/drivers/virtio-device.ts';
import type { Guest } from '../../../guest/guest.ts';
import { Scheduler } from '../../../guest/sched/scheduler.ts';
import { DEFAULT_PROPERTIES } from '../../../host/device/offer.ts';
import { STRICT_POLICY, type ViolationPolicy } from '../../../host/device/violations.ts';
import { VirtualSession } from '../../../lab/virtual-session.ts';
import { VirtualClock } from '../../../shared/lib/clock.ts';
import { SILENT } from '../../../shared/lib/log.ts';
import { PausableClock } from '../../../shared/lib/pausable-clock.ts';
import { MIB } from '../../../shared/lib/units.ts';
import { Op } from '../../../shared/protocol/messages.ts';
import { DEVICE_NEEDS_RESET } from '../../../shared/virtio/device-status.ts';
import { balloonOf } from '../../support/balloon-of.ts';

const RAM = 64 * MIB;
const LIVE = 15;

let warnings: string[];
let session: VirtualSession;
let guest: Guest;

function boot(policy: ViolationPolicy): void {
  const log = { ...SILENT, warn: (_: object, message: string) => warnings.push(message) };
  session = new VirtualSession({ properties: DEFAULT_PROPERTIES, policy, log });
  guest = session.guest({ id: 'vm0', memoryBytes: RAM });
  guest.start();
  session.clock.advanceTo(1);
}

const shown = (): number => guest.kernel.device.status;
const stored = (): number => balloonOf(session.vm('vm0')).status;

beforeEach(() => {
  warnings = [];
});

/** G34: Linux kicks the statistics queue before DRIVER_OK, which a strict device refuses. */
describe('a device that breaks in the middle of the probe', () => {
  beforeEach(() => boot(STRICT_POLICY));

  it('does not hang the probe: what it says by itself answers no status write', () => {
    expect(guest.kernel.core.state).toBe('bound');
    expect(stored()).toBe(LIVE | DEVICE_NEEDS_RESET);
    expect(shown()).toBe(stored());
  });

  it('is told in one warning', () => {
    balloonOf(session.vm('vm0')).setTargetBytes(RAM - MIB);
    session.clock.advanceBy(10_000);
    expect(warnings).toEqual(['the device needs a reset and takes no buffer until then']);
  });

  it('is followed step by step afterwards: unbind and bind see each answer in its place', () => {
    guest.verb('unbind');
    session.clock.advanceBy(1);
    expect([guest.kernel.core.state, shown(), stored()]).toEqual(['unbound', 1, 1]);
    guest.verb('bind');
    session.clock.advanceBy(1);
    expect(guest.kernel.core.state).toBe('bound');
    expect(shown()).toBe(stored());
    expect(warnings).toHaveLength(2);
  });

  it('makes the driver wait for its buffer and nothing else', () => {
    balloonOf(session.vm('vm0')).setTargetBytes(RAM - MIB);
    session.clock.advanceBy(60_000);
    const waiting = [...guest.kernel.scheduler.tasks()].map(({ at }) => at);
    expect(waiting).toContain('balloon: acknowledgement');
    expect(guest.power).toBe('running');
  });
});

describe('a host that answers more than it was asked', () => {
  it('is not believed: later status writes wait for their own answers', () => {
    boot({ ...STRICT_POLICY, 'buffer-before-driver-ok': 'tolerate' });
    for (let extra = 0; extra < 3; extra++) guest.kernel.handle([Op.statusValue, LIVE, true]);
    guest.verb('unbind');
    session.clock.advanceBy(1);
    guest.verb('bind');
    session.clock.advanceBy(1);
    expect([guest.kernel.core.state, shown(), stored()]).toEqual(['bound', LIVE, LIVE]);
    expect(session.vm('vm0').counters.get('skipped-step')).toBe(0);
  });
});

describe('a status write that is under way', () => {
  it('is not answered by what the device says by itself', () => {
    const scheduler = new Scheduler(new PausableClock(new VirtualClock()));
    const device = new VirtioDevice(scheduler, { send: () => {} }, SILENT);
    const task = scheduler.spawn('write', device.addStatus(1));
    scheduler.run();
    device.handle([Op.statusValue, DEVICE_NEEDS_RESET, false]);
    scheduler.run();
    expect([task.ended, device.status]).toEqual([false, DEVICE_NEEDS_RESET]);
    device.handle([Op.statusValue, DEVICE_NEEDS_RESET | 1, true]);
    scheduler.run();
    expect([task.ended, device.status]).toEqual([true, DEVICE_NEEDS_RESET | 1]);
  });
});
