import { describe, expect, it } from 'vitest';
import { DEFAULT_PROPERTIES } from '../../../host/device/offer.ts';
import { QEMU_POLICY } from '../../../host/device/violations.ts';
import { KeepError, type KeptGuest } from '../../../host/vmm/guest-keeper.ts';
import type { HotplugSlot } from '../../../host/vmm/hotplug-slot.ts';
import type { HotplugKind } from '../../../host/vmm/machine.ts';
import { Vm, type VmOptions } from '../../../host/vmm/vm.ts';
import { VirtualClock } from '../../../shared/lib/clock.ts';
import { SILENT } from '../../../shared/lib/log.ts';
import { RESUME_WINDOW_MS } from '../../../shared/limits.ts';
import { writePfns } from '../../../shared/protocol/bodies.ts';
import { type Avail, Op } from '../../../shared/protocol/messages.ts';
import { GuestEnd, helloOf, opName } from './guest-end.ts';

const inflate: Avail = [Op.avail, 0, 0, writePfns([5, 6, 7]), new Uint8Array(0)];

const PLUGGED = {
  id: 'b',
  typename: 'virtio-balloon-pci',
  properties: DEFAULT_PROPERTIES,
  pollingIntervalSeconds: 0,
};

function running(hotplug?: HotplugKind, options: Partial<VmOptions> = {}) {
  const clock = new VirtualClock();
  let sessions = 0;
  const vm = new Vm({
    hello: helloOf(),
    clock,
    log: SILENT,
    device: { qomId: 'balloon0', properties: DEFAULT_PROPERTIES, policy: QEMU_POLICY, hotplug },
    newSessionName: () => `session ${++sessions}`,
    onGone: () => {},
    ...options,
  });
  const events: string[] = [];
  vm.onEvent(({ event }) => events.push(event));
  vm.newSession();
  const guest = new GuestEnd(vm);
  if (vm.balloon !== undefined) guest.bringUp();
  return { vm, guest, clock, events };
}

function slotOf(vm: Vm): HotplugSlot {
  if (vm.slot === undefined) throw new Error('the machine has no slot');
  return vm.slot;
}

describe('a guest that lets go of its device', () => {
  it('on a machine without a slot is counted, and the device stays', () => {
    const { vm, guest, events } = running();
    guest.say([Op.unplugged]);
    expect([vm.balloon?.driverOk, vm.counters.get('refused_unplugs')]).toEqual([true, 1]);
    expect(events).toEqual([]);
  });

  it('without having deflated and reset gives back what the ledger holds', () => {
    const { vm, guest } = running('acpi');
    guest.say(inflate);
    expect(vm.ledger.balloonPages).toBe(3);
    guest.say([Op.unplugged]);
    expect([vm.ledger.balloonPages, vm.counters.get('emptied_pages')]).toEqual([0, 3]);
  });

  it('and goes on talking to it is counted and not answered', () => {
    const { vm, guest } = running('acpi');
    guest.say([Op.unplugged], [Op.status, 0], inflate, [Op.configWrite, 4, writePfns([1])]);
    expect(guest.news()).toEqual([]);
    expect(vm.counters.get('no_device_messages')).toBe(3);
    guest.say([Op.unplugged]);
    expect(vm.counters.get('refused_unplugs')).toBe(1);
  });

  it('is asked once a request, and told of a new device at once', () => {
    const { vm, guest } = running('pcie');
    slotOf(vm).requestUnplug();
    expect(guest.news()).toEqual([[Op.unplug, 5000]]);
    guest.say([Op.unplugged]);
    slotOf(vm).plug(PLUGGED);
    expect(guest.news().map(opName)).toEqual(['device']);
  });
});

describe('a power-on', () => {
  it('carries out a request over ACPI: RESET, DEVICE_DELETED, no device for the guest', () => {
    const { vm, events } = running('acpi');
    slotOf(vm).requestUnplug();
    vm.restart(helloOf({ epoch: 2 }));
    expect(events).toEqual(['RESET', 'DEVICE_DELETED', 'DEVICE_DELETED']);
    vm.newSession();
    expect(new GuestEnd(vm).sent).toEqual([[Op.unplug, 0]]);
  });

  it('lets the guest forget that the attention button was pressed', () => {
    const { vm, events } = running('pcie');
    slotOf(vm).requestUnplug();
    vm.restart(helloOf({ epoch: 2 }));
    expect([slotOf(vm).state, events]).toEqual(['plugged', ['RESET']]);
    vm.newSession();
    expect(new GuestEnd(vm).sent.map(opName)).toEqual(['device']);
  });

  it('finds what was plugged while the guest was dead', () => {
    const { vm, guest, clock, events } = running('acpi');
    guest.say([Op.unplugged]);
    guest.terminate();
    clock.advanceBy(RESUME_WINDOW_MS);
    expect(events.slice(2)).toEqual(['GUEST_PANICKED', 'STOP']);
    slotOf(vm).plug(PLUGGED);
    vm.restart(helloOf({ epoch: 2 }));
    vm.newSession();
    expect(new GuestEnd(vm).sent.map(opName)).toEqual(['device']);
    expect(vm.balloon?.qomId).toBe('b');
  });
});

describe('what is kept of a slot', () => {
  it('is whether it is empty, and what is in it', () => {
    const records: KeptGuest[] = [];
    const { vm, guest } = running('acpi', { keep: (record) => records.push(record) });
    guest.say([Op.unplugged]);
    slotOf(vm).plug({ ...PLUGGED, pollingIntervalSeconds: 3 });
    expect(records).toMatchObject([
      { qomId: 'balloon0', unplugged: true },
      { qomId: 'b', pollingIntervalSeconds: 3 },
    ]);
    expect(records[1]).not.toHaveProperty('unplugged');
    expect(vm.kept).toEqual(records[1]);
  });

  it('a store that is full refuses a new device and cannot keep an old one', () => {
    const keep = (): void => {
      throw new KeepError('the disk is full');
    };
    const { vm, guest } = running('acpi', { keep });
    guest.say([Op.unplugged]);
    expect(slotOf(vm).state).toBe('empty');
    expect(() => slotOf(vm).plug(PLUGGED)).toThrow('the disk is full');
    expect([slotOf(vm).state, vm.balloon]).toEqual(['empty', undefined]);
  });

  it('a machine that is restored without a device is so', () => {
    const { vm, guest } = running('acpi', { unplugged: true });
    expect([slotOf(vm).state, vm.balloon]).toEqual(['empty', undefined]);
    expect(guest.sent).toEqual([[Op.unplug, 0]]);
  });

  it('on a host without slots it has its device again', () => {
    const { vm } = running(undefined, { unplugged: true });
    expect(vm.balloon?.qomId).toBe('balloon0');
  });
});
