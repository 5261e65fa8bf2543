import { beforeEach, describe, expect, it } from 'vitest';
import { verifySpaces } from '../../../../guest/mm/space/verify.ts';
import type { Program } from '../../../../guest/workload/programs.ts';
import type { RamLedger } from '../../../../host/ram/ledger.ts';
import { MIB, PAGE_SIZE } from '../../../../shared/lib/units.ts';
import { HeldGuest, type HeldGuestOptions } from '../../../support/held-guest.ts';

/** compact_memory in a guest with a host: processes and the balloon go on as if nothing was. */
const PROGRAMS: readonly Program[] = [
  { name: 'frag', mib: 30, keepEvery: 3, seconds: 1000 },
  { name: 'frag', mib: 8, keepEvery: 2, seconds: 0.2 },
  { name: 'hog', mib: 8, seconds: 0.3, lock: true },
  { name: 'forkserver', mib: 6, children: 3, writePercent: 30, seconds: 0.4 },
  { name: 'tmpfs', mib: 8, files: 5, seconds: 0.3 },
  { name: 'reader', mib: 8, passes: 2, seconds: 1000 },
  { name: 'writer', mib: 8, seconds: 0.1 },
  { name: 'huge', mib: 8, seconds: 0.5 },
  { name: 'slab', mib: 4, objectBytes: 1024, reclaimable: false, seconds: 0.5 },
];
const TARGET = 140 * MIB;

let held: HeldGuest;

beforeEach(() => {
  held = new HeldGuest();
});

/** The balloon takes the holes of a process, then the process goes: holes between its pages. */
function fragment(options: HeldGuestOptions = {}): void {
  held = new HeldGuest(options);
  held.guest.run({ name: 'frag', mib: 120, keepEvery: 2, seconds: 1 });
  held.run(100);
  held.setTarget(TARGET);
  held.run(2000);
  expect(held.driver.numPages).toBe((256 * MIB - TARGET) / PAGE_SIZE);
}

function expectConsistent(): void {
  const { kernel } = held.guest;
  expect(kernel.memory.verify()).toEqual([]);
  expect(verifySpaces(kernel.spaces)).toEqual([]);
  expect(kernel.processes.canariesWrong).toBe(0);
}

/** The host's ledger and the driver's book name the same frames. */
function expectSameFrames(): void {
  const list = [...(held.driver.book?.pfns() ?? [])];
  const same = { missing: 0, surplus: 0, repeated: 0 };
  expect(ledger().compareBalloon(list)).toMatchObject(same);
}

function ledger(): RamLedger {
  return held.session.vm('vm0').ledger;
}

function freeHugePages(): number {
  const { zones } = held.guest.kernel.memory.allocator;
  return zones.reduce((sum, zone) => sum + zone.nrFree[9] + 2 * zone.nrFree[10], 0);
}

describe('compact_memory', () => {
  it('makes large blocks of what is scattered, and the balloon moves along', () => {
    fragment();
    const { kernel } = held.guest;
    const before = freeHugePages();
    const { numPages } = held.driver;
    const buffers = held.buffers('inflate').length;
    kernel.compactMemory();
    held.run(1000);
    expect([...kernel.scheduler.tasks()]).toEqual([]);
    expect(freeHugePages()).toBeGreaterThan(before + 20);
    expect(held.driver.numPages).toBe(numPages);
    expect(held.balloon.actualBytes).toBe(TARGET);
    const migrated = kernel.memory.balloons.events.balloon_migrate;
    expect(migrated).toBeGreaterThan(7000);
    expect(held.buffers('inflate').length - buffers).toBe(migrated);
    expect(held.buffers('deflate')).toHaveLength(migrated);
    expectSameFrames();
    expectConsistent();
  });

  it('leaves the balloon where it is in a kernel that cannot move it', () => {
    fragment({ balloonCompaction: 'off' });
    const { kernel } = held.guest;
    kernel.compactMemory();
    held.run(1000);
    expect(kernel.memory.balloons.events.balloon_migrate).toBe(0);
    expect(held.buffers('deflate')).toEqual([]);
    expectSameFrames();
    expectConsistent();
  });

  it('goes on among programs of all kinds, again and again', () => {
    for (const program of PROGRAMS) held.guest.run(program);
    held.run(50);
    held.setTarget(170 * MIB);
    for (let round = 0; round < 12; round++) {
      held.guest.kernel.compactMemory();
      held.run(round % 3 === 0 ? 37 : 110);
      if (round === 6) held.setTarget(200 * MIB);
    }
    held.run(3000);
    expect(held.guest.kernel.compaction.events.pgmigrate_success).toBeGreaterThan(1000);
    expectSameFrames();
    expectConsistent();
  });
});

describe('compaction against the driver', () => {
  beforeEach(() => fragment());

  it('waits for the host: the old page leaves only after the new one is known', () => {
    held.holding = true;
    held.guest.kernel.compactMemory();
    held.run(50);
    const [newPage] = held.buffers('inflate').slice(-1);
    expect(newPage.n).toBe(1);
    expect(held.buffers('deflate')).toEqual([]);
    expect(held.held).toHaveLength(1);
    held.release();
    expect(held.buffers('deflate')).toHaveLength(1);
    held.release();
    held.holding = false;
    held.release();
    held.run(1000);
    expectSameFrames();
    expectConsistent();
  });

  it('does not touch the balloon while a batch is under way', () => {
    held.holding = true;
    held.setTarget(TARGET + MIB);
    const buffers = held.trace.length;
    held.guest.kernel.compactMemory();
    held.run(100);
    expect(held.trace.length).toBe(buffers);
    expect(held.driver.book?.isolatedPages).toBe(0);
    held.holding = false;
    held.release();
    held.run(1000);
    expectSameFrames();
    expectConsistent();
  });

  it.each(['unbind', 'suspend', 'rmmod'] as const)('%s gets every page back', (verb) => {
    held.holding = true;
    held.guest.kernel.compactMemory();
    held.run(50);
    expect(held.driver.book?.isolatedPages).toBeGreaterThan(0);
    held.guest.verb(verb);
    held.run(50);
    held.holding = false;
    while (held.held.length > 0) held.release();
    held.run(2000);
    expect([held.driver.numPages, held.driver.book?.isolatedPages ?? 0]).toEqual([0, 0]);
    expect(ledger().balloonPages).toBe(0);
    expectConsistent();
  });

  it('a cut connection loses nothing', () => {
    held.guest.kernel.compactMemory();
    held.session.cut('vm0');
    held.run(5000);
    expect(held.guest.kernel.memory.balloons.events.balloon_migrate).toBeGreaterThan(7000);
    expectSameFrames();
    expectConsistent();
  });

  it('a new host is told of the pages where they are', () => {
    held.holding = true;
    held.guest.kernel.compactMemory();
    held.run(50);
    held.holding = false;
    held.held.length = 0;
    held.session.replaceHost();
    held.run(10_000);
    expect(held.driver.book?.isolatedPages).toBe(0);
    expectSameFrames();
    expectConsistent();
  });
});
