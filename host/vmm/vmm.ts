import type { HostGuestSummary } from '../../shared/control/schemas.ts';
import type { Clock } from '../../shared/lib/clock.ts';
import { Counters } from '../../shared/lib/counters.ts';
import { type Log, SILENT } from '../../shared/lib/log.ts';
import type { PeerLogs } from '../../shared/lib/peer-log.ts';
import type { TimedMachine } from '../../shared/lifecycle/timed.ts';
import { MAX_GUESTS, MAX_HOST_PAGES, RESUME_WINDOW_MS } from '../../shared/limits.ts';
import type { ProtocolErrorName } from '../../shared/protocol/errors.ts';
import { decideAdmission, type KnownGuest } from '../../shared/transport/admission.ts';
import type { GuestHello } from '../../shared/transport/hello.ts';
import type {
  Admission,
  GuestOwner,
  HostConnection,
} from '../../shared/transport/host-acceptor.ts';
import type { BalloonDevice, HintSummary } from '../device/balloon-device.ts';
import type { HintAction } from '../device/hint-rounds.ts';
import { type Departure, type GuestKeeper, KeepError, type KeptGuest } from './guest-keeper.ts';
import { compileLinkWatch } from './link-watch.ts';
import type { BalloonProperties, GuestStats } from './machine.ts';
import { type DeviceSetup, type GuestLife, Vm, type VmOptions, type WireObserver } from './vm.ts';

/** An operator's mistake at the control channel; the message says what is there instead. */
export class UnknownGuestError extends Error {
  override readonly name = 'UnknownGuestError';
}

/** A hinting round that cannot be; one line. */
export class HintError extends Error {
  override readonly name = 'HintError';
}

const COUNTER_NAMES = [
  'guests_added',
  'guests_removed',
  'guests_restored',
  'guests_dead',
  'power_ons',
  'admissions_refused',
  'records_not_kept',
] as const;
export type VmmCounter = (typeof COUNTER_NAMES)[number];

export interface VmmOptions {
  readonly clock: Clock;
  readonly log?: Log;
  /** For what concerns one guest, in the place of `log`. */
  readonly logs?: PeerLogs;
  /** The device of a guest that is seen for the first time. */
  deviceFor(guestId: string): DeviceSetup;
  /** Unlike every other one, of earlier hosts with the same guests too. */
  newSessionName(): string;
  /** Where guests, targets and intervals outlive the host; without one they die with it. */
  readonly keeper?: GuestKeeper | undefined;
  /** How long a guest without a link is waited for; RESUME_WINDOW_MS when left out. */
  readonly resumeWindowMs?: number;
  /** Sees the traffic of a guest that is seen for the first time. */
  observerFor?(guestId: string): WireObserver | undefined;
  /** A machine appeared: its guest is about to be let in, or was `restored` from the keeper. */
  onGuestAdded?(vm: Vm, restored: boolean): void;
  /** A machine shut down for good; its events are out. */
  onGuestRemoved?(vm: Vm): void;
  /** Smaller limits for tests. */
  readonly maxGuests?: number;
}

/** What is remembered of a machine that shut down. */
interface Departed {
  readonly epoch: number;
  readonly targetBytes: number | undefined;
  readonly departure: Departure;
}

/** What `ledger` shows of one guest; pages of 4096 bytes. */
export interface LedgerSummary {
  readonly id: string;
  readonly ramPages: number;
  readonly balloonPages: number;
  readonly resident: number;
  readonly ballooned: number;
  readonly discarded: number;
  readonly reported: number;
  /** Frames that a migration would leave out, whatever their state. */
  readonly hinted: number;
  readonly ledgerBytes: number;
  readonly counters: Readonly<Record<string, number>>;
  /** Frames in the balloon, ascending, when asked for. */
  readonly pfns?: readonly number[];
}

/**
 * The set of guests of one host: who may come in, what becomes of them, and what an operator can
 * ask. A target stays with its guest id over power-ons and shutdowns.
 *
 * Not emulated: memory of the host itself and its overcommit.
 */
export class Vmm implements GuestOwner {
  readonly counters = new Counters(COUNTER_NAMES);
  readonly #options: VmmOptions;
  readonly #vms = new Map<string, Vm>();
  /** The newest of MAX_GUESTS; so that a guest that was powered off does not slip back in. */
  readonly #departed = new Map<string, Departed>();
  readonly #linkWatch: TimedMachine;
  #pageCount = 0;
  #closed = false;

  constructor(options: VmmOptions) {
    this.#options = options;
    this.#linkWatch = compileLinkWatch(options.resumeWindowMs ?? RESUME_WINDOW_MS);
  }

  /**
   * The guests that the keeper knows exist again, each with the device, target and interval it
   * had, and with the resume window to come back. Call once, before any guest is admitted.
   */
  restore(): void {
    for (const kept of this.#options.keeper?.list() ?? []) {
      if (kept.departure !== undefined) this.#rememberDeparted(kept, kept.departure);
      else this.#restoreGuest(kept);
    }
  }

  /** Machines by guest id, in the order they came. */
  get vms(): ReadonlyMap<string, Vm> {
    return this.#vms;
  }

  /** Throws UnknownGuestError. */
  vm(id: string): Vm {
    const vm = this.#vms.get(id);
    if (vm !== undefined) return vm;
    const known = [...this.#vms.keys()].slice(0, 10).join(', ');
    throw new UnknownGuestError(`no guest '${id}'; there is ${known === '' ? 'none' : known}`);
  }

  admit(hello: GuestHello): Admission {
    const admission = this.#decideAndKeep(hello);
    if (admission.kind === 'refuse') this.counters.add('admissions_refused');
    return admission;
  }

  onOpen(connection: HostConnection, kind: 'power-on' | 'resume'): void {
    this.#vms.get(connection.hello.guestId)?.linkOpened(connection, kind);
  }

  onEnd(connection: HostConnection): void {
    this.#vms.get(connection.hello.guestId)?.linkEnded(connection);
  }

  /** How many guests and frames there are, of how many there may be. */
  get usage(): Readonly<Record<string, { readonly now: number; readonly max: number }>> {
    return {
      MAX_GUESTS: { now: this.#vms.size, max: this.#options.maxGuests ?? MAX_GUESTS },
      MAX_HOST_PAGES: { now: this.#pageCount, max: MAX_HOST_PAGES },
    };
  }

  list(): HostGuestSummary[] {
    return Array.from(this.#vms.values(), summaryOf);
  }

  /** Sets a guest's target, in bytes that remain to it. Throws UnknownGuestError. */
  balloon(id: string, bytes: number): void {
    this.#balloonOf(id).setTargetBytes(bytes);
  }

  /**
   * A step of a migration's free page hinting. Throws UnknownGuestError, and HintError where no
   * round can be had: QEMU starts none for a driver without the feature or a machine that stands.
   */
  hint(id: string, action: HintAction): HintSummary {
    const balloon = this.#balloonOf(id);
    if (!balloon.hintNegotiated) throw new HintError(`guest '${id}' has not negotiated hinting`);
    const { runState } = this.vm(id);
    if (action === 'start' && runState !== 'running') {
      throw new HintError(`guest '${id}' is ${runState}: no round can start`);
    }
    balloon.hint(action);
    return balloon.hints;
  }

  /** Throws UnknownGuestError. */
  stats(id: string): GuestStats {
    return this.#balloonOf(id).stats;
  }

  /** Throws UnknownGuestError. */
  ledger(id: string, withPfns = false): LedgerSummary {
    const { ledger, counters } = this.vm(id);
    const pfns: number[] = [];
    if (withPfns) ledger.forEachBalloonPage((pfn) => pfns.push(pfn));
    return {
      id,
      ramPages: ledger.pageCount,
      balloonPages: ledger.balloonPages,
      resident: ledger.count('resident'),
      ballooned: ledger.count('ballooned'),
      discarded: ledger.count('discarded'),
      reported: ledger.count('reported'),
      hinted: ledger.hinted.pageCount,
      ledgerBytes: ledger.bytes,
      counters: counters.snapshot(),
      ...(withPfns ? { pfns } : {}),
    };
  }

  /** Cuts a guest's link as a torn cable does. Throws UnknownGuestError. */
  cut(id: string): void {
    this.vm(id).cutLink();
  }

  /** The host process ends: machines disappear for their controllers, guests may go on. */
  close(): void {
    this.#closed = true;
    for (const vm of [...this.#vms.values()]) {
      vm.hostGoing();
      this.#remove(vm);
    }
  }

  #balloonOf(id: string): BalloonDevice {
    const { balloon } = this.vm(id);
    if (balloon === undefined) throw new UnknownGuestError(`the balloon of '${id}' is unplugged`);
    return balloon;
  }

  #logOf(guestId: string): Log {
    return this.#options.logs?.of(guestId) ?? this.#options.log ?? SILENT;
  }

  /** A guest that could not be kept is not let in; it dials again. */
  #decideAndKeep(hello: GuestHello): Admission {
    try {
      return this.#decide(hello);
    } catch (error) {
      if (!(error instanceof KeepError)) throw error;
      const guest = hello.guestId;
      this.#logOf(guest).error({ guest, error: error.message }, 'the guest is not let in');
      return { kind: 'refuse', error: 'host-going', detail: 'it cannot write its store' };
    }
  }

  #decide(hello: GuestHello): Admission {
    if (this.#closed) return { kind: 'refuse', error: 'host-going' };
    const vm = this.#vms.get(hello.guestId);
    if (vm === undefined) return this.#admitNew(hello);
    const decision = decideAdmission(knownGuest(vm), hello);
    if (decision.action === 'refuse') return refuse(decision.error, hello, vm.epoch);
    const pageCount = this.#pageCount - vm.ledger.pageCount + pagesOf(hello);
    if (pageCount > MAX_HOST_PAGES) return refuseForRam(hello);
    if (decision.action === 'power-on') {
      this.#keep({ ...vm.kept, epoch: hello.epoch, regions: hello.regions });
    }
    if (decision.replacesLink) vm.closeLink('replaced');
    if (decision.action === 'resume' && vm.session !== undefined) {
      return { kind: 'resume', session: vm.session };
    }
    this.counters.add('power_ons');
    this.#pageCount = pageCount;
    vm.restart(hello);
    return { kind: 'power-on', session: vm.newSession() };
  }

  #admitNew(hello: GuestHello): Admission {
    const departed = this.#departed.get(hello.guestId);
    if (departed !== undefined && hello.epoch <= departed.epoch) {
      const isSame = hello.epoch === departed.epoch;
      return refuse(isSame ? departed.departure : 'stale-epoch', hello, departed.epoch);
    }
    if (this.#vms.size >= (this.#options.maxGuests ?? MAX_GUESTS)) {
      return { kind: 'refuse', error: 'MAX_GUESTS' };
    }
    if (this.#pageCount + pagesOf(hello) > MAX_HOST_PAGES) return refuseForRam(hello);
    return { kind: 'power-on', session: this.#addNew(hello, departed?.targetBytes).newSession() };
  }

  #addNew(hello: GuestHello, targetBytes: number | undefined): Vm {
    const { guestId: guest, epoch, regions } = hello;
    const device = this.#options.deviceFor(guest);
    const { qomId, properties } = device;
    const target = targetBytes === undefined ? {} : { targetBytes };
    this.#keep({
      guest,
      epoch,
      regions,
      ...target,
      pollingIntervalSeconds: 0,
      qomId,
      properties,
    });
    const vm = this.#newVm(hello, { device, ...target });
    this.#add(vm, false);
    this.counters.add('power_ons');
    return vm;
  }

  /** As in QEMU a device does not change while its machine exists: what was kept of it counts. */
  #restoreGuest({ guest, epoch, regions, qomId, properties, ...settings }: KeptGuest): void {
    const asked = this.#options.deviceFor(guest);
    const device = { ...asked, qomId, properties };
    if (!isSameDevice(asked, device)) {
      this.#logOf(guest).warn({ guest, qomId, ...properties }, 'the guest keeps the device it has');
    }
    const vm = this.#newVm({ guestId: guest, epoch, regions }, { device, ...settings });
    vm.awaitGuest();
    this.#add(vm, true);
    this.counters.add('guests_restored');
  }

  #newVm(
    hello: GuestLife,
    settings: Pick<VmOptions, 'device' | 'unplugged' | 'targetBytes' | 'pollingIntervalSeconds'>,
  ): Vm {
    const { clock, newSessionName, observerFor } = this.#options;
    return new Vm({
      hello,
      clock,
      log: this.#logOf(hello.guestId),
      linkWatch: this.#linkWatch,
      newSessionName,
      observer: observerFor?.(hello.guestId),
      keep: (record) => this.#keep(record),
      keepDeparture: (record) => this.#keepDeparture(record),
      onDead: () => this.counters.add('guests_dead'),
      onGone: (gone, departure) => this.#depart(gone, departure),
      // Last, so that all guests' objects have one shape: see Vm.
      ...settings,
    });
  }

  #add(vm: Vm, restored: boolean): void {
    this.#vms.set(vm.id, vm);
    this.#departed.delete(vm.id);
    this.#pageCount += vm.ledger.pageCount;
    this.counters.add('guests_added');
    this.#options.onGuestAdded?.(vm, restored);
  }

  /** Throws KeepError. */
  #keep(record: KeptGuest): void {
    try {
      this.#options.keeper?.put(record);
    } catch (error) {
      this.counters.add('records_not_kept');
      throw error;
    }
  }

  /** The machine is gone nevertheless; a host that is started again takes it for alive. */
  #keepDeparture(record: KeptGuest): void {
    try {
      this.#keep(record);
    } catch (error) {
      if (!(error instanceof KeepError)) throw error;
      const { guest } = record;
      this.#logOf(guest).error({ guest, error: error.message }, 'the end was not kept');
    }
  }

  #depart(vm: Vm, departure: Departure): void {
    this.#rememberDeparted(vm.kept, departure);
    this.#remove(vm);
  }

  #rememberDeparted({ guest, epoch, targetBytes }: KeptGuest, departure: Departure): void {
    this.#departed.delete(guest);
    this.#departed.set(guest, { epoch, targetBytes, departure });
    for (const [id] of this.#departed) {
      if (this.#departed.size <= MAX_GUESTS) break;
      this.#departed.delete(id);
    }
  }

  #remove(vm: Vm): void {
    this.#vms.delete(vm.id);
    this.#pageCount -= vm.ledger.pageCount;
    this.counters.add('guests_removed');
    this.#options.onGuestRemoved?.(vm);
  }
}

function knownGuest(vm: Vm): KnownGuest {
  const { epoch, session, connected } = vm;
  const canGoOn = session !== undefined && session.failed === undefined;
  const heard = session?.heard === true;
  return { epoch, session: canGoOn ? session.name : undefined, heard, connected };
}

function summaryOf(vm: Vm): HostGuestSummary {
  const { id, connected, balloon, ledger, slot } = vm;
  return {
    id,
    status: vm.runState,
    connected,
    driverOk: balloon?.driverOk ?? false,
    ramBytes: vm.ramBytes,
    targetBytes: balloon?.targetBytes ?? vm.ramBytes,
    actualBytes: balloon?.actualBytes ?? vm.ramBytes,
    ledgerPages: ledger.balloonPages,
    buffersInFlight: balloon?.buffersInFlight ?? 0,
    ...(slot === undefined ? {} : { slot: slot.state }),
  };
}

function isSameDevice(one: DeviceSetup, other: DeviceSetup): boolean {
  const names = Object.keys(other.properties) as (keyof BalloonProperties)[];
  const equal = names.every((name) => one.properties[name] === other.properties[name]);
  return one.qomId === other.qomId && equal;
}

/** With both epochs: a guest whose clock was set back is told what is wrong. */
function refuse(error: ProtocolErrorName, hello: GuestHello, epoch: number): Admission {
  if (error !== 'stale-epoch') return { kind: 'refuse', error };
  return { kind: 'refuse', error, detail: `epoch ${hello.epoch}, the host has seen ${epoch}` };
}

function pagesOf({ regions }: GuestHello): number {
  return regions.reduce((sum, { count }) => sum + count, 0);
}

function refuseForRam(hello: GuestHello): Admission {
  const detail = `${pagesOf(hello)} pages are more than this host has left`;
  return { kind: 'refuse', error: 'bad-ram', detail };
}
