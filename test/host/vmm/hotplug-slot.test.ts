import { beforeEach, describe, expect, test } from 'vitest';
import { DEFAULT_PROPERTIES } from '../../../host/device/offer.ts';
import { ATTENTION_BUTTON_MS, HotplugSlot } from '../../../host/vmm/hotplug-slot.ts';
import type { HotplugKind, PluggedDevice } from '../../../host/vmm/machine.ts';
import { VirtualClock } from '../../../shared/lib/clock.ts';

const DEVICE: PluggedDevice = {
  id: 'b',
  typename: 'virtio-balloon-pci',
  properties: DEFAULT_PROPERTIES,
  pollingIntervalSeconds: 0,
};

let clock: VirtualClock;
/** What the slot did to its machine. */
let done: string[];

beforeEach(() => {
  clock = new VirtualClock();
  done = [];
});

function slotOf(kind: HotplugKind): HotplugSlot {
  const slot = new HotplugSlot({
    kind,
    clock,
    tell: (waitMs) => done.push(`tell ${waitMs}`),
    insert: (qomId) => done.push(`insert ${qomId}`),
    remove: () => done.push('remove'),
  });
  slot.startWith('virtio-balloon-pci');
  return slot;
}

describe('over ACPI', () => {
  test('a device that was asked for stays until the guest lets go of it', () => {
    const slot = slotOf('acpi');
    slot.requestUnplug();
    clock.advanceBy(3_600_000);
    expect([slot.state, done]).toEqual(['requested', ['tell 0']]);
    expect(slot.released()).toBe(true);
    expect([slot.state, done]).toEqual(['empty', ['tell 0', 'remove']]);
  });

  test('it may be asked for again, and the guest is told again', () => {
    const slot = slotOf('acpi');
    slot.requestUnplug();
    slot.requestUnplug();
    expect(done).toEqual(['tell 0', 'tell 0']);
  });

  test('a reset of the machine carries the request out', () => {
    const slot = slotOf('acpi');
    slot.poweredOn();
    expect(slot.state).toBe('plugged');
    slot.requestUnplug();
    slot.poweredOn();
    expect([slot.state, done]).toEqual(['empty', ['tell 0', 'remove']]);
  });
});

describe('over the attention button', () => {
  test('it is refused to be pressed again, then the guest is busy', () => {
    const slot = slotOf('pcie');
    slot.requestUnplug();
    clock.advanceBy(ATTENTION_BUTTON_MS - 1);
    expect([slot.state, done]).toEqual(['pressed', [`tell ${ATTENTION_BUTTON_MS}`]]);
    clock.advanceBy(1);
    expect(slot.state).toBe('blinking');
    slot.released();
    expect(slot.state).toBe('empty');
  });

  test.each([0, ATTENTION_BUTTON_MS])('a reset after %d ms lets the guest forget it', (afterMs) => {
    const slot = slotOf('pcie');
    slot.requestUnplug();
    clock.advanceBy(afterMs);
    slot.poweredOn();
    expect([slot.state, done.includes('remove')]).toEqual(['plugged', false]);
    expect(clock.nextDueMs()).toBeUndefined();
  });

  test('stop ends the timer', () => {
    const slot = slotOf('pcie');
    slot.requestUnplug();
    slot.stop();
    expect(clock.nextDueMs()).toBeUndefined();
  });
});

describe.each(['acpi', 'pcie'] as const)('a slot of either kind (%s)', (kind) => {
  test('a guest may let go of its device without being asked, once', () => {
    const slot = slotOf(kind);
    expect(slot.released()).toBe(true);
    expect(slot.released()).toBe(false);
    expect(done).toEqual(['remove']);
  });

  test('an empty one takes a device, which counts as hot-plugged', () => {
    const slot = slotOf(kind);
    expect(slot.hotplugged).toBe(false);
    slot.released();
    slot.plug({ ...DEVICE, typename: 'virtio-balloon-pci-transitional' });
    expect(slot).toMatchObject({
      state: 'plugged',
      hotplugged: true,
      typename: 'virtio-balloon-pci-transitional',
    });
    expect(done).toEqual(['remove', 'insert b']);
  });

  test('devices without an id are numbered', () => {
    const slot = slotOf(kind);
    for (const id of [undefined, 'b', undefined]) {
      slot.released();
      slot.plug({ ...DEVICE, id });
    }
    expect(done.filter((what) => what !== 'remove')).toEqual([
      'insert device[0]',
      'insert b',
      'insert device[1]',
    ]);
  });

  test('a device that the machine refuses is not in it', () => {
    const slot = new HotplugSlot({
      kind,
      clock,
      tell: () => {},
      insert: () => {
        throw new Error('no room in the store');
      },
      remove: () => {},
    });
    expect(() => slot.plug(DEVICE)).toThrow('no room');
    expect([slot.state, slot.hotplugged]).toEqual(['empty', false]);
  });
});
