import { expect } from 'vitest';
import type { Guest } from '../../../guest/guest.ts';
import { PageSource } from '../../../guest/mm/space/alloc-pages.ts';
import { newMm } from '../../../guest/mm/space/table-pages.ts';
import { verifyGuest } from '../../../guest/mm/verify-guest.ts';
import type { Waiting } from '../../../guest/sched/scheduler.ts';
import { verifyContent } from '../../../guest/workload/verify-content.ts';
import { DEFAULT_PROPERTIES } from '../../../host/device/offer.ts';
import { QEMU_POLICY } from '../../../host/device/violations.ts';
import type { BalloonProperties } from '../../../host/vmm/machine.ts';
import { type VirtualGuestOptions, VirtualSession } from '../../../lab/virtual-session.ts';
import { MIB } from '../../../shared/lib/units.ts';
import { type HostToGuest, Op } from '../../../shared/protocol/messages.ts';
import { balloonOf } from '../../support/balloon-of.ts';
import { TestProcess } from './space/support.ts';

export interface GuestWorldOptions {
  readonly mib: number;
  readonly properties?: Partial<BalloonProperties>;
  readonly guest?: Partial<VirtualGuestOptions>;
}

/** A host that is late answers before this, when somebody waits for it. */
const LATEST_ANSWER_MS = 20_000;

/**
 * A whole guest on virtual time behind a host: what the processes of a World do happens beside the
 * balloon's driver, reports of free pages and compaction.
 */
export class GuestWorld {
  readonly session: VirtualSession;
  readonly guest: Guest;
  readonly mib: number;
  /** Acknowledgements that a test keeps back, the oldest first. */
  readonly #held: (() => void)[] = [];
  holding = false;

  constructor({ mib, properties = {}, guest = {} }: GuestWorldOptions) {
    this.mib = mib;
    this.session = new VirtualSession({
      properties: { ...DEFAULT_PROPERTIES, ...properties },
      policy: QEMU_POLICY,
    });
    this.guest = this.session.guest({
      id: 'vm0',
      memoryBytes: mib * MIB,
      interpose: (message, deliver) => this.#receive(message, deliver),
      ...guest,
    });
    this.guest.start();
    this.pass(1);
  }

  get clock() {
    return this.session.clock;
  }

  get scheduler() {
    return this.guest.kernel.scheduler;
  }

  get vmstat() {
    return this.guest.kernel.vmstat;
  }

  get memory() {
    return this.guest.kernel.memory;
  }

  get spaces() {
    return this.guest.kernel.spaces;
  }

  /** Asks for a size that shall remain to the guest. */
  setTarget(mib: number): void {
    balloonOf(this.session.vm('vm0')).setTargetBytes(mib * MIB);
    this.pass(0);
  }

  pass(ms: number): void {
    this.clock.advanceBy(ms);
  }

  /** Delivers what was kept back. */
  release(): void {
    this.holding = false;
    for (const deliver of this.#held.splice(0)) deliver();
    this.pass(0);
  }

  /** Runs something that may wait until it ends. */
  run<Result>(body: Waiting<Result>, name = 'test'): Result {
    const outcome: { value?: Result; error?: unknown; ended?: true } = {};
    this.scheduler.spawn(
      name,
      (function* () {
        try {
          outcome.value = yield* body;
        } catch (error) {
          outcome.error = error;
        }
        outcome.ended = true;
      })(),
    );
    this.scheduler.run();
    for (let ms = 0; ms < 60_000 && outcome.ended !== true; ms++) {
      this.pass(1);
      // Who is out of memory waits for a balloon that is asked to deflate: the host is only late.
      if (ms === LATEST_ANSWER_MS && this.holding) this.release();
    }
    if (outcome.error !== undefined) throw outcome.error;
    expect(outcome.ended, `${name} ends`).toBe(true);
    return outcome.value as Result;
  }

  settle(): void {
    this.pass(0);
  }

  newProcess(): TestProcess {
    const mm = newMm(this.spaces, new PageSource(this.spaces.supply));
    if (mm === undefined) throw new Error('no memory for a pgd');
    return new TestProcess(this, mm);
  }

  /** Expects every invariant of the guest, and that no process lost or got any content. */
  verify(): void {
    const { processes } = this.guest.kernel;
    expect(verifyGuest(this.memory, this.spaces)).toEqual([]);
    expect(verifyContent(processes)).toEqual([]);
    expect(processes.canariesWrong).toBe(0);
  }

  /** Frames that are free, those on per-CPU lists included. */
  get freeFrames(): number {
    const { allocator } = this.memory;
    return allocator.nrFree() + allocator.zones.reduce((sum, zone) => sum + zone.pcp.count, 0);
  }

  #receive(message: HostToGuest, deliver: (message: HostToGuest) => void): void {
    if (this.holding && message[0] === Op.used) this.#held.push(() => deliver(message));
    else deliver(message);
  }
}
