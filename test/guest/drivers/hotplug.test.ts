import { beforeEach, describe, expect, it } from 'vitest';
import type { KeptGuest } from '../../../host/vmm/guest-keeper.ts';
import type { BalloonSlot } from '../../../host/vmm/machine.ts';
import { MIB } from '../../../shared/lib/units.ts';
import { HeldGuest } from '../../support/held-guest.ts';

const RAM = 256 * MIB;

let held: HeldGuest;
let events: unknown[];

function plugged(options: ConstructorParameters<typeof HeldGuest>[0] = {}): void {
  held = new HeldGuest({ hotplug: 'acpi', ...options });
  events = [];
  listen();
}

function listen(): void {
  held.session.vm('vm0').onEvent(({ event, data }) => events.push([event, data]));
}

beforeEach(() => plugged());

const vm = () => held.session.vm('vm0');
const driverState = () => held.guest.kernel.core.state;

function slot(): BalloonSlot {
  const { slot } = vm();
  if (slot === undefined) throw new Error('the machine has no slot');
  return slot;
}

function unplug(): void {
  slot().requestUnplug();
  held.run();
}

function plug(id = 'balloon1'): void {
  slot().plug({
    id,
    typename: 'virtio-balloon-pci',
    properties: {
      'deflate-on-oom': true,
      'free-page-hint': false,
      'free-page-reporting': false,
      'page-poison': true,
      'qemu-4-0-config-size': false,
    },
    pollingIntervalSeconds: 0,
  });
  held.run();
}

const deleted = (id: string) => [
  ['DEVICE_DELETED', { path: `/machine/peripheral/${id}/virtio-backend` }],
  ['DEVICE_DELETED', { device: id, path: `/machine/peripheral/${id}` }],
];

describe('a request to let go of a bound device', () => {
  it('deflates everything, writes `actual`, resets, acknowledges, and ejects (recorded)', () => {
    held.setTarget(RAM - 4 * MIB);
    const from = held.trace.length;
    events.length = 0;
    unplug();
    const trace = held.trace.slice(from);
    expect(trace.map(({ ev }) => ev)).toEqual([
      ...Array(4).fill(['buf', 'used']).flat(),
      'config-set',
      'status',
      'status',
    ]);
    expect(trace.flatMap((event) => (event.ev === 'status' ? [event.val] : []))).toEqual([0, 1]);
    expect(events).toEqual([['BALLOON_CHANGE', { actual: RAM }], ...deleted('balloon0')]);
    expect([driverState(), slot().state, vm().balloon]).toEqual(['ejected', 'empty', undefined]);
    expect(vm().ledger.balloonPages).toBe(0);
    expect(held.guest.kernel.memory.verify()).toEqual([]);
  });

  it('waits for the batch that is under way', () => {
    plugged({ hold: true });
    held.setTarget(RAM - 4 * MIB);
    unplug();
    held.run(60_000);
    expect([driverState(), slot().state]).toEqual(['ejecting', 'requested']);
    held.holding = false;
    held.release();
    expect([driverState(), slot().state]).toEqual(['ejected', 'empty']);
    expect(held.guest.kernel.memory.verify()).toEqual([]);
  });

  it('is heard by a paused guest when it runs again', () => {
    held.setTarget(RAM - MIB);
    vm().stop();
    unplug();
    held.run(60_000);
    expect([driverState(), slot().state]).toEqual(['bound', 'requested']);
    vm().cont();
    held.run();
    expect([driverState(), slot().state]).toEqual(['ejected', 'empty']);
  });

  it('asked twice is done once', () => {
    slot().requestUnplug();
    unplug();
    expect(events).toEqual(deleted('balloon0'));
    plug();
    held.run(60_000);
    expect(driverState()).toBe('bound');
  });

  it('over the attention button the guest waits 5 seconds of its own time', () => {
    plugged({ hotplug: 'pcie' });
    unplug();
    held.run(4999);
    expect([driverState(), slot().state]).toEqual(['bound', 'pressed']);
    vm().stop();
    held.run(60_000);
    expect([driverState(), slot().state]).toEqual(['bound', 'pressed']);
    vm().cont();
    held.run(1);
    expect([driverState(), slot().state]).toEqual(['ejected', 'empty']);
  });
});

describe('a request to let go of a device', () => {
  it.each([
    ['unbind', 'unbound', 'ejected', 'bound'],
    ['rmmod', 'unloaded', 'ejectedUnloaded', 'unloaded'],
  ] as const)('after %s is granted without a driver', (verb, before, without, after) => {
    held.guest.verb(verb);
    held.run();
    const from = held.trace.length;
    expect(driverState()).toBe(before);
    unplug();
    expect(driverState()).toBe(without);
    expect(held.trace).toHaveLength(from);
    expect(events).toEqual(deleted('balloon0'));
    plug();
    expect(driverState()).toBe(after);
    expect(held.guest.kernel.device.status).toBe(after === 'bound' ? 15 : 1);
  });

  it('waits until a suspended guest is resumed', () => {
    held.guest.verb('suspend');
    held.run();
    unplug();
    held.run(60_000);
    expect([driverState(), slot().state]).toEqual(['suspended', 'requested']);
    held.guest.verb('resume');
    held.run();
    expect([driverState(), slot().state]).toEqual(['ejected', 'empty']);
  });

  it('waits until the driver that is being taken off is off', () => {
    plugged({ hold: true });
    held.setTarget(RAM - MIB);
    held.guest.verb('unbind');
    unplug();
    expect(driverState()).toBe('unbinding');
    held.holding = false;
    held.release();
    expect([driverState(), slot().state]).toEqual(['ejected', 'empty']);
  });
});

describe('a module loaded and unloaded while the slot is empty', () => {
  it.each([
    [['rmmod'], 'unloaded'],
    [['rmmod', 'insmod'], 'bound'],
  ] as const)('%j: the next device is %s', (verbs, state) => {
    unplug();
    for (const verb of verbs) held.guest.verb(verb);
    held.run();
    plug();
    expect(driverState()).toBe(state);
  });

  it.each(['unbind', 'bind', 'suspend', 'resume', 'insmod'] as const)('%s is refused', (verb) => {
    unplug();
    expect(() => held.guest.verb(verb)).toThrow('the driver is ejected');
  });
});

describe('a device plugged into the empty slot', () => {
  beforeEach(() => {
    held.setTarget(RAM - 4 * MIB);
    held.balloon.pollingIntervalSeconds = 1;
    held.run(2000);
    unplug();
    events.length = 0;
  });

  it('is probed from the start, with the features it has', () => {
    const from = held.trace.length;
    plug();
    const status = held.trace
      .slice(from)
      .flatMap((event) => (event.ev === 'status' ? event.val : []));
    expect(status).toEqual([0, 1, 3, 11, 15]);
    expect(held.balloon.negotiated & 4n).toBe(4n);
    expect([driverState(), slot().state]).toEqual(['bound', 'plugged']);
  });

  it('is a new one: no target, no polling, statistics only of its driver’s first buffer', () => {
    plug();
    held.run(10_000);
    expect(held.driver.numPages).toBe(0);
    const { targetBytes, actualBytes, pollingIntervalSeconds, stats } = held.balloon;
    expect([targetBytes, actualBytes, pollingIntervalSeconds]).toEqual([RAM, RAM, 0]);
    expect(stats.lastUpdateSeconds).toBe(2);
    expect(events).toEqual([]);
  });

  it('works like the first, and can be unplugged again', () => {
    plug();
    held.setTarget(RAM - 8 * MIB);
    expect(vm().ledger.balloonPages).toBe(2048);
    unplug();
    expect(events.slice(-2)).toEqual(deleted('balloon1'));
    expect(vm().ledger.balloonPages).toBe(0);
    expect(held.guest.kernel.memory.verify()).toEqual([]);
  });

  it('while the guest is paused, it is taken up when it runs', () => {
    vm().stop();
    plug();
    held.balloon.setTargetBytes(RAM - MIB);
    held.run(1000);
    expect([driverState(), held.driver.numPages]).toEqual(['probing', 0]);
    vm().cont();
    held.run();
    expect([driverState(), held.driver.numPages]).toEqual(['bound', 256]);
  });

  it('while the link is lost, it is there when the link is back', () => {
    held.session.cut('vm0');
    plug();
    held.balloon.setTargetBytes(RAM - MIB);
    held.run(1000);
    expect([driverState(), held.driver.numPages]).toEqual(['bound', 256]);
  });
});

describe('what the host sent before it knew that the device is gone', () => {
  it('is ignored: a target and its interrupt cross the ejection', () => {
    slot().requestUnplug();
    held.balloon.setTargetBytes(RAM - MIB);
    held.run();
    expect([driverState(), slot().state]).toEqual(['ejected', 'empty']);
    expect(held.guest.kernel.device.inFlight).toBe(0);
    plug();
    expect(held.driver.numPages).toBe(0);
  });
});

describe('a lost link', () => {
  it('loses neither the request nor the answer', () => {
    held.setTarget(RAM - 4 * MIB);
    held.session.cut('vm0');
    slot().requestUnplug();
    held.run(1000);
    expect([driverState(), slot().state]).toEqual(['ejected', 'empty']);
    expect(vm().ledger.balloonPages).toBe(0);
  });
});

/** Long enough for the guest to find the new host. */
const BACK_MS = 1000;

describe('a host that died and came back', () => {
  let kept: Map<string, KeptGuest>;

  beforeEach(() => {
    kept = new Map();
    const keeper = {
      list: () => [...kept.values()],
      put: (record: KeptGuest) => void kept.set(record.guest, record),
    };
    plugged({ keeper });
    held.setTarget(RAM - 4 * MIB);
  });

  function replaceHost(): void {
    held.session.replaceHost();
    held.run(BACK_MS);
    events.length = 0;
    listen();
  }

  it('knows that the slot is empty, and what is plugged into it', () => {
    unplug();
    replaceHost();
    expect([driverState(), slot().state, vm().balloon]).toEqual(['ejected', 'empty', undefined]);
    plug('b7');
    expect(driverState()).toBe('bound');
    replaceHost();
    expect([driverState(), slot().state]).toEqual(['bound', 'plugged']);
    expect(held.balloon.qomId).toBe('b7');
    expect(held.balloon.properties['deflate-on-oom']).toBe(true);
  });

  it('does not know what it asked for, and neither does the guest any more', () => {
    held.guest.verb('suspend');
    held.run();
    unplug();
    replaceHost();
    held.guest.verb('resume');
    held.run();
    expect([driverState(), slot().state]).toEqual(['bound', 'plugged']);
    expect(held.driver.numPages).toBe(1024);
  });

  it('may die in the middle of the ejection: the device is there again', () => {
    held.holding = true;
    unplug();
    expect(driverState()).toBe('ejecting');
    held.held.length = 0;
    held.holding = false;
    replaceHost();
    expect([driverState(), slot().state]).toEqual(['bound', 'plugged']);
    expect(held.driver.numPages).toBe(1024);
    expect(vm().ledger.balloonPages).toBe(1024);
    expect(held.guest.kernel.memory.verify()).toEqual([]);
  });

  it('with an empty slot takes the device off a guest that has one', () => {
    kept.set('vm0', { ...(kept.get('vm0') as KeptGuest), unplugged: true });
    replaceHost();
    expect([driverState(), slot().state]).toEqual(['ejected', 'empty']);
    expect(held.driver.numPages).toBe(0);
    expect(held.guest.kernel.memory.verify()).toEqual([]);
    expect(events).toEqual([]);
    plug();
    held.setTarget(RAM - MIB);
    expect(held.driver.numPages).toBe(256);
  });
});
