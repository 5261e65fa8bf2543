import { describe, expect, it } from 'vitest';
import type { Guest } from '../../../../guest/guest.ts';
import { verifySpaces } from '../../../../guest/mm/space/verify.ts';
import { DEFAULT_PROPERTIES } from '../../../../host/device/offer.ts';
import { QEMU_POLICY } from '../../../../host/device/violations.ts';
import { VirtualSession } from '../../../../lab/virtual-session.ts';
import { MIB, PAGE_SIZE, PAGES_PER_MIB } from '../../../../shared/lib/units.ts';

const RAM_MIB = 128;

/** A guest in which a process has 60 MiB, and the host that asks for most of its memory. */
class Squeezed {
  readonly session = new VirtualSession({ properties: DEFAULT_PROPERTIES, policy: QEMU_POLICY });
  readonly guest: Guest;

  constructor(swapMib: number) {
    const swapBytes = swapMib * MIB;
    this.guest = this.session.guest({ id: 'vm0', memoryBytes: RAM_MIB * MIB, swapBytes });
    this.guest.start();
    this.session.clock.advanceBy(100);
    this.guest.run({ name: 'hog', mib: 60, seconds: 60 });
    this.session.clock.advanceBy(5000);
  }

  balloon(mib: number): void {
    this.session.vm('vm0').balloon?.setTargetBytes((RAM_MIB - mib) * MIB);
    this.session.clock.advanceBy(20_000);
  }
}

describe('a balloon that inflates into memory in use', () => {
  it('makes the guest swap, and gets what it wants', () => {
    const squeezed = new Squeezed(128);
    const { guest, session } = squeezed;
    const { kernel } = guest;
    squeezed.balloon(RAM_MIB - 60);
    expect(kernel.balloon.numPages).toBe((RAM_MIB - 60) * PAGES_PER_MIB);
    const statistics = kernel.statistics.values();
    expect(statistics['swap-out']).toBeGreaterThan(20 * MIB);
    expect(statistics['swap-out']).toBe(kernel.vmstat.pswpout * PAGE_SIZE);
    expect(kernel.vmstat.oom_kill).toBe(0);
    expect([...verifySpaces(kernel.spaces), ...kernel.memory.verify()]).toEqual([]);
    session.clock.advanceBy(120_000);
    expect(kernel.processes.list()).toEqual([]);
    expect(kernel.processes.canariesWrong).toBe(0);
    expect(kernel.statistics.values()['swap-in']).toBeGreaterThan(20 * MIB);
    expect(kernel.statistics.values()['major-faults']).toBe(kernel.vmstat.pswpin);
  });

  it('is out of puff without swap: nobody is killed for it', () => {
    const squeezed = new Squeezed(0);
    const { kernel } = squeezed.guest;
    squeezed.balloon(RAM_MIB - 60);
    expect(kernel.balloon.numPages).toBeLessThan((RAM_MIB - 60) * PAGES_PER_MIB);
    expect(kernel.vmstat.oom_kill).toBe(0);
    expect(kernel.vmstat.allocstall).toBeGreaterThan(10);
    expect(kernel.vmstat.pswpout).toBe(0);
    expect(kernel.processes.list().map(({ name }) => name)).toEqual(['hog']);
  });
});
