import { setup } from 'xstate';
import { assert } from '../../shared/lib/assert.ts';
import type { Clock } from '../../shared/lib/clock.ts';
import { compileTimed, TimedActor } from '../../shared/lifecycle/timed.ts';
import type { BalloonSlot, HotplugKind, PluggedDevice } from './machine.ts';

/** The root port's id; its bus has the same name. */
const ROOT_PORT = 'rp0';

/**
 * How long a guest blinks the power indicator after the attention button was pressed, so that an
 * operator may change his mind (PCIe; Linux' pciehp waits as long), and how long QEMU refuses to
 * press it again.
 */
export const ATTENTION_BUTTON_MS = 5000;

interface SlotEvent {
  readonly type: 'inserted' | 'ask' | 'press' | 'released' | 'powerOn';
}

/**
 * The slot of a pcie-root-port of QEMU 7.2 with room for a balloon. A device that is asked for
 * stays until the guest has let go of it, however long that takes.
 *
 * Not emulated: the power and attention indicators as registers, cancelling by a second press,
 * devices at other addresses than 0.0, the 50 ms that QEMU takes to forget a device.
 */
export const hotplugSlotMachine = setup({
  types: { events: {} as SlotEvent },
  delays: { attentionButton: ATTENTION_BUTTON_MS },
  actions: { tell: () => {}, remove: () => {} },
}).createMachine({
  id: 'hotplug_slot',
  initial: 'empty',
  states: {
    empty: { on: { inserted: 'plugged' } },
    plugged: {
      on: {
        ask: { target: 'requested', actions: 'tell' },
        press: { target: 'pressed', actions: 'tell' },
        released: { target: 'empty', actions: 'remove' },
      },
    },
    requested: {
      description: 'Asked over ACPI. It may be asked again; a reset of the machine takes it out.',
      on: {
        ask: { target: 'requested', actions: 'tell' },
        released: { target: 'empty', actions: 'remove' },
        powerOn: { target: 'empty', actions: 'remove' },
      },
    },
    pressed: {
      description: 'The attention button was pressed. A guest that boots knows nothing of it.',
      after: { attentionButton: 'blinking' },
      on: { released: { target: 'empty', actions: 'remove' }, powerOn: 'plugged' },
    },
    blinking: {
      description: 'The guest is busy with it.',
      on: { released: { target: 'empty', actions: 'remove' }, powerOn: 'plugged' },
    },
  },
});

const COMPILED = compileTimed(hotplugSlotMachine);

export interface HotplugSlotOptions {
  readonly kind: HotplugKind;
  /** The machine's clock: it stands still while the machine is paused. */
  readonly clock: Clock;
  /** Sends the guest the request; it lets go after `waitMs`. */
  tell(waitMs: number): void;
  /** Puts a device into the machine and tells the guest; what it throws refuses the device. */
  insert(qomId: string, device: PluggedDevice): void;
  /** Takes the device out of the machine, which emits DEVICE_DELETED. */
  remove(): void;
}

const EFFECTS = {
  tell: ({ kind, tell }: HotplugSlotOptions) => tell(kind === 'acpi' ? 0 : ATTENTION_BUTTON_MS),
  remove: ({ remove }: HotplugSlotOptions) => remove(),
};

export class HotplugSlot implements BalloonSlot {
  readonly bus = ROOT_PORT;
  readonly #options: HotplugSlotOptions;
  readonly #actor: TimedActor<
    BalloonSlot['state'],
    SlotEvent,
    keyof typeof EFFECTS,
    HotplugSlotOptions
  >;
  #typename = '';
  #hotplugged = false;
  #anonymousCount = 0;

  constructor(options: HotplugSlotOptions) {
    this.#options = options;
    this.#actor = new TimedActor(COMPILED, EFFECTS, options.clock, options);
  }

  get state(): BalloonSlot['state'] {
    return this.#actor.state;
  }

  get typename(): string {
    return this.#typename;
  }

  get hotplugged(): boolean {
    return this.#hotplugged;
  }

  /** The machine is built with a device in the slot. */
  startWith(typename: string): void {
    this.#typename = typename;
    this.#actor.send({ type: 'inserted' });
  }

  requestUnplug(): void {
    assert(['plugged', 'requested'].includes(this.state), 'a slot is asked where it may be asked');
    this.#actor.send({ type: this.#options.kind === 'acpi' ? 'ask' : 'press' });
  }

  plug(device: PluggedDevice): void {
    assert(this.state === 'empty', 'a device is plugged into an empty slot');
    this.#options.insert(device.id ?? `device[${this.#anonymousCount}]`, device);
    if (device.id === undefined) this.#anonymousCount++;
    this.#typename = device.typename;
    this.#hotplugged = true;
    this.#actor.send({ type: 'inserted' });
  }

  /** The guest let go of the device, asked or not. False when there was none. */
  released(): boolean {
    const isOccupied = this.state !== 'empty';
    this.#actor.send({ type: 'released' });
    return isOccupied;
  }

  /** The machine was reset: a request over ACPI is carried out, any other is forgotten. */
  poweredOn(): void {
    this.#actor.send({ type: 'powerOn' });
  }

  /** Ends the timer; the machine has no use for the slot any more. */
  stop(): void {
    this.#actor.stop();
  }
}
