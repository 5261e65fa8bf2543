import { createActor, type StateValueFrom, setup } from 'xstate';
import { ACKNOWLEDGE, FAILED } from '../../shared/virtio/device-status.ts';
import { type Scheduler, type Waiting, WaitQueue } from '../sched/scheduler.ts';
import { WorkItem, Workqueue } from '../sched/workqueue.ts';
import type { VirtioBalloon } from './virtio-balloon.ts';
import type { VirtioDevice } from './virtio-device.ts';

/** Operator actions on the driver, with the words of sysfs, modutils and power management. */
export const DRIVER_VERBS = ['unbind', 'bind', 'rmmod', 'insmod', 'suspend', 'resume'] as const;
export type DriverVerb = (typeof DRIVER_VERBS)[number];

/** An operator's mistake, with the error a shell in the guest would show. */
export class DriverError extends Error {
  override readonly name = 'DriverError';
}

/** Where module and device stand. A verb leads to a transitional state that ends with `done`. */
export const driverMachine = setup({
  types: {
    events: {} as { type: DriverVerb | 'plug' | 'unplug' | 'newHost' | 'done' | 'failed' },
  },
}).createMachine({
  id: 'virtio_balloon',
  initial: 'absent',
  states: {
    absent: {
      description: 'The host has not said yet whether there is a device.',
      tags: 'empty',
      on: { plug: 'probing', unplug: 'ejected', rmmod: 'ejectedUnloaded' },
    },
    ejected: {
      description: 'The slot is empty.',
      tags: 'empty',
      on: { plug: 'probing', rmmod: 'ejectedUnloaded' },
    },
    ejectedUnloaded: { tags: 'empty', on: { plug: 'registering', insmod: 'ejected' } },
    registering: { tags: 'busy', on: { done: 'unloaded' } },
    probing: { tags: 'busy', on: { done: 'bound', failed: 'unbound' } },
    bound: {
      on: {
        unbind: 'unbinding',
        rmmod: 'removing',
        suspend: 'freezing',
        newHost: 'announcing',
        unplug: 'ejecting',
      },
    },
    ejecting: { tags: 'busy', on: { done: 'ejected' } },
    announcing: { tags: 'busy', on: { done: 'bound', failed: 'unbound' } },
    unbinding: { tags: 'busy', on: { done: 'unbound' } },
    unbound: {
      on: { bind: 'probing', rmmod: 'unloaded', newHost: 'reregistering', unplug: 'ejected' },
    },
    reregistering: { tags: 'busy', on: { done: 'unbound' } },
    removing: { tags: 'busy', on: { done: 'unloaded' } },
    unloaded: {
      on: { insmod: 'probing', newHost: 'registering', unplug: 'ejectedUnloaded' },
    },
    freezing: { tags: 'busy', on: { done: 'suspended' } },
    suspended: { on: { resume: 'restoring' } },
    restoring: { tags: 'busy', on: { done: 'bound', failed: 'unbound' } },
  },
});
export type DriverState = StateValueFrom<typeof driverMachine>;

/** %s stands for the device's name on the virtio bus. */
const REFUSAL: Record<DriverVerb, string> = {
  unbind: 'ENODEV: no driver is bound to %s',
  bind: 'ENODEV: %s is bound already or virtio_balloon is not loaded',
  rmmod: 'ENOENT: module virtio_balloon is not loaded',
  insmod: 'EEXIST: module virtio_balloon is loaded already',
  suspend: 'EBUSY: the driver is not bound, so there is nothing to suspend',
  resume: 'EINVAL: the guest is not suspended',
};

export interface DriverCoreParts {
  /** On the virtio bus: virtio0 is the first. */
  readonly name: string;
  readonly device: VirtioDevice;
  readonly driver: VirtioBalloon;
  readonly workqueue: Workqueue;
  readonly scheduler: Scheduler;
}

/**
 * The virtio bus and driver core around one balloon: G29's initialisation in order, and what
 * binding, unbinding, loading, unloading, suspend, resume and hot plug do to the device.
 *
 * Not emulated: a second press of the attention button, which cancels; ejecting by the guest's own
 * will (`echo 0 > .../power`).
 */
export class DriverCore {
  readonly #name: string;
  readonly #device: VirtioDevice;
  readonly #driver: VirtioBalloon;
  readonly #workqueue: Workqueue;
  readonly #scheduler: Scheduler;
  readonly #state = createActor(driverMachine).start();
  readonly #settled = new WaitQueue('driver core');
  /** kacpi_hotplug_wq, which unlike the balloon's is not freezable. */
  readonly #hotplug: Workqueue;
  readonly #ejectWork = new WorkItem('eject', () => this.#eject());
  #ejectWaitMs = 0;
  /** Hosts lost so far: what one of them asked for is void once it is gone. */
  #hostsLost = 0;
  /** A new host's device is to be taken up by a task that has not begun with it. */
  #newHostDue = false;

  constructor(parts: DriverCoreParts) {
    this.#name = parts.name;
    this.#device = parts.device;
    this.#driver = parts.driver;
    this.#workqueue = parts.workqueue;
    this.#scheduler = parts.scheduler;
    this.#hotplug = new Workqueue(parts.scheduler);
  }

  get state(): DriverState {
    return this.#state.getSnapshot().value;
  }

  /** Whether a device is there, bound to its driver or not. */
  get hasDevice(): boolean {
    return !this.#state.getSnapshot().hasTag('empty');
  }

  /**
   * The host has described a device. Where there was none it is probed; where there was one it is a
   * new host's, for the old one is gone, told or not.
   */
  appeared(): void {
    if (!this.hasDevice) {
      this.#scheduler.spawn('virtio probe', this.#plug());
      return;
    }
    this.hostLost();
    if (this.#newHostDue) return;
    this.#newHostDue = true;
    this.#scheduler.spawn('new host', this.#newHost());
  }

  /**
   * A device appeared where none was, at boot or in its slot: it is there when this returns, and
   * the work returned is register_virtio_device and the driver's probe.
   */
  #plug(): Waiting {
    this.#state.send({ type: 'plug' });
    this.#device.mend();
    return this.#register();
  }

  *#register(): Waiting {
    yield* this.#device.acknowledge();
    if (this.state === 'probing') yield* this.#probe();
    else this.#settle('done');
  }

  /**
   * The host asks for the device: over ACPI at once (acpiphp), after the attention button was
   * pressed once the operator had `waitMs` to change his mind (pciehp).
   */
  requestUnplug(waitMs: number): void {
    this.#ejectWaitMs = waitMs;
    this.#hotplug.queue(this.#ejectWork);
  }

  /** acpiphp's disable_slot: waits for the device lock, removes what is bound, then ejects. */
  *#eject(): Waiting {
    const hostsLost = this.#hostsLost;
    if (this.#ejectWaitMs > 0) yield this.#ejectWaitMs;
    while (!this.#state.getSnapshot().can({ type: 'unplug' })) {
      if (!this.hasDevice || this.#hostsLost !== hostsLost) return;
      yield this.#settled;
    }
    if (this.#hostsLost !== hostsLost) return;
    const { hasDevice } = this;
    this.#state.send({ type: 'unplug' });
    if (this.state === 'ejecting') {
      yield* this.#driver.remove();
      yield* this.#device.addStatus(ACKNOWLEDGE);
      this.#settle('done');
    }
    if (hasDevice) this.#device.eject();
  }

  /** The host is gone, and with it all it knew; what was under way ends without it. */
  hostLost(): void {
    this.#hostsLost++;
    this.#device.break();
    this.#scheduler.wake(this.#settled);
  }

  /**
   * A new host has taken over: the device is initialised again and told the whole balloon list,
   * then `actual`. Nothing else of the guest changes. Puff's extension: a VM does not outlive its
   * VMM.
   */
  *#newHost(): Waiting {
    while (this.#state.getSnapshot().hasTag('busy')) yield this.#settled;
    this.#newHostDue = false;
    if (!this.hasDevice) return yield* this.#plug();
    this.#state.send({ type: 'newHost' });
    const { state } = this;
    if (state === 'announcing') yield* this.#workqueue.freeze();
    this.#device.mend();
    if (state === 'suspended') return;
    yield* this.#device.acknowledge();
    if (state !== 'announcing') {
      this.#settle('done');
      return;
    }
    const accepted = yield* this.#device.negotiate(this.#driver.acceptedFeatures());
    if (accepted) yield* this.#driver.announce();
    this.#workqueue.thaw();
    if (!accepted) yield* this.#driver.abandon();
    this.#settle(accepted ? 'done' : 'failed');
  }

  /** Is the verb possible where module and device stand now? */
  can(verb: DriverVerb): boolean {
    return this.#state.getSnapshot().can({ type: verb });
  }

  /** Starts a verb now and returns its work; throws DriverError when it is not possible here. */
  begin(verb: DriverVerb): Waiting {
    if (!this.can(verb)) {
      const refusal = REFUSAL[verb].replace('%s', this.#name);
      throw new DriverError(`${refusal} (the driver is ${this.state})`);
    }
    this.#state.send({ type: verb });
    return this.#run(this.state);
  }

  /** `entered` is where the verb led to: by the time its work begins others may have followed. */
  *#run(entered: DriverState): Waiting {
    switch (entered) {
      case 'probing':
        return yield* this.#probe();
      case 'unbinding':
      case 'removing':
        yield* this.#driver.remove();
        // virtio_dev_remove leaves the device acknowledged.
        yield* this.#device.addStatus(ACKNOWLEDGE);
        break;
      case 'freezing':
        yield* this.#workqueue.freeze();
        yield* this.#driver.freeze();
        break;
      case 'restoring':
        return yield* this.#restore();
      default:
        return;
    }
    this.#settle('done');
  }

  *#probe(): Waiting {
    if (!(yield* this.#device.negotiate(this.#driver.acceptedFeatures()))) {
      this.#settle('failed');
      return;
    }
    const bound = yield* this.#driver.probe();
    if (!bound) yield* this.#device.addStatus(FAILED);
    this.#settle(bound ? 'done' : 'failed');
  }

  /** virtio_device_restore. */
  *#restore(): Waiting {
    yield* this.#device.acknowledge();
    const accepted = yield* this.#device.negotiate(this.#driver.acceptedFeatures());
    if (accepted) yield* this.#driver.restore();
    this.#workqueue.thaw();
    this.#settle(accepted ? 'done' : 'failed');
  }

  #settle(type: 'done' | 'failed'): void {
    this.#state.send({ type });
    this.#scheduler.wake(this.#settled);
  }
}
