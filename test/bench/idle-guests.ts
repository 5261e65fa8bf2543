import { type Child, withChildren } from './child.ts';
import type { Opening } from './light-guests.ts';
import { median } from './measure.ts';
import { atMost, type Report } from './report.ts';

const CONNECTIONS = 4000;
/** Below the host's MAX_PENDING_HANDSHAKES. */
const PARALLEL = 32;
const BEATS = 5;
const ROUNDS = 3;

interface Sample {
  readonly rss: number;
  readonly heap: number;
  readonly openUs: number;
}

/** Memory a host holds for a guest that is connected and does nothing, in bytes. */
export async function idleGuests(): Promise<Report> {
  const raw: Sample[] = [];
  const puff: Sample[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    raw.push(await withChildren(['raw-connections', 'raw-connections-client'], sample));
    puff.push(await withChildren(['puff-host', 'light-guests'], sample));
  }
  const of = (samples: readonly Sample[], key: keyof Sample): number => {
    return median(samples.map((one) => one[key])) / 1024;
  };
  return {
    name: 'idle-guests',
    title: `memory of a host for each of ${CONNECTIONS} idle guests, ledger chunks and QMP apart`,
    baseline: 'a WebSocket server that holds as many connections',
    rows: [
      {
        what: 'resident memory',
        figure: of(puff, 'rss'),
        unit: 'KiB/guest',
        raw: of(raw, 'rss'),
        goal: atMost('ratio', 2),
        beside: 'limit L18: 11-14',
      },
      {
        what: 'heap and buffers',
        figure: of(puff, 'heap'),
        unit: 'KiB/guest',
        raw: of(raw, 'heap'),
        beside: 'limit L18: 2.6-3.7 heap',
      },
    ],
  };
}

async function sample(host: Child, client: Child): Promise<Sample> {
  const url = await host.ask<string>('listen');
  const before = await host.ask<NodeJS.MemoryUsage>('memory');
  const opening: Opening = { url, count: CONNECTIONS, parallel: PARALLEL };
  const ns = await client.ask<number>('open', opening);
  for (let beat = 0; beat < BEATS; beat++) await host.ask('beat');
  const after = await host.ask<NodeJS.MemoryUsage>('memory');
  const held = (memory: NodeJS.MemoryUsage): number => memory.heapUsed + memory.external;
  return {
    rss: (after.rss - before.rss) / CONNECTIONS,
    heap: (held(after) - held(before)) / CONNECTIONS,
    openUs: ns / CONNECTIONS / 1e3,
  };
}
