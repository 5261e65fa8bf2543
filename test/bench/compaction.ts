import { Kernel } from '../../guest/kernel.ts';
import { VirtualClock } from '../../shared/lib/clock.ts';
import { SILENT } from '../../shared/lib/log.ts';
import { PausableClock } from '../../shared/lib/pausable-clock.ts';
import { GIB, MIB, PAGE_SIZE } from '../../shared/lib/units.ts';
import { type Child, withChildren } from './child.ts';
import { LocalBalloon, scatter } from './local-balloon.ts';
import { median, nowNs } from './measure.ts';
import type { CompactionRun, GuestStart, Resize } from './puff-processes.ts';
import type { RawRun } from './raw/wire.ts';
import { atLeast, type Report, type Row } from './report.ts';

const GUEST_BYTES = 16 * GIB;
const ROUNDS = 3;

/** Between processes: what a program fragments, and what remains when its holes are ballooned. */
const WIRE_BYTES = GIB;
const WIRE_FRAGMENTS = { mib: 700, keepEvery: 3 };
const WIRE_TARGET_BYTES = 600 * MIB;
const WIRE_ROUNDS = 6;
const RAW_ROUND_TRIPS = 30_000;

/** Pages a second of one compaction of the large guest, by what was done to them. */
interface Speed {
  readonly scanned: number;
  readonly migrated: number;
}

function newKernel(): Kernel {
  return new Kernel({
    memoryBytes: GUEST_BYTES,
    clock: new PausableClock(new VirtualClock()),
    seed: 1,
    linux: '6.1',
    log: SILENT,
    port: { send: () => {} },
  });
}

function compact(kernel: Kernel): Speed {
  const start = nowNs();
  kernel.compactMemory();
  const seconds = (nowNs() - start) / 1e9;
  const { compact_migrate_scanned, compact_free_scanned, pgmigrate_success } =
    kernel.compaction.events;
  return {
    scanned: (compact_migrate_scanned + compact_free_scanned) / seconds,
    migrated: pgmigrate_success / seconds,
  };
}

/** Half of all pages are in use at random, and none of them can be moved: both only look. */
function scanOnly(): Speed {
  const kernel = newKernel();
  scatter(kernel.memory);
  return compact(kernel);
}

/** Half of all pages are a balloon's, at random, the others free. */
function migrate(): Speed {
  const kernel = newKernel();
  const { allocator } = kernel.memory;
  const others = scatter(kernel.memory);
  const balloon = new LocalBalloon(kernel.memory, kernel.scheduler);
  balloon.inflateAll();
  for (let index = 0; index < others.length; index++) allocator.free(others[index], 0);
  const speed = compact(kernel);
  if (speed.migrated === 0) throw new Error('no page of the balloon was migrated');
  return speed;
}

/** Microseconds for a page, by the clock and of each process. */
interface Cost {
  readonly time: number;
  readonly guest: number;
  readonly host: number;
}

/** What `work`, which returns how many pages it moved and how long that took, costs a page. */
async function costOf(
  guest: Child,
  host: Child,
  work: () => Promise<{ readonly pages: number; readonly ns: number }>,
): Promise<Cost> {
  const cpu = (): Promise<[number, number]> =>
    Promise.all([guest.ask<number>('cpuSeconds'), host.ask<number>('cpuSeconds')]);
  const [guestBefore, hostBefore] = await cpu();
  const { pages, ns } = await work();
  const [guestAfter, hostAfter] = await cpu();
  return {
    time: ns / 1e3 / pages,
    guest: ((guestAfter - guestBefore) * 1e6) / pages,
    host: ((hostAfter - hostBefore) * 1e6) / pages,
  };
}

/** Pages migrated over the wire, and twice as many round trips without Puff. */
async function overTheWire(): Promise<{ puff: Cost[]; raw: Cost[] }> {
  const parts = ['raw-host', 'raw-guest', 'puff-host', 'puff-guest'];
  return withChildren(parts, async (rawHost, rawGuest, puffHost, puffGuest) => {
    await rawGuest.ask('connect', await rawHost.ask('listen'));
    const url = await puffHost.ask<string>('listen');
    const start: GuestStart = { url, id: 'bench', memoryBytes: WIRE_BYTES };
    await puffGuest.ask('start', start);
    await puffHost.ask('drivers', 1);
    const raw: Cost[] = [];
    const puff: Cost[] = [];
    const trips: RawRun = { pages: RAW_ROUND_TRIPS, batchPages: 1 };
    for (let round = 0; round < WIRE_ROUNDS; round++) {
      const rawCost = await costOf(rawGuest, rawHost, async () => {
        return { pages: RAW_ROUND_TRIPS / 2, ns: await rawGuest.ask<number>('inflate', trips) };
      });
      await Promise.all([rawHost.ask('clear'), rawGuest.ask('clear')]);
      const puffCost = await migrateOnce(puffHost, puffGuest);
      // The first round warms up.
      if (round === 0) continue;
      raw.push(rawCost);
      puff.push(puffCost);
    }
    return { puff, raw };
  });
}

async function migrateOnce(host: Child, guest: Child): Promise<Cost> {
  const resize = (bytes: number): Promise<number> => {
    return host.ask('resize', { guest: 'bench', bytes } satisfies Resize);
  };
  await guest.ask('fragment', WIRE_FRAGMENTS);
  await resize(WIRE_TARGET_BYTES);
  await guest.ask('kill');
  const cost = await costOf(guest, host, async () => {
    const { balloonMigrated, ns } = await guest.ask<CompactionRun>('compact');
    if (balloonMigrated < 1000) throw new Error(`only ${balloonMigrated} pages were migrated`);
    return { pages: balloonMigrated, ns };
  });
  await resize(WIRE_BYTES);
  return cost;
}

/** compact_memory of a guest half of whose memory is a balloon, with and without the wire. */
export async function compaction(): Promise<Report> {
  const scans = Array.from({ length: ROUNDS }, scanOnly);
  const migrations = Array.from({ length: ROUNDS }, migrate);
  const wire = await overTheWire();
  const middle = (speeds: readonly Speed[], of: keyof Speed): number => {
    return median(speeds.map((speed) => speed[of])) / 1e6;
  };
  const pages = (GUEST_BYTES / PAGE_SIZE / 1e6).toFixed(1);
  const us = (side: 'puff' | 'raw', of: keyof Cost): number => {
    return median(wire[side].map((cost) => cost[of]));
  };
  const cpu = (role: 'guest' | 'host'): Row => ({
    what: `between two processes, CPU of the ${role}`,
    figure: us('puff', role),
    unit: 'us/page',
    raw: us('raw', role),
  });
  return {
    name: 'compaction',
    title: `compact_memory of 16 GiB (${pages} M pages), half in use at random`,
    baseline: 'two round trips of a page between processes, and nothing else',
    rows: [
      {
        what: 'nothing can be moved: pages scanned',
        figure: middle(scans, 'scanned'),
        unit: 'M pages/s',
        goal: atLeast('figure', 20),
      },
      {
        what: 'all is the balloon, host answers at once: pages migrated',
        figure: middle(migrations, 'migrated'),
        unit: 'M pages/s',
        goal: atLeast('figure', 0.5),
        beside: `${middle(migrations, 'scanned').toFixed(2)} M scanned beside it`,
      },
      {
        what: 'between two processes, 1 GiB: pages migrated',
        figure: 1e6 / us('puff', 'time'),
        unit: 'pages/s',
        raw: 1e6 / us('raw', 'time'),
        goal: atLeast('ratio', 0.5),
        beside: `${us('puff', 'time').toFixed(0)} us a page`,
      },
      cpu('guest'),
      cpu('host'),
    ],
  };
}
