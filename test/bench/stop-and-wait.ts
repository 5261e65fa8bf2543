import { GIB, PAGE_SIZE } from '../../shared/lib/units.ts';
import { ARRAY_PFNS_MAX } from '../../shared/limits.ts';
import { type Child, withChildren } from './child.ts';
import { median } from './measure.ts';
import type { GuestStart, Resize } from './puff-processes.ts';
import type { RawRun } from './raw/wire.ts';
import { atLeast, type Report, type Row } from './report.ts';

const GUEST_BYTES = 8 * GIB;
/** The guest is shrunk to half in steps of 1 GiB and grown again. */
const STEP_BYTES = GIB;
const STEPS = 4;
const STEP_PAGES = STEP_BYTES / PAGE_SIZE;
const CYCLES = 5;
const RAW_PAGES = 1 << 19;

type Way = 'raw' | 'inflate' | 'deflate';
type Role = 'guest' | 'host';

/** Time and CPU of steps, by what was done. CPU is moved less by other work on the machine. */
class Samples {
  readonly #samples = new Map<string, number[]>();

  /** Books `work`, which moves RAW_PAGES or STEP_PAGES and returns how long that took. */
  async during(way: Way, pair: Readonly<Record<Role, Child>>, work: () => Promise<number>) {
    const cpu = (): Promise<[number, number]> =>
      Promise.all([pair.guest.ask<number>('cpuSeconds'), pair.host.ask<number>('cpuSeconds')]);
    const [guestBefore, hostBefore] = await cpu();
    const ns = await work();
    const [guestAfter, hostAfter] = await cpu();
    this.#add(`${way} time`, ns / 1e3);
    this.#add(`${way} guest`, (guestAfter - guestBefore) * 1e6);
    this.#add(`${way} host`, (hostAfter - hostBefore) * 1e6);
  }

  clear(): void {
    this.#samples.clear();
  }

  /** Median microseconds for a batch. */
  batchUs(way: Way, what: 'time' | Role): number {
    const us = median(this.#samples.get(`${way} ${what}`) ?? []);
    return (us * ARRAY_PFNS_MAX) / (way === 'raw' ? RAW_PAGES : STEP_PAGES);
  }

  #add(key: string, us: number): void {
    this.#samples.set(key, [...(this.#samples.get(key) ?? []), us]);
  }
}

/** Inflation and deflation as virtio does it: one buffer of 256 PFNs, its return, the next. */
export function stopAndWait(): Promise<Report> {
  const parts = ['raw-host', 'raw-guest', 'puff-host', 'puff-guest'];
  return withChildren(parts, async (rawHost, rawGuest, puffHost, puffGuest) => {
    await rawGuest.ask('connect', await rawHost.ask('listen'));
    const url = await puffHost.ask<string>('listen');
    const start: GuestStart = { url, id: 'bench', memoryBytes: GUEST_BYTES };
    await puffGuest.ask('start', start);
    await puffHost.ask('drivers', 1);
    const samples = new Samples();
    const raw = async (): Promise<void> => {
      const run: RawRun = { pages: RAW_PAGES, batchPages: ARRAY_PFNS_MAX };
      const pair = { guest: rawGuest, host: rawHost };
      await samples.during('raw', pair, () => rawGuest.ask('inflate', run));
      const count = await rawHost.ask<number>('count');
      if (count !== RAW_PAGES) throw new Error(`the raw host has ${count} pages of ${RAW_PAGES}`);
      await Promise.all([rawHost.ask('clear'), rawGuest.ask('clear')]);
    };
    const puff = (way: Way, step: number): Promise<void> => {
      const resize: Resize = { guest: 'bench', bytes: GUEST_BYTES - step * STEP_BYTES };
      const pair = { guest: puffGuest, host: puffHost };
      return samples.during(way, pair, () => puffHost.ask('resize', resize));
    };
    for (let cycle = 0; cycle < CYCLES; cycle++) {
      for (let step = 1; step <= STEPS; step++) {
        await raw();
        await puff('inflate', step);
      }
      for (let step = STEPS - 1; step >= 0; step--) {
        await raw();
        await puff('deflate', step);
      }
      // The first cycle warms up.
      if (cycle === 0) samples.clear();
    }
    return report(samples);
  });
}

function report(samples: Samples): Report {
  const speed = (way: 'inflate' | 'deflate'): Row => ({
    what: way,
    figure: ARRAY_PFNS_MAX / samples.batchUs(way, 'time'),
    unit: 'M pages/s',
    raw: ARRAY_PFNS_MAX / samples.batchUs('raw', 'time'),
    goal: atLeast('ratio', 0.5),
    beside: `${samples.batchUs(way, 'time').toFixed(0)} us a batch; limit L13: 10, 4.5 idle`,
  });
  const cpu = (way: 'inflate' | 'deflate', role: Role): Row => ({
    what: `${way}, CPU of the ${role}`,
    figure: samples.batchUs(way, role),
    unit: 'us/batch',
    raw: samples.batchUs('raw', role),
  });
  return {
    name: 'stop-and-wait',
    title: 'batches of 256 PFNs between two processes, one at a time',
    baseline: 'bitmap allocator, frame, WebSocket, host bitmap, acknowledgement',
    rows: [
      speed('inflate'),
      speed('deflate'),
      cpu('inflate', 'guest'),
      cpu('deflate', 'guest'),
      cpu('inflate', 'host'),
      cpu('deflate', 'host'),
    ],
  };
}
