import type { Guest } from '../../guest/guest.ts';
import type { BalloonCompaction } from '../../guest/mm/balloon/compaction-mode.ts';
import { DEFAULT_PROPERTIES } from '../../host/device/offer.ts';
import { QEMU_POLICY } from '../../host/device/violations.ts';
import type { GuestKeeper } from '../../host/vmm/guest-keeper.ts';
import type { BalloonProperties, HotplugKind } from '../../host/vmm/machine.ts';
import type { WireTraceEvent } from '../../host/vmm/wire-trace.ts';
import { VirtualSession } from '../../lab/virtual-session.ts';
import { MIB } from '../../shared/lib/units.ts';
import { type HostToGuest, Op } from '../../shared/protocol/messages.ts';
import { balloonOf } from './balloon-of.ts';

export interface HeldGuestOptions {
  readonly memoryBytes?: number;
  readonly properties?: Partial<BalloonProperties>;
  /** Keeps every `used` message until `release` is called. */
  readonly hold?: boolean;
  /** The balloon sits in a slot. */
  readonly hotplug?: HotplugKind;
  readonly keeper?: GuestKeeper;
  /** The guest boots with page_poison=1. */
  readonly pagePoison?: boolean;
  /** `movable` if left out. */
  readonly balloonCompaction?: BalloonCompaction;
}

/** A guest on virtual time whose acknowledgements a test can hold back one by one. */
export class HeldGuest {
  readonly session: VirtualSession;
  readonly guest: Guest;
  /** Acknowledgements on their way, the oldest first. */
  readonly held: (() => void)[] = [];
  holding: boolean;

  constructor(options: HeldGuestOptions = {}) {
    const { memoryBytes = 256 * MIB, properties = {}, hold = false, hotplug, keeper } = options;
    this.holding = hold;
    this.session = new VirtualSession({
      properties: { ...DEFAULT_PROPERTIES, ...properties },
      policy: QEMU_POLICY,
      hotplug,
      ...(keeper === undefined ? {} : { keeper }),
    });
    this.guest = this.session.guest({
      id: 'vm0',
      memoryBytes,
      pagePoison: options.pagePoison ?? false,
      balloonCompaction: options.balloonCompaction ?? 'movable',
      interpose: (message, deliver) => this.#receive(message, deliver),
    });
    this.guest.start();
    this.session.clock.advanceTo(1);
  }

  get balloon() {
    return balloonOf(this.session.vm('vm0'));
  }

  get driver() {
    return this.guest.kernel.balloon;
  }

  get trace(): WireTraceEvent[] {
    return this.session.trace('vm0');
  }

  /** Sets the size that shall remain to the guest and lets what takes no time happen. */
  setTarget(bytes: number): void {
    this.balloon.setTargetBytes(bytes);
    this.run();
  }

  /** Lets `deltaMs` pass. */
  run(deltaMs = 0): void {
    this.session.clock.advanceBy(deltaMs);
  }

  /** Delivers the oldest held acknowledgement. */
  release(): void {
    this.held.shift()?.();
    this.run();
  }

  buffers(queue: string): Extract<WireTraceEvent, { ev: 'buf' }>[] {
    return this.trace.filter((event) => event.ev === 'buf').filter((buf) => buf.queue === queue);
  }

  #receive(message: HostToGuest, deliver: (message: HostToGuest) => void): void {
    if (this.holding && message[0] === Op.used) this.held.push(() => deliver(message));
    else deliver(message);
  }
}
