import { describe, expect, it } from 'vitest';
import { Host, type HostOptions } from '../../host/host.ts';
import { VirtualClock } from '../../shared/lib/clock.ts';
import { RESUME_WINDOW_MS } from '../../shared/limits.ts';
import { Op } from '../../shared/protocol/messages.ts';
import type { Link } from '../../shared/transport/link.ts';
import { memoryLinkPair } from '../../shared/transport/memory-link.ts';
import { DEVICE_NEEDS_RESET } from '../../shared/virtio/device-status.ts';
import { balloonOf } from '../support/balloon-of.ts';
import { MiniGuest, NOTHING } from './mini-guest.ts';
import { RAM_BYTES } from './vmm/guest-end.ts';

interface World {
  readonly clock: VirtualClock;
  readonly host: Host;
  guest(options?: { guestId?: string; epoch?: number }): MiniGuest;
  /** Lets everything that is under way arrive. */
  settle(): void;
}

function world(options: Partial<HostOptions> = {}): World {
  const clock = new VirtualClock(1_700_000_000_000);
  let sessions = 0;
  const host = new Host({ clock, newSessionName: () => `session ${++sessions}`, ...options });
  const settle = (): void => clock.advanceBy(300);
  const guest = (guestOptions?: { guestId?: string; epoch?: number }): MiniGuest => {
    const dial = (): Link => {
      const [guestSide, hostSide] = memoryLinkPair(clock);
      host.attachLink(hostSide);
      return guestSide;
    };
    const made = new MiniGuest({ clock, dial, ...guestOptions });
    settle();
    return made;
  };
  return { clock, host, guest, settle };
}

describe('a host and a guest', () => {
  it('find each other: device, initialisation, DRIVER_OK', () => {
    const { host, guest } = world();
    const { events, received } = guest();
    expect(events).toEqual(['power-on']);
    const shown = received.filter(([op]) => op === Op.statusValue).map((message) => message[1]);
    expect(shown).toEqual([0, 1, 3, 11, 15]);
    expect(host.vmm.list()).toMatchObject([
      { id: 'vm0', status: 'running', connected: true, driverOk: true, ramBytes: RAM_BYTES },
    ]);
  });

  it('N20: discard comes before the used that caused it', () => {
    const { guest, settle } = world();
    const one = guest();
    one.received.length = 0;
    one.inflate(0, 5, 4);
    settle();
    expect(one.ops()).toEqual(['discard', 'used']);
  });

  it('keep their devices apart, with properties for all and for one', () => {
    const { host, guest } = world({
      device: { qomId: 'mem', properties: { 'deflate-on-oom': true } },
      devices: new Map([['vm1', { properties: { 'free-page-reporting': true } }]]),
    });
    guest();
    guest({ guestId: 'vm1' });
    const [first, second] = [balloonOf(host.vmm.vm('vm0')), balloonOf(host.vmm.vm('vm1'))];
    expect([first.qomId, second.qomId]).toEqual(['mem', 'mem']);
    expect(first.properties).toMatchObject({
      'deflate-on-oom': true,
      'free-page-reporting': false,
      'page-poison': true,
    });
    expect(second.properties).toMatchObject({
      'deflate-on-oom': true,
      'free-page-reporting': true,
    });
  });
});

describe('a cut link', () => {
  it('in the middle of an inflation loses and repeats nothing', () => {
    const { host, guest, settle } = world();
    const one = guest();
    for (let id = 0; id < 40; id++) {
      one.inflate(id, 3 * id, 3 * id + 1, 3 * id + 2);
      if (id % 7 === 3) host.vmm.cut('vm0');
      settle();
    }
    settle();
    expect(one.events.filter((event) => event === 'resumed')).toHaveLength(6);
    const used = one.received.filter(([op]) => op === Op.used).map((message) => message[2]);
    expect(used).toEqual(Array.from({ length: 40 }, (_, id) => id));
    const { ledger, counters } = host.vmm.vm('vm0');
    expect(ledger.compareBalloon(Array.from({ length: 120 }, (_, pfn) => pfn))).toMatchObject({
      missing: 0,
      surplus: 0,
    });
    expect(counters.get('inflated-twice')).toBe(0);
  });

  it('that comes back too late finds a new device with the target kept', () => {
    const { clock, host, guest, settle } = world();
    const one = guest();
    one.inflate(0, 1, 2);
    host.vmm.balloon('vm0', RAM_BYTES / 2);
    settle();
    host.vmm.cut('vm0');
    const session = host.vmm.vm('vm0').session?.name;
    clock.advanceBy(1);
    expect(host.vmm.vm('vm0').connected).toBe(false);
    const events: string[] = [];
    host.vmm.vm('vm0').onEvent(({ event }) => events.push(event));
    one.connection.close('gave up');
    clock.advanceBy(RESUME_WINDOW_MS);
    expect(host.vmm.vm('vm0').runState).toBe('guest-panicked');
    const next = guest({ epoch: 2 });
    expect(events).toEqual(['GUEST_PANICKED', 'STOP', 'RESET', 'RESUME']);
    expect(next.events).toEqual(['power-on']);
    expect(host.vmm.vm('vm0').session?.name).not.toBe(session);
    expect(host.vmm.list()[0]).toMatchObject({ targetBytes: RAM_BYTES / 2, ledgerPages: 0 });
  });
});

describe('a paused machine', () => {
  it('H4: takes what its driver sent only when it runs again, in order', () => {
    const { host, guest, settle } = world();
    const one = guest();
    one.received.length = 0;
    host.vmm.vm('vm0').stop();
    for (let id = 0; id < 128; id++) one.inflate(id, id);
    host.vmm.balloon('vm0', RAM_BYTES - 4096);
    settle();
    expect(one.ops()).toEqual(['pause']);
    expect(host.vmm.vm('vm0').ledger.balloonPages).toBe(0);
    host.vmm.vm('vm0').cont();
    settle();
    expect(one.ops().slice(0, 5)).toEqual(['pause', 'run', 'config', 'discard', 'used']);
    expect(host.vmm.vm('vm0').ledger.balloonPages).toBe(128);
  });
});

describe('a driver that breaks the wire protocol', () => {
  it('is cut off by name, which is final; what it did right before stays until it is dead', () => {
    const { clock, host, guest, settle } = world();
    const one = guest();
    one.inflate(0, 7);
    one.say([Op.avail, 9, 0, NOTHING, NOTHING]);
    settle();
    expect(one.events).toEqual(['power-on', 'refused bad-queue', 'closed']);
    expect(host.transportCounters.get('bad-queue')).toBe(1);
    expect(host.vmm.list()[0]).toMatchObject({ connected: false, ledgerPages: 1 });
    clock.advanceBy(RESUME_WINDOW_MS);
    expect(host.vmm.list()[0]).toMatchObject({ status: 'guest-panicked', ledgerPages: 0 });
  });

  it('gets no more credit than the queue has entries', () => {
    const { host, guest, settle } = world({ strict: true });
    const one = guest();
    one.inflate(0, 1, 1);
    for (let id = 1; id <= 128; id++) one.inflate(id % 128, id);
    settle();
    expect(host.transportCounters.get('QUEUE_CREDIT')).toBe(1);
  });
});

describe('a strict host', () => {
  it('G06: shows DEVICE_NEEDS_RESET to a driver that is refused', () => {
    const { host, guest, settle } = world({ strict: true });
    const one = guest();
    one.inflate(0, 1, 1);
    settle();
    expect(balloonOf(host.vmm.vm('vm0')).status & DEVICE_NEEDS_RESET).toBe(DEVICE_NEEDS_RESET);
    expect(one.received.at(-2)).toEqual([Op.statusValue, 15 | DEVICE_NEEDS_RESET, false]);
  });

  it('tolerates what it is told to', () => {
    const { host, guest, settle } = world({ strict: true, tolerate: ['inflated-twice'] });
    const one = guest();
    one.inflate(0, 1, 1);
    settle();
    expect(balloonOf(host.vmm.vm('vm0')).driverOk).toBe(true);
    expect(host.vmm.vm('vm0').counters.get('inflated-twice')).toBe(1);
  });
});

describe('the end', () => {
  it('of a guest by quit: power off, and no way back in', () => {
    const { host, guest, settle } = world();
    const one = guest();
    host.vmm.vm('vm0').quit();
    settle();
    expect(one.received.at(-1)).toEqual([Op.powerOff, 'host-qmp-quit']);
    expect(one.events.slice(-2)).toEqual(['refused power-off', 'closed']);
    expect(guest({ epoch: 1 }).events).toEqual(['refused power-off', 'closed']);
    expect(guest({ epoch: 2 }).events).toEqual(['power-on']);
  });

  it('of a guest by its own will', () => {
    const { host, guest, settle } = world();
    const one = guest();
    const events: unknown[] = [];
    host.vmm.vm('vm0').onEvent(({ event, data }) => events.push([event, data]));
    one.connection.close('halt');
    settle();
    expect(events).toEqual([['SHUTDOWN', { guest: true, reason: 'guest-shutdown' }]]);
    expect(host.vmm.list()).toEqual([]);
  });

  it('of the host: machines are gone for controllers, guests go on looking for a host', () => {
    const { host, guest, settle } = world();
    const one = guest();
    host.close();
    settle();
    expect(host.vmm.list()).toEqual([]);
    expect(one.events).toContain('lost host-going');
    expect(one.events).not.toContain('closed');
    expect(one.received.some(([op]) => op === Op.powerOff)).toBe(false);
  });
});
