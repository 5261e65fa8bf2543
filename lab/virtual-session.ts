import { Guest, type GuestOptions } from '../guest/guest.ts';
import type { ViolationPolicy } from '../host/device/violations.ts';
import type { GuestKeeper } from '../host/vmm/guest-keeper.ts';
import type { BalloonProperties, HotplugKind } from '../host/vmm/machine.ts';
import type { Vm, WireObserver } from '../host/vmm/vm.ts';
import { Vmm } from '../host/vmm/vmm.ts';
import { WireTrace, type WireTraceEvent } from '../host/vmm/wire-trace.ts';
import { VirtualClock } from '../shared/lib/clock.ts';
import { type Log, SILENT } from '../shared/lib/log.ts';
import { HostAcceptor } from '../shared/transport/host-acceptor.ts';
import type { Link } from '../shared/transport/link.ts';
import { type MemoryLinkOptions, memoryLinkPair } from '../shared/transport/memory-link.ts';
import { transportCounters } from '../shared/transport/transport-counters.ts';

export interface VirtualSessionOptions {
  readonly properties: BalloonProperties;
  readonly policy: ViolationPolicy;
  /** Balloons sit behind a root port and can be unplugged. */
  readonly hotplug?: HotplugKind | undefined;
  /** Shared with other sessions, whose hosts plug devices into the same guest. */
  readonly clock?: VirtualClock;
  /** Wall-clock milliseconds at time 0. */
  readonly wallStartMs?: number;
  readonly log?: Log;
  /** What a host keeps of its guests; a replaced host leaves it to the next one. */
  readonly keeper?: GuestKeeper;
  readonly resumeWindowMs?: number;
  /** Sees what passes between the drivers and their devices, beside the trace. */
  readonly observer?: WireObserver;
  /** Asked for each message on a link; may cut it there. */
  readonly tap?: MemoryLinkOptions['tap'];
}

export type VirtualGuestOptions = Pick<GuestOptions, 'id' | 'memoryBytes'> &
  Partial<
    Pick<
      GuestOptions,
      | 'seed'
      | 'linux'
      | 'pagePoison'
      | 'balloonCompaction'
      | 'spaces'
      | 'swapBytes'
      | 'reclaim'
      | 'programs'
      | 'interpose'
      | 'epoch'
      | 'image'
      | 'recordedFrames'
      | 'kmemTrace'
      | 'onTracePlayed'
      | 'balloons'
    >
  >;

/**
 * A host and guests in one thread on virtual time: the same host and guest code that runs in
 * processes, with an in-memory link between them. Nothing moves unless the clock is advanced.
 */
export class VirtualSession {
  readonly clock: VirtualClock;
  /** What passed on each guest's wire, by guest id. */
  readonly traces = new Map<string, WireTraceEvent[]>();
  readonly #options: VirtualSessionOptions;
  readonly #links = new Map<string, Link>();
  /** Guests whose process still runs. */
  readonly #alive = new Map<string, Guest>();
  #host: { readonly vmm: Vmm; readonly acceptor: HostAcceptor };
  #sessionCount = 0;

  constructor(options: VirtualSessionOptions) {
    this.#options = options;
    this.clock = options.clock ?? new VirtualClock(options.wallStartMs ?? 0);
    this.#host = this.#newHost();
  }

  get vmm(): Vmm {
    return this.#host.vmm;
  }

  /**
   * The host process dies with all it knew but what its keeper has; another one takes its address.
   * Links are cut.
   */
  replaceHost(): void {
    const { vmm } = this.#host;
    this.#host = this.#newHost();
    vmm.close();
    for (const link of this.#links.values()) link.terminate();
  }

  /** Makes a guest; `start()` connects it, and advancing the clock lets it boot. */
  guest(options: VirtualGuestOptions): Guest {
    const guest: Guest = new Guest({
      epoch: 1,
      seed: 1,
      linux: '6.1',
      programs: [],
      ...options,
      clock: this.clock,
      log: this.#options.log ?? SILENT,
      dial: () => this.#dial(guest),
    });
    this.#alive.set(guest.id, guest);
    return guest;
  }

  /** The guest's process dies: its link is cut and it does not come back. */
  kill(id: string): void {
    this.#alive.delete(id);
    this.cut(id);
  }

  /** Throws UnknownGuestError while the guest is not connected. */
  vm(id: string): Vm {
    return this.vmm.vm(id);
  }

  trace(id: string): WireTraceEvent[] {
    const known = this.traces.get(id);
    if (known !== undefined) return known;
    const events: WireTraceEvent[] = [];
    this.traces.set(id, events);
    return events;
  }

  /** Cuts the guest's link; what was in flight is lost and the guest dials again. */
  cut(id: string): void {
    this.#links.get(id)?.terminate();
  }

  /** A link to this host for a further device of a guest, whichever session the guest is of. */
  dial(id: string): Link {
    const { tap } = this.#options;
    const [guestSide, hostSide] = memoryLinkPair(this.clock, tap === undefined ? {} : { tap });
    this.#links.set(id, guestSide);
    this.#host.acceptor.accept(hostSide);
    return guestSide;
  }

  #newHost(): { readonly vmm: Vmm; readonly acceptor: HostAcceptor } {
    const { properties, policy, hotplug, log = SILENT, keeper, resumeWindowMs } = this.#options;
    const vmm = new Vmm({
      clock: this.clock,
      log,
      keeper,
      ...(resumeWindowMs === undefined ? {} : { resumeWindowMs }),
      deviceFor: () => ({ qomId: 'balloon0', properties, policy, hotplug }),
      newSessionName: () => `session ${++this.#sessionCount}`,
      observerFor: (id) => this.#observerOf(id),
    });
    vmm.restore();
    const counters = transportCounters();
    return { vmm, acceptor: new HostAcceptor({ clock: this.clock, owner: vmm, counters }) };
  }

  #observerOf(id: string): WireObserver {
    const trace = new WireTrace(this.clock, (event) => this.trace(id).push(event));
    const { observer } = this.#options;
    return {
      fromGuest: (message) => {
        trace.fromGuest(message);
        observer?.fromGuest(message);
      },
      toGuest: (message) => {
        trace.toGuest(message);
        observer?.toGuest(message);
      },
    };
  }

  /** Nobody answers a guest whose process was killed. */
  #dial(guest: Guest): Link {
    if (this.#alive.get(guest.id) !== guest) return memoryLinkPair(this.clock)[0];
    return this.dial(guest.id);
  }
}
