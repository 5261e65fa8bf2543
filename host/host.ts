import type { Clock } from '../shared/lib/clock.ts';
import type { Counters } from '../shared/lib/counters.ts';
import type { Log } from '../shared/lib/log.ts';
import type { PeerLogs } from '../shared/lib/peer-log.ts';
import { HostAcceptor } from '../shared/transport/host-acceptor.ts';
import type { Link } from '../shared/transport/link.ts';
import {
  type TransportCounter,
  transportCounters,
} from '../shared/transport/transport-counters.ts';
import { DEFAULT_PROPERTIES } from './device/offer.ts';
import {
  QEMU_POLICY,
  STRICT_POLICY,
  type Violation,
  type ViolationPolicy,
} from './device/violations.ts';
import type { GuestKeeper } from './vmm/guest-keeper.ts';
import type { BalloonProperties, HotplugKind } from './vmm/machine.ts';
import type { DeviceSetup, Vm, WireObserver } from './vmm/vm.ts';
import { Vmm } from './vmm/vmm.ts';

/** The id in QOM of a balloon that was given none; the recordings' name. */
const DEFAULT_QOM_ID = 'balloon0';

/** A balloon as QEMU's `-device` describes it; what is left out has QEMU's value. */
export interface DeviceChoice {
  readonly qomId?: string | undefined;
  readonly properties?: Partial<BalloonProperties>;
}

export interface HostOptions {
  readonly clock: Clock;
  readonly log?: Log;
  /** For what concerns one guest, in the place of `log`. */
  readonly logs?: PeerLogs;
  /** The balloon of every guest. */
  readonly device?: DeviceChoice;
  /** The balloons of single guests by id; what they leave out is as in `device`. */
  readonly devices?: ReadonlyMap<string, DeviceChoice>;
  /** Every balloon sits behind a root port and can be unplugged. */
  readonly hotplug?: HotplugKind | undefined;
  /** Refuses what a driver does wrong instead of tolerating it as QEMU does. */
  readonly strict?: boolean;
  /** Exceptions from `strict`, by name. */
  readonly tolerate?: readonly Violation[];
  /** How long a guest without a link is waited for; RESUME_WINDOW_MS when left out. */
  readonly resumeWindowMs?: number;
  /** Where guests, targets and intervals outlive the host; see `restore`. */
  readonly keeper?: GuestKeeper | undefined;
  /**
   * A name for each new session, hard to guess where guests do not trust each other, and unlike
   * those of earlier hosts with the same guests.
   */
  newSessionName(): string;
  observerFor?(guestId: string): WireObserver | undefined;
  onGuestAdded?(vm: Vm, restored: boolean): void;
  onGuestRemoved?(vm: Vm): void;
}

/**
 * A host as a library: the set of guests behind an acceptor of links. Links, clock and names come
 * from outside, so it runs in a process (start-host.ts) and in a simulation alike.
 */
export class Host {
  readonly vmm: Vmm;
  readonly transportCounters: Counters<TransportCounter> = transportCounters();
  readonly #acceptor: HostAcceptor;

  constructor(options: HostOptions) {
    const policy = policyOf(options);
    this.vmm = new Vmm({ ...options, deviceFor: (id) => deviceOf(options, policy, id) });
    this.#acceptor = new HostAcceptor({
      clock: options.clock,
      owner: this.vmm,
      counters: this.transportCounters,
      ...(options.logs === undefined ? {} : { logs: options.logs }),
    });
  }

  /** The guests that the keeper knows exist again. Call once, before the first link. */
  restore(): void {
    this.vmm.restore();
  }

  /** Takes a link that a guest opened; its hello decides what becomes of it. */
  attachLink(link: Link): void {
    this.#acceptor.accept(link);
  }

  /** Every link is closed with `host-going`; guests may go on with another host. */
  close(): void {
    this.#acceptor.close('host-going');
    this.vmm.close();
  }
}

function policyOf({ strict = false, tolerate = [] }: HostOptions): ViolationPolicy {
  if (!strict) return QEMU_POLICY;
  return { ...STRICT_POLICY, ...Object.fromEntries(tolerate.map((name) => [name, 'tolerate'])) };
}

function deviceOf(options: HostOptions, policy: ViolationPolicy, guestId: string): DeviceSetup {
  const common = options.device;
  const own = options.devices?.get(guestId);
  return {
    qomId: own?.qomId ?? common?.qomId ?? DEFAULT_QOM_ID,
    properties: { ...DEFAULT_PROPERTIES, ...common?.properties, ...own?.properties },
    policy,
    hotplug: options.hotplug,
  };
}
