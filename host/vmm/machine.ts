import type { StatsTag } from '../../shared/virtio/balloon.ts';

/**
 * What a control interface (QMP first) sees of one guest. Sizes are bytes. QMP's balloon value is
 * what remains to the guest: RAM less the balloon.
 */
export interface Machine {
  readonly id: string;
  readonly ramBytes: number;
  /** QEMU's RunState names. */
  readonly runState: RunState;
  /** The balloon device, or undefined while none is plugged. */
  readonly balloon: BalloonControl | undefined;
  /** The slot the balloon can be unplugged from; undefined where it sits on the root bus. */
  readonly slot?: BalloonSlot | undefined;
  /** Pauses the guest: it runs no task and is sent no interrupt. Emits STOP if it ran. */
  stop(): void;
  /** Runs it again. Emits RESUME if it was paused. */
  cont(): void;
  /** Emits SHUTDOWN {guest: false, reason: "host-qmp-quit"} and powers the guest off. */
  quit(): void;
  /** Events of this machine in the order they happen; returns the unsubscribe function. */
  onEvent(listener: (event: MachineEvent) => void): () => void;
}

export type RunState = 'running' | 'paused' | 'guest-panicked' | 'shutdown';

export interface MachineEvent {
  readonly event:
    | 'STOP'
    | 'RESUME'
    | 'SHUTDOWN'
    | 'BALLOON_CHANGE'
    | 'GUEST_PANICKED'
    | 'RESET'
    | 'DEVICE_DELETED';
  readonly data?: Readonly<Record<string, unknown>>;
  /** Wall-clock milliseconds at which it happened. */
  readonly wallMs: number;
}

/** Device properties as QEMU spells them for `-device virtio-balloon-pci`. */
export interface BalloonProperties {
  readonly 'deflate-on-oom': boolean;
  readonly 'free-page-hint': boolean;
  readonly 'free-page-reporting': boolean;
  readonly 'page-poison': boolean;
  readonly 'qemu-4-0-config-size': boolean;
}

export interface GuestStats {
  /** One value per tag the machine's QEMU version shows; undefined where the guest sent none. */
  readonly values: Readonly<Partial<Record<StatsTag, bigint>>>;
  /** Seconds since the epoch of the last answer, 0 before the first. */
  readonly lastUpdateSeconds: number;
}

export interface BalloonControl {
  /** Last part of the device's QOM path, see qomPath. */
  readonly qomId: string;
  readonly properties: BalloonProperties;
  /** RAM less the balloon as the guest last reported it in `actual`. */
  readonly actualBytes: number;
  /** RAM less the target. */
  readonly targetBytes: number;
  /** Asks the guest for this size; above RAM is clamped to RAM, the guest decides when. */
  setTargetBytes(bytes: number): void;
  readonly stats: GuestStats;
  /** The driver negotiated the statistics queue. */
  readonly statsNegotiated: boolean;
  /** Seconds between two requests, 0 is off; the first request goes out at once. */
  pollingIntervalSeconds: number;
}

/**
 * How a balloon behind a root port is unplugged: over ACPI as QEMU 6.1 and later do on q35, or
 * over PCIe's attention button, where the guest lets an operator cancel for 5 seconds.
 */
export const HOTPLUG_KINDS = ['acpi', 'pcie'] as const;
export type HotplugKind = (typeof HOTPLUG_KINDS)[number];

/** What is plugged into a slot. */
export interface PluggedDevice {
  /** Undefined for a device that was given no id: QEMU then makes up a name. */
  readonly id: string | undefined;
  /** Type of the PCI device in QOM. */
  readonly typename: string;
  /** What is left out has QEMU's default. */
  readonly properties: Partial<BalloonProperties>;
  readonly pollingIntervalSeconds: number;
}

/** The only slot of a root port. hotplug-slot.ts says what the states mean. */
export interface BalloonSlot {
  /** Id of the root port; its bus has the same name. */
  readonly bus: string;
  readonly state: 'plugged' | 'requested' | 'pressed' | 'blinking' | 'empty';
  /** QOM type of the device that is or was in it. */
  readonly typename: string;
  /** Whether the device was plugged into a machine that ran already. */
  readonly hotplugged: boolean;
  /**
   * Asks the guest to let go of the device; DEVICE_DELETED follows when it did. Only in the states
   * plugged and requested.
   */
  requestUnplug(): void;
  /** Plugs a device into the empty slot; the guest is told at once. */
  plug(device: PluggedDevice): void;
}

/** Whether a device was given an id; `device[0]` is a name that QEMU made up. */
export function hasId(qomId: string): boolean {
  return !qomId.endsWith(']');
}

export function qomPath(qomId: string): string {
  return `/machine/${hasId(qomId) ? 'peripheral' : 'peripheral-anon'}/${qomId}`;
}
