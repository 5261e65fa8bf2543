import type { Clock } from '../../shared/lib/clock.ts';
import type { Log } from '../../shared/lib/log.ts';
import { PausableClock } from '../../shared/lib/pausable-clock.ts';
import { PAGE_SIZE } from '../../shared/lib/units.ts';
import type { TimedMachine } from '../../shared/lifecycle/timed.ts';
import type { ProtocolErrorName } from '../../shared/protocol/errors.ts';
import { type GuestToHost, type HostToGuest, Op } from '../../shared/protocol/messages.ts';
import type { GuestHello } from '../../shared/transport/hello.ts';
import type { HostConnection } from '../../shared/transport/host-acceptor.ts';
import { type HostSession, Session } from '../../shared/transport/session.ts';
import { BalloonDevice, type BalloonSettings } from '../device/balloon-device.ts';
import { deviceCounters } from '../device/device-counters.ts';
import { DEFAULT_PROPERTIES } from '../device/offer.ts';
import type { ViolationPolicy } from '../device/violations.ts';
import { RamLedger } from '../ram/ledger.ts';
import { type Departure, KeepError, type KeptGuest } from './guest-keeper.ts';
import { HotplugSlot } from './hotplug-slot.ts';
import { LinkWatch } from './link-watch.ts';
import {
  type BalloonProperties,
  type HotplugKind,
  hasId,
  type Machine,
  type MachineEvent,
  type PluggedDevice,
  qomPath,
  type RunState,
} from './machine.ts';
import { RUN_EVENT, RUN_STATE, runStateTable } from './run-state.ts';

/** The balloon a machine is built with. */
export interface DeviceSetup {
  /** Last part of the device's QOM path, /machine/peripheral/ID. */
  readonly qomId: string;
  readonly properties: BalloonProperties;
  readonly policy: ViolationPolicy;
  /** The balloon sits behind a root port and can be unplugged; on the root bus when left out. */
  readonly hotplug?: HotplugKind | undefined;
}

/** QOM type of the device a machine starts with. */
const DEVICE_TYPE = 'virtio-balloon-pci';

/** What a Vm needs of its guest's link. */
export type GuestLink = Pick<HostConnection, 'close' | 'terminate' | 'pause' | 'resume'>;

/** Sees what passes between driver and device, before it is handled or sent. */
export interface WireObserver {
  fromGuest(message: GuestToHost): void;
  toGuest(message: HostToGuest): void;
}

/** Which life of which guest a machine is for, and its RAM. */
export type GuestLife = Pick<GuestHello, 'guestId' | 'epoch' | 'regions'>;

export interface VmOptions {
  /** The guest's first hello, or what was kept of it; its id names the machine. */
  readonly hello: GuestLife;
  readonly clock: Clock;
  readonly log: Log;
  readonly device: DeviceSetup;
  /** The slot is empty: `device` is what was in it. */
  readonly unplugged?: true;
  /** Bytes that shall remain to the guest; all of RAM when left out. */
  readonly targetBytes?: number;
  /** Seconds between two requests for statistics; 0 when left out. */
  readonly pollingIntervalSeconds?: number;
  /** Made by compileLinkWatch; RESUME_WINDOW_MS when left out. */
  readonly linkWatch?: TimedMachine;
  readonly observer?: WireObserver | undefined;
  /** A name for a new session, hard to guess where guests do not trust each other. */
  newSessionName(): string;
  /** Keeps a change of the machine's settings; what it throws refuses the change. */
  keep?(record: KeptGuest): void;
  /** Keeps that the machine shuts down, before anyone is told; does not throw. */
  keepDeparture?(record: KeptGuest): void;
  /** The guest is taken for dead: it may power on again. */
  onDead?(): void;
  /** The machine has shut down and takes no part any more; its events are out. */
  onGone(vm: Vm, departure: Departure): void;
}

/**
 * One virtual machine of the host: run state, clock, ledger, balloon device, session and link of
 * its guest. It outlives its guest's links and lives: a guest that powers on again finds a new
 * device with the target kept.
 *
 * Not emulated: CPUs and other devices, system_reset and system_powerdown, migration, snapshots.
 */
export class Vm implements Machine {
  readonly id: string;
  readonly counters = deviceCounters();
  readonly #options: VmOptions;
  readonly #log: Log;
  readonly #clock: PausableClock;
  readonly #watch: LinkWatch;
  readonly #slot: HotplugSlot | undefined;
  readonly #listeners = new Set<(event: MachineEvent) => void>();
  #runState: number = RUN_STATE.running;
  #epoch: number;
  #ledger: RamLedger;
  #setup: DeviceSetup;
  /** Undefined while the slot is empty. */
  #device: BalloonDevice | undefined;
  #session: HostSession | undefined;
  #link: GuestLink | undefined;

  constructor(options: VmOptions) {
    const { hello, clock, linkWatch, targetBytes, pollingIntervalSeconds = 0 } = options;
    this.id = hello.guestId;
    this.#options = options;
    this.#log = options.log;
    this.#clock = new PausableClock(clock);
    const giveUp = (): void => this.#giveUp('its link did not come back');
    this.#watch = new LinkWatch(clock, giveUp, linkWatch);
    this.#epoch = hello.epoch;
    this.#ledger = new RamLedger(hello.regions);
    this.#setup = options.device;
    this.#slot = this.#newSlot(options.device.hotplug);
    if (this.#slot !== undefined && options.unplugged) return;
    this.#slot?.startWith(DEVICE_TYPE);
    this.#device = this.#newDevice(targetBytes, pollingIntervalSeconds);
  }

  get ramBytes(): number {
    return this.#ledger.pageCount * PAGE_SIZE;
  }

  get runState(): RunState {
    return runStateTable.stateNames[this.#runState];
  }

  get balloon(): BalloonDevice | undefined {
    return this.#device;
  }

  get slot(): HotplugSlot | undefined {
    return this.#slot;
  }

  get ledger(): RamLedger {
    return this.#ledger;
  }

  get epoch(): number {
    return this.#epoch;
  }

  get connected(): boolean {
    return this.#watch.state === 'connected';
  }

  /** The session that could go on, or undefined once it is given up. */
  get session(): HostSession | undefined {
    return this.#session;
  }

  /** The target as an operator set it; undefined while it is all of RAM. */
  get targetBytes(): number | undefined {
    const targetBytes = this.#device?.targetBytes;
    return targetBytes === this.ramBytes ? undefined : targetBytes;
  }

  /** What a host keeps of this machine beyond its own death. */
  get kept(): KeptGuest {
    const none = { targetBytes: this.ramBytes, pollingIntervalSeconds: 0 };
    return this.#keptWith(this.#device ?? none);
  }

  onEvent(listener: (event: MachineEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** STOP is emitted before this returns. Nothing happens unless the machine runs. */
  stop(): void {
    if (!this.#step(RUN_EVENT.stop)) return;
    this.#device?.pause();
    this.#link?.pause();
    this.#send([Op.pause]);
    this.#emit('STOP');
  }

  /** RESUME is emitted before this returns. Nothing happens unless the machine is paused. */
  cont(): void {
    if (!this.#step(RUN_EVENT.cont)) return;
    this.#send([Op.run]);
    this.#emit('RESUME');
    this.#device?.resume();
    this.#link?.resume();
  }

  quit(): void {
    this.#shutDown({ guest: false, reason: 'host-qmp-quit' }, 'power-off');
  }

  /** The host process ends, as QEMU on a signal. The guest is not powered off: it may go on. */
  hostGoing(): void {
    this.#emit('SHUTDOWN', { guest: false, reason: 'host-signal' });
    this.#stopTimers();
  }

  /**
   * The guest powers on again, or a later one of this id in its place: RESET, and RESUME where it
   * was given up before. The device is new, target and statistics interval are kept.
   */
  restart(hello: GuestLife): void {
    const wasLost = this.#runState === RUN_STATE['guest-panicked'];
    this.#epoch = hello.epoch;
    this.#replaceDevice(new RamLedger(hello.regions));
    this.#step(RUN_EVENT.powerOn);
    this.#emit('RESET', { guest: true, reason: 'guest-reset' });
    this.#slot?.poweredOn();
    if (wasLost) this.#emit('RESUME');
  }

  /** The guest had a link to an earlier host: it has the resume window to come back. */
  awaitGuest(): void {
    this.#watch.awaited();
  }

  /** Begins a conversation with the guest; an older one is void. */
  newSession(): HostSession {
    const session: HostSession = new Session({
      clock: this.#options.clock,
      name: this.#options.newSessionName(),
      onMessage: (message: GuestToHost) => this.#onMessage(message),
      onFailed: (error) => this.#onSessionFailed(session, error.code),
    });
    this.#session = session;
    return session;
  }

  /** The guest's link is there and its session attached. On a power-on the device is told. */
  linkOpened(link: GuestLink, kind: 'power-on' | 'resume'): void {
    this.#link = link;
    this.#watch.opened();
    // A guest that kept its memory may still have a device in a slot that is empty now.
    if (kind === 'power-on') this.#send(this.#device?.describe() ?? [Op.unplug, 0]);
    if (this.runState === 'running') {
      this.#device?.resume();
      return;
    }
    if (kind === 'power-on') this.#send([Op.pause]);
    link.pause();
  }

  /** The link is gone, the guest perhaps not. Notifications wait, joined into one. */
  linkEnded(link: GuestLink): void {
    if (link !== this.#link) return;
    this.#link = undefined;
    this.#device?.pause();
    this.#watch.ended();
  }

  /** Ends the link in an orderly way; `linkEnded` follows before this returns. */
  closeLink(error: ProtocolErrorName): void {
    this.#link?.close(error);
  }

  /** Cuts the link as a torn cable does; the guest may come back and go on. */
  cutLink(): void {
    this.#link?.terminate();
  }

  #keptWith({ targetBytes, pollingIntervalSeconds }: BalloonSettings): KeptGuest {
    const { qomId, properties } = this.#setup;
    return {
      guest: this.id,
      epoch: this.#epoch,
      regions: this.#ledger.regions,
      ...(targetBytes === this.ramBytes ? {} : { targetBytes }),
      pollingIntervalSeconds,
      qomId,
      properties,
      ...(this.#device === undefined ? { unplugged: true } : {}),
    };
  }

  #send(message: HostToGuest): void {
    if (this.#session === undefined) return;
    this.#options.observer?.toGuest(message);
    this.#session.send(message);
  }

  #onMessage(message: GuestToHost): void {
    this.#options.observer?.fromGuest(message);
    if (message[0] === Op.bye) {
      this.#shutDown({ guest: true, reason: 'guest-shutdown' }, 'guest-gone');
    } else if (message[0] === Op.unplugged) {
      if (this.#slot?.released() !== true) this.counters.add('refused_unplugs');
    } else if (this.#device === undefined) {
      this.counters.add('no_device_messages');
    } else {
      this.#device.handle(message);
    }
  }

  #onSessionFailed(session: HostSession, error: ProtocolErrorName): void {
    if (session !== this.#session) return;
    this.closeLink(error);
    this.#giveUp(error);
  }

  /** The guest is dead: its device is reset, its ledger emptied, the machine stands still. */
  #giveUp(reason: string): void {
    const ran = this.#runState === RUN_STATE.running;
    if (!this.#step(RUN_EVENT.panic)) return;
    this.#log.warn({ guest: this.id, reason }, 'the guest is taken for dead');
    this.#options.onDead?.();
    this.#session = undefined;
    this.#replaceDevice(new RamLedger(this.#ledger.regions));
    this.#emit('GUEST_PANICKED', { action: 'pause' });
    if (ran) this.#emit('STOP');
  }

  #shutDown(data: { guest: boolean; reason: string }, departure: Departure): void {
    if (!this.#step(RUN_EVENT.shutdown)) return;
    this.#options.keepDeparture?.({ ...this.kept, departure });
    if (departure === 'power-off') this.#send([Op.powerOff, data.reason]);
    this.#emit('SHUTDOWN', data);
    this.#stopTimers();
    const link = this.#link;
    this.#link = undefined;
    this.#session = undefined;
    link?.close(departure);
    this.#options.onGone(this, departure);
  }

  /** Power off: what the ledger held is given back, the device is as new. */
  #replaceDevice(ledger: RamLedger): void {
    const { targetBytes } = this;
    const before = this.#device;
    this.counters.add('emptied_pages', this.#ledger.reset());
    this.#ledger = ledger;
    if (before === undefined) return;
    before.stop();
    this.#device = this.#newDevice(targetBytes, before.pollingIntervalSeconds);
    if (this.#runState !== RUN_STATE.running) this.#device.pause();
  }

  #newSlot(kind: HotplugKind | undefined): HotplugSlot | undefined {
    if (kind === undefined) return undefined;
    return new HotplugSlot({
      kind,
      clock: this.#clock,
      tell: (waitMs) => this.#send([Op.unplug, waitMs]),
      insert: (qomId, device) => this.#insertDevice(qomId, device),
      remove: () => this.#removeDevice(),
    });
  }

  /** The guest is told at once, paused or not: it takes the device up when it runs. */
  #insertDevice(qomId: string, plugged: PluggedDevice): void {
    const { pollingIntervalSeconds } = plugged;
    const properties = { ...DEFAULT_PROPERTIES, ...plugged.properties };
    const { unplugged: _empty, ...kept } = this.kept;
    this.#options.keep?.({ ...kept, qomId, properties, pollingIntervalSeconds });
    this.#setup = { ...this.#setup, qomId, properties };
    const device = this.#newDevice(undefined, pollingIntervalSeconds);
    this.#device = device;
    if (this.#runState !== RUN_STATE.running || !this.connected) device.pause();
    this.#send(device.describe());
  }

  /** The device is out of its slot; what its driver did not give back is given back now. */
  #removeDevice(): void {
    const { qomId } = this.#setup;
    this.counters.add('emptied_pages', this.#ledger.reset());
    this.#device?.stop();
    this.#device = undefined;
    this.#keepRemoval();
    const path = qomPath(qomId);
    this.#emit('DEVICE_DELETED', { path: `${path}/virtio-backend` });
    this.#emit('DEVICE_DELETED', hasId(qomId) ? { device: qomId, path } : { path });
  }

  /** The device is gone nevertheless; a host that is started again has it plugged. */
  #keepRemoval(): void {
    try {
      this.#options.keep?.(this.kept);
    } catch (error) {
      if (!(error instanceof KeepError)) throw error;
      this.#log.error({ guest: this.id, error: error.message }, 'an unplug was not kept');
    }
  }

  #stopTimers(): void {
    this.#device?.stop();
    this.#slot?.stop();
    this.#watch.stop();
  }

  #newDevice(targetBytes: number | undefined, pollingIntervalSeconds: number): BalloonDevice {
    return new BalloonDevice({
      ledger: this.#ledger,
      clock: this.#clock,
      port: { send: (message) => this.#send(message) },
      counters: this.counters,
      log: this.#log,
      ...(targetBytes === undefined ? {} : { targetBytes }),
      pollingIntervalSeconds,
      onActualChanged: (actual) => this.#emit('BALLOON_CHANGE', { actual }),
      onSetting: (settings) => this.#options.keep?.(this.#keptWith(settings)),
      // A spread that comes first makes V8 give each guest's object a shape of its own: 0.4 KB.
      ...this.#setup,
    });
  }

  /** Takes a step of the run state where it is possible; the machine's clock follows. */
  #step(event: number): boolean {
    if (!runStateTable.can(this.#runState, event)) return false;
    this.#runState = runStateTable.step(this.#runState, event);
    if (runStateTable.hasTag(this.#runState, 'clockRuns')) this.#clock.resume();
    else this.#clock.pause();
    return true;
  }

  #emit(event: MachineEvent['event'], data?: Readonly<Record<string, unknown>>): void {
    const wallMs = this.#clock.wallMs();
    const happened = data === undefined ? { event, wallMs } : { event, data, wallMs };
    for (const listener of [...this.#listeners]) listener(happened);
  }
}
