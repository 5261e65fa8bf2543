import { fail } from '../shared/lib/assert.ts';
import type { DriverVerb } from './drivers/driver-core.ts';
import { GuestBalloon, type GuestBalloonOptions, type SharedParts } from './guest-balloon.ts';
import { join, type Scheduler, type Waiting } from './sched/scheduler.ts';

/** Verbs that concern one device; all others are the module's or the machine's. */
const DEVICE_VERBS = ['unbind', 'bind'] as const satisfies readonly DriverVerb[];
type DeviceVerb = (typeof DEVICE_VERBS)[number];

const isOfDevice = (verb: DriverVerb): verb is DeviceVerb => {
  return (DEVICE_VERBS as readonly DriverVerb[]).includes(verb);
};

/**
 * The balloon devices of a guest, the one the machine was built with first. One module drives them
 * all: it is loaded and unloaded for all, and a machine suspends with all its devices.
 *
 * Not emulated: modules that refuse to go while somebody holds them, drivers of single devices
 * that veto a suspend.
 */
export class GuestBalloons {
  readonly list: readonly GuestBalloon[];
  readonly #scheduler: Scheduler;

  constructor(balloons: readonly Omit<GuestBalloonOptions, 'index'>[], shared: SharedParts) {
    this.list = balloons.map((options, index) => new GuestBalloon({ ...options, index }, shared));
    this.#scheduler = shared.scheduler;
  }

  get first(): GuestBalloon {
    return this.list[0] ?? fail('a guest has a balloon device');
  }

  /** The device of this id, the first where none is named. */
  find(id: string | undefined): GuestBalloon | undefined {
    return id === undefined ? this.first : this.list.find((balloon) => balloon.id === id);
  }

  /**
   * Starts an operator's action and returns its work; throws DriverError, with nothing changed,
   * when it is not possible. `balloon` is whom unbind and bind are for; others are for all.
   */
  begin(verb: DriverVerb, balloon: GuestBalloon): Waiting {
    if (isOfDevice(verb)) return balloon.core.begin(verb);
    return verb === 'suspend' || verb === 'resume'
      ? this.#beginPower(verb)
      : this.#beginModule(verb);
  }

  /** driver_register and driver_unregister: device by device, backwards when they are let go. */
  #beginModule(verb: DriverVerb): Waiting {
    // The one that stands in the way says why.
    const unable = this.list.find(({ core }) => !core.can(verb));
    if (unable !== undefined) return unable.core.begin(verb);
    const works = this.list.map(({ core }) => core.begin(verb));
    return inTurn(verb === 'rmmod' ? works.reverse() : works);
  }

  /** dpm_suspend, dpm_resume: PCI devices at the same time; one without a driver has no part. */
  #beginPower(verb: DriverVerb): Waiting {
    const able = this.list.filter(({ core }) => core.can(verb));
    if (able.length < 2) return (able[0] ?? this.first).core.begin(verb);
    const tasks = able.map(({ id, core }) => {
      return this.#scheduler.spawn(`${verb} ${id}`, core.begin(verb));
    });
    return inTurn(tasks.map((task) => join(task)));
  }
}

function* inTurn(works: readonly Waiting[]): Waiting {
  for (const work of works) yield* work;
}
