import { expect } from 'vitest';
import type { BalloonEnd } from '../../guest/further-connection.ts';
import type { Guest, GuestOptions } from '../../guest/guest.ts';
import type { GuestBalloon } from '../../guest/guest-balloon.ts';
import { verifyGuest } from '../../guest/mm/verify-guest.ts';
import { verifyContent } from '../../guest/workload/verify-content.ts';
import { DEFAULT_PROPERTIES } from '../../host/device/offer.ts';
import { QEMU_POLICY } from '../../host/device/violations.ts';
import type { GuestKeeper } from '../../host/vmm/guest-keeper.ts';
import type { BalloonProperties, HotplugKind } from '../../host/vmm/machine.ts';
import type { Vm } from '../../host/vmm/vm.ts';
import { VirtualSession } from '../../lab/virtual-session.ts';
import { VirtualClock } from '../../shared/lib/clock.ts';
import { type Log, SILENT } from '../../shared/lib/log.ts';
import { MIB, PAGE_SIZE } from '../../shared/lib/units.ts';
import { balloonOf } from './balloon-of.ts';

export interface TwoHostsOptions {
  readonly mib?: number;
  /** What each host's device offers. */
  readonly properties?: readonly [Partial<BalloonProperties>, Partial<BalloonProperties>];
  /** The second device sits in a slot. */
  readonly hotplug?: HotplugKind;
  /** What the second host keeps of its guests. */
  readonly keeper?: GuestKeeper;
  readonly guest?: Partial<Pick<GuestOptions, 'spaces' | 'seed' | 'balloonCompaction'>>;
  /** Of the guest and its first host. */
  readonly log?: Log;
}

/** Ids of the two devices of every such guest: on the first host and on the second. */
export const DEVICES = ['vm0', 'b1'] as const;

/** Of four resize works one is long over after so many. */
const TO_SETTLE_MS = 60_000;

/** A guest on virtual time with two balloon devices, each plugged in by a host of its own. */
export class TwoHosts {
  readonly clock = new VirtualClock();
  readonly hosts: readonly [VirtualSession, VirtualSession];
  readonly guest: Guest;
  readonly mib: number;
  /** How the second device came to be gone. */
  readonly ends: BalloonEnd[] = [];

  constructor(options: TwoHostsOptions = {}) {
    const { mib = 128, properties = [{}, {}], hotplug, keeper, guest = {} } = options;
    const { log = SILENT } = options;
    this.mib = mib;
    const common = { clock: this.clock, policy: QEMU_POLICY };
    const offered = properties.map((some) => ({ ...DEFAULT_PROPERTIES, ...some }));
    this.hosts = [
      new VirtualSession({ ...common, properties: offered[0], log }),
      new VirtualSession({
        ...{ ...common, properties: offered[1], hotplug },
        ...(keeper === undefined ? {} : { keeper }),
      }),
    ];
    this.guest = this.hosts[0].guest({
      id: DEVICES[0],
      memoryBytes: mib * MIB,
      balloons: [
        {
          id: DEVICES[1],
          dial: () => this.hosts[1].dial(DEVICES[1]),
          onEnd: (end) => void this.ends.push(end),
        },
      ],
      ...guest,
    });
    this.guest.start();
    this.pass(1);
  }

  get kernel() {
    return this.guest.kernel;
  }

  balloon(device: number): GuestBalloon {
    return this.kernel.balloons.list[device];
  }

  states(): string[] {
    return this.kernel.balloons.list.map(({ core }) => core.state);
  }

  pages(): number[] {
    return this.kernel.balloons.list.map(({ driver }) => driver.numPages);
  }

  vm(device: number): Vm {
    return this.hosts[device].vm(DEVICES[device]);
  }

  /** Asks the device for so many pages and lets what takes no time happen. */
  setTarget(device: number, pages: number): void {
    balloonOf(this.vm(device)).setTargetBytes(this.mib * MIB - pages * PAGE_SIZE);
    this.pass(0);
  }

  /** The device's host asks for so many pages and stops before the first buffer reaches it. */
  stopWhileInflating(device: number, pages: number): void {
    balloonOf(this.vm(device)).setTargetBytes(this.mib * MIB - pages * PAGE_SIZE);
    this.vm(device).stop();
    this.pass(0);
  }

  pass(ms: number): void {
    this.clock.advanceBy(ms);
  }

  /** Lets time pass until no device resizes and no page is on its way. */
  settle(): void {
    this.pass(1);
    for (let ms = 0; ms < TO_SETTLE_MS && !this.areSettled; ms += 100) this.pass(100);
    expect(this.areSettled, 'both devices settle').toBe(true);
  }

  get areSettled(): boolean {
    const { scheduler, balloons } = this.kernel;
    return scheduler.idle && balloons.list.every(({ driver }) => isAtRest(driver));
  }

  /** False from the death of a host until the guest has reached its successor. */
  isKnown(device: number): boolean {
    return this.hosts[device].vmm.list().some(({ id }) => id === DEVICES[device]);
  }

  ledger(device: number): number[] {
    if (!this.isKnown(device)) return [];
    return [...(this.hosts[device].vmm.ledger(DEVICES[device], true).pfns ?? [])];
  }

  /** Frames of the device's list that are not in its host's ledger and the other way round. */
  difference(device: number): { readonly missing: number; readonly surplus: number } {
    const { book } = this.balloon(device).driver;
    return this.vm(device).ledger.compareBalloon(book?.pfns() ?? []);
  }

  expectLedgerIsBook(device: number): void {
    const same = { missing: 0, surplus: 0, repeated: 0 };
    expect(this.difference(device), `ledger of device ${device}`).toMatchObject(same);
  }

  /** What holds between any two steps, whatever is on its way. */
  verify(): void {
    const { memory, spaces, processes } = this.kernel;
    expect(verifyGuest(memory, spaces)).toEqual([]);
    expect(verifyContent(processes)).toEqual([]);
    expect(processes.canariesWrong).toBe(0);
    const books = this.kernel.balloons.list.map(({ driver }) => [...(driver.book?.pfns() ?? [])]);
    expect(inBoth(books[0], books[1]), 'frames in two books').toEqual([]);
  }

  expectNoFrameInTwoLedgers(): void {
    expect(inBoth(this.ledger(0), this.ledger(1)), 'frames in two ledgers').toEqual([]);
  }
}

function isAtRest({ resizing, book }: GuestBalloon['driver']): boolean {
  return !resizing && (book?.isolatedPages ?? 0) === 0;
}

function inBoth(some: readonly number[], others: readonly number[]): number[] {
  const known = new Set(some);
  return others.filter((pfn) => known.has(pfn));
}
