import fc from 'fast-check';
import { expect, it } from 'vitest';
import { DRIVER_VERBS, DriverError } from '../../../guest/drivers/driver-core.ts';
import type { KeptGuest } from '../../../host/vmm/guest-keeper.ts';
import { HOTPLUG_KINDS, type HotplugKind } from '../../../host/vmm/machine.ts';
import { MIB } from '../../../shared/lib/units.ts';
import { HeldGuest } from '../../support/held-guest.ts';

const RAM = 64 * MIB;

/** What an operator, a controller or an accident does; each is followed by some milliseconds. */
const ACTIONS = [
  'unplug',
  'plug',
  'stop',
  'cont',
  'cut',
  'replaceHost',
  'target',
  'poll',
  ...DRIVER_VERBS,
] as const;
type Action = (typeof ACTIONS)[number];
type Step = readonly [action: Action, waitMs: number];

const steps = fc.array(
  fc.tuple(fc.constantFrom(...ACTIONS), fc.constantFrom(0, 0, 1, 30, 400, 6000)),
  { maxLength: 25 },
);

/** Long enough for back-off, the attention button and any inflation. */
const SETTLE_MS = 60_000;

class World {
  readonly held: HeldGuest;
  #plugs = 0;
  #targets = 0;

  constructor(hotplug: HotplugKind) {
    const kept = new Map<string, KeptGuest>();
    const keeper = {
      list: () => [...kept.values()],
      put: (record: KeptGuest) => void kept.set(record.guest, record),
    };
    this.held = new HeldGuest({ memoryBytes: RAM, hotplug, keeper });
  }

  get vm() {
    return this.held.session.vm('vm0');
  }

  act([action, waitMs]: Step): void {
    const { vm, held } = this;
    if (action === 'stop' || action === 'cont') vm[action]();
    else if (action === 'cut') held.session.cut('vm0');
    else if (action === 'replaceHost') held.session.replaceHost();
    else if (action === 'unplug') this.#unplug();
    else if (action === 'plug') this.#plug();
    else if (action === 'target') vm.balloon?.setTargetBytes(RAM - (++this.#targets % 7) * MIB);
    else if (action !== 'poll') this.#verb(action);
    else if (vm.balloon !== undefined) vm.balloon.pollingIntervalSeconds ^= 1;
    held.run(waitMs);
  }

  #unplug(): void {
    const { slot } = this.vm;
    if (slot?.state === 'plugged' || slot?.state === 'requested') slot.requestUnplug();
  }

  #plug(): void {
    if (this.vm.slot?.state !== 'empty') return;
    this.vm.slot.plug({
      id: this.#plugs++ % 3 === 0 ? undefined : `b${this.#plugs}`,
      typename: 'virtio-balloon-pci',
      properties: {
        'deflate-on-oom': this.#plugs % 2 === 0,
        'free-page-reporting': this.#plugs % 3 === 0,
      },
      pollingIntervalSeconds: 0,
    });
  }

  #verb(verb: (typeof DRIVER_VERBS)[number]): void {
    try {
      this.held.guest.verb(verb);
    } catch (error) {
      if (!(error instanceof DriverError)) throw error;
    }
  }
}

it.each(HOTPLUG_KINDS)('over %s: whatever happens, both sides agree in the end', (kind) => {
  fc.assert(
    fc.property(steps, (sequence) => {
      const world = new World(kind);
      for (const step of sequence) world.act(step);
      for (const action of ['cont', 'resume'] as const) world.act([action, SETTLE_MS]);
      const { vm, held } = world;
      const { core, balloon, memory, scheduler } = held.guest.kernel;
      const isEmpty = vm.slot?.state === 'empty';
      expect(vm.slot?.state).toBe(isEmpty ? 'empty' : 'plugged');
      expect(core.hasDevice).toBe(!isEmpty);
      expect(vm.balloon === undefined).toBe(isEmpty);
      expect(vm.balloon?.driverOk ?? false).toBe(core.state === 'bound');
      expect(balloon.numPages * 4096).toBe(
        core.state === 'bound' ? RAM - (vm.balloon?.targetBytes ?? RAM) : 0,
      );
      expect(
        vm.ledger.compareBalloon(core.state === 'bound' ? (balloon.book?.pfns() ?? []) : []),
      ).toMatchObject({ missing: 0, surplus: 0, repeated: 0 });
      expect(memory.verify()).toEqual([]);
      expect([...scheduler.tasks()]).toEqual([]);
    }),
    { numRuns: 100 },
  );
});
