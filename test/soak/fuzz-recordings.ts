import { DEFAULT_PROPERTIES } from '../../host/device/offer.ts';
import { QEMU_POLICY } from '../../host/device/violations.ts';
import type { BalloonProperties } from '../../host/vmm/machine.ts';
import { VirtualSession } from '../../lab/virtual-session.ts';
import { MIB } from '../../shared/lib/units.ts';
import { encode } from '../../shared/protocol/codec.ts';
import type { Message } from '../../shared/protocol/messages.ts';
import { balloonOf } from '../support/balloon-of.ts';

/** The frames of one honest session, both directions, each in its order. */
export interface Recorded {
  readonly guest: readonly Uint8Array[];
  readonly host: readonly Uint8Array[];
}

const GUEST_BYTES = 64 * MIB;

const EVERYTHING: BalloonProperties = {
  'deflate-on-oom': true,
  'free-page-hint': true,
  'free-page-reporting': true,
  'page-poison': true,
  'qemu-4-0-config-size': false,
};

/** What honest hosts and guests say: two devices, one of them with every feature and a slot. */
export function recordSessions(): Recorded[] {
  return [record(DEFAULT_PROPERTIES, false), record(EVERYTHING, true)];
}

function record(properties: BalloonProperties, isFull: boolean): Recorded {
  const frames: { guest: Uint8Array[]; host: Uint8Array[] } = { guest: [], host: [] };
  const session = new VirtualSession({
    properties,
    policy: QEMU_POLICY,
    hotplug: isFull ? 'acpi' : undefined,
    tap: (direction, message: Message) => {
      frames[direction === 'guest-to-host' ? 'guest' : 'host'].push(encode(message));
      return 'pass';
    },
  });
  const guest = session.guest({ id: 'vm0', memoryBytes: GUEST_BYTES });
  guest.start();
  session.clock.advanceBy(1_000);
  act(session, isFull);
  guest.shutdown('guest-shutdown');
  session.clock.advanceBy(10_000);
  return frames;
}

/** Everything an operator does, and a connection that is lost. */
function act({ clock, vmm }: VirtualSession, isFull: boolean): void {
  const vm = vmm.vm('vm0');
  const resize = (bytes: number): void => {
    balloonOf(vm).setTargetBytes(bytes);
    clock.advanceBy(2_000);
  };
  balloonOf(vm).pollingIntervalSeconds = 1;
  for (const mib of [48, 60, 40]) resize(mib * MIB);
  vm.stop();
  resize(56 * MIB);
  vm.cont();
  clock.advanceBy(2_000);
  vm.cutLink();
  resize(GUEST_BYTES);
  if (!isFull) return;
  vmm.hint('vm0', 'start');
  clock.advanceBy(5_000);
  vmm.hint('vm0', 'done');
  resize(50 * MIB);
  vm.slot?.requestUnplug();
  clock.advanceBy(20_000);
  vm.slot?.plug({
    id: 'balloon1',
    typename: 'virtio-balloon-pci',
    properties: EVERYTHING,
    pollingIntervalSeconds: 2,
  });
  clock.advanceBy(5_000);
  resize(50 * MIB);
}
