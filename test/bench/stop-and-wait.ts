import { GIB, PAGE_SIZE } from '../../shared/lib/units.ts';
import { ARRAY_PFNS_MAX } from '../../shared/limits.ts';
import { type Child, withChildren } from './child.ts';
import { inTurns, median, millions } from './measure.ts';
import type { GuestStart, Resize } from './puff-processes.ts';
import type { RawRun } from './raw/wire.ts';
import { atLeast, type Report, type Row } from './report.ts';

const GUEST_BYTES = 8 * GIB;
/** Half of the guest's memory, in each direction. */
const PUFF_PAGES = GUEST_BYTES / 2 / PAGE_SIZE;
const RAW_PAGES = 1 << 19;
const ROUNDS = 7;

/** Median microseconds of CPU that one batch takes, by process; noise moves it less than time. */
class CpuOfBatches {
  readonly #samples = new Map<string, number[]>();

  /** Runs `work`, which moves `pages`, and books what the processes used for it. */
  async during<Result>(
    what: string,
    pages: number,
    processes: Readonly<Record<'guest' | 'host', Child>>,
    work: () => Promise<Result>,
  ): Promise<Result> {
    const cpu = (): Promise<number[]> =>
      Promise.all(
        [processes.guest, processes.host].map((child) => child.ask<number>('cpuSeconds')),
      );
    const before = await cpu();
    const result = await work();
    const after = await cpu();
    for (const [index, role] of ['guest', 'host'].entries()) {
      const us = ((after[index] - before[index]) * 1e6 * ARRAY_PFNS_MAX) / pages;
      const key = `${what} ${role}`;
      this.#samples.set(key, [...(this.#samples.get(key) ?? []), us]);
    }
    return result;
  }

  row(what: 'inflate' | 'deflate', role: 'guest' | 'host'): Row {
    const us = (of: string): number => median(this.#samples.get(`${of} ${role}`) ?? []);
    return {
      what: `${what}, CPU of the ${role}`,
      figure: us(what),
      unit: 'us/batch',
      raw: us('raw'),
    };
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
    const cpu = new CpuOfBatches();
    const raw = async (): Promise<number> => {
      const run: RawRun = { pages: RAW_PAGES, batchPages: ARRAY_PFNS_MAX };
      const processes = { guest: rawGuest, host: rawHost };
      const ns = await cpu.during('raw', RAW_PAGES, processes, () =>
        rawGuest.ask<number>('inflate', run),
      );
      const count = await rawHost.ask<number>('count');
      if (count !== RAW_PAGES) throw new Error(`the raw host has ${count} pages of ${RAW_PAGES}`);
      await Promise.all([rawHost.ask('clear'), rawGuest.ask('clear')]);
      return ns;
    };
    const puff = (what: 'inflate' | 'deflate', bytes: number) => (): Promise<number> => {
      const resize: Resize = { guest: 'bench', bytes };
      const processes = { guest: puffGuest, host: puffHost };
      return cpu.during(what, PUFF_PAGES, processes, () => puffHost.ask<number>('resize', resize));
    };
    const ns = await inTurns(ROUNDS, {
      raw: { operations: RAW_PAGES, run: raw },
      inflate: { operations: PUFF_PAGES, run: puff('inflate', GUEST_BYTES / 2) },
      deflate: { operations: PUFF_PAGES, run: puff('deflate', GUEST_BYTES) },
    });
    return report(ns, cpu);
  });
}

function report(ns: { raw: number; inflate: number; deflate: number }, cpu: CpuOfBatches): Report {
  const row = (what: 'inflate' | 'deflate'): Row => ({
    what,
    figure: millions(ns[what]),
    unit: 'M pages/s',
    raw: millions(ns.raw),
    goal: atLeast('ratio', 0.5),
    beside: `${((ns[what] * ARRAY_PFNS_MAX) / 1e3).toFixed(0)} us a batch; limit L13: 10, 4.5 idle`,
  });
  return {
    name: 'stop-and-wait',
    title: 'batches of 256 PFNs between two processes, one at a time',
    baseline: 'bitmap allocator, frame, WebSocket, host bitmap, acknowledgement',
    rows: [
      row('inflate'),
      row('deflate'),
      cpu.row('inflate', 'guest'),
      cpu.row('deflate', 'guest'),
      cpu.row('inflate', 'host'),
      cpu.row('deflate', 'host'),
    ],
  };
}
