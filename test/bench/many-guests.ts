import { GIB, MIB, PAGE_SIZE } from '../../shared/lib/units.ts';
import { type Child, withChildren } from './child.ts';
import { nowNs } from './measure.ts';
import type { FrameSet, GuestStart } from './puff-processes.ts';
import { atMost, type Report, type Row } from './report.ts';

const GUESTS = 500;
const GUEST_BYTES = 2 * GIB;
const TOUCHED_BYTES = GUEST_BYTES / 2;
/** What is taken from each guest and given back. */
const BALLOON_BYTES = 64 * MIB;

/** One process with many guests, half of whose memory is in use, and one host. */
export function manyGuests(): Promise<Report> {
  return withChildren(['puff-host', 'puff-guest'], async (host, guests) => {
    const url = await host.ask<string>('listen');
    const begin = nowNs();
    const start: GuestStart = { url, id: 'vm', memoryBytes: GUEST_BYTES, count: GUESTS };
    await guests.ask('start', start);
    await host.ask('drivers', GUESTS);
    const upSeconds = (nowNs() - begin) / 1e9;
    const upCpu = await cpuOf(host, guests);
    const residentPages = TOUCHED_BYTES / PAGE_SIZE;
    const program = { name: 'hog', mib: TOUCHED_BYTES / MIB, seconds: 1e6 };
    await guests.ask('run', { program, residentPages });
    const touchedSeconds = (nowNs() - begin) / 1e9;
    const inflate = await host.ask<number>('resizeAll', GUEST_BYTES - BALLOON_BYTES);
    await compare(host, guests, BALLOON_BYTES / PAGE_SIZE);
    const memory = {
      host: (await host.ask<NodeJS.MemoryUsage>('memory')).rss / GIB,
      guests: (await guests.ask<NodeJS.MemoryUsage>('memory')).rss / GIB,
    };
    const deflate = await host.ask<number>('resizeAll', GUEST_BYTES);
    await compare(host, guests, 0);
    const cpu = await cpuOf(host, guests);
    const pages = (GUESTS * BALLOON_BYTES) / PAGE_SIZE;
    const rate = (ns: number): number => (pages / ns) * 1e3;
    return {
      name: 'many-guests',
      title: `${GUESTS} guests of 2 GiB in one process, half of each in use, and a host`,
      rows: [
        { what: 'up', figure: upSeconds, unit: 's', goal: atMost('figure', 10) },
        { what: 'up and touched', figure: touchedSeconds, unit: 's' },
        {
          what: 'memory of both',
          figure: memory.host + memory.guests,
          unit: 'GiB',
          goal: atMost('figure', 8),
        },
        { what: 'memory of the guests', figure: memory.guests, unit: 'GiB' },
        { what: 'memory of the host', figure: memory.host, unit: 'GiB' },
        { what: 'inflate, all at once', figure: rate(inflate), unit: 'M pages/s' },
        { what: 'deflate, all at once', figure: rate(deflate), unit: 'M pages/s' },
        ...cpuRows('until up', upCpu),
        ...cpuRows('in all', cpu),
      ],
    };
  });
}

interface Cpu {
  readonly host: number;
  readonly guests: number;
}

async function cpuOf(host: Child, guests: Child): Promise<Cpu> {
  return {
    host: await host.ask<number>('cpuSeconds'),
    guests: await guests.ask<number>('cpuSeconds'),
  };
}

function cpuRows(when: string, cpu: Cpu): Row[] {
  return [
    { what: `CPU of the guests ${when}`, figure: cpu.guests, unit: 's' },
    { what: `CPU of the host ${when}`, figure: cpu.host, unit: 's' },
  ];
}

/** Ledgers and balloon lists hold the same frames, `pages` of them in each guest. */
async function compare(host: Child, guests: Child, pages: number): Promise<void> {
  const ledgers = await host.ask<FrameSet[]>('ledgers');
  const lists = await guests.ask<FrameSet[]>('lists');
  const byId = new Map(ledgers.map((ledger) => [ledger.id, ledger]));
  for (const list of lists) {
    const ledger = byId.get(list.id);
    if (list.pages === pages && ledger?.pages === pages && ledger.sum === list.sum) continue;
    throw new Error(`${list.id}: ${JSON.stringify({ list, ledger, pages })}`);
  }
}
