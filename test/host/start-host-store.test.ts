import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type RunningHost, type StartHostOptions, startHost } from '../../host/start-host.ts';
import { connectQmp } from '../../lab/qmp-client.ts';
import { RealClock } from '../../shared/lib/real-clock.ts';
import { Op } from '../../shared/protocol/messages.ts';
import { transportCounters } from '../../shared/transport/transport-counters.ts';
import { dial } from '../../shared/transport/ws-client.ts';
import { MiniGuest } from './mini-guest.ts';
import { RAM_BYTES } from './vmm/guest-end.ts';

/** Two lives of a host in one process: the store is all that goes from one to the other. */
let directory: string;
let storePath: string;
let hosts: RunningHost[];
let guests: MiniGuest[];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'puff-host-'));
  storePath = join(directory, 'guests');
  hosts = [];
  guests = [];
});

afterEach(async () => {
  for (const host of hosts) await host.close();
  for (const guest of guests) guest.connection.close('the test is over');
  rmSync(directory, { recursive: true, force: true });
});

async function start(options: Partial<StartHostOptions> = {}): Promise<RunningHost> {
  const listen = { host: '127.0.0.1', port: 0 };
  const host = await startHost({ listen, storePath, qmpDir: directory, ...options });
  hosts.push(host);
  return host;
}

/** A guest that resolves `until` as soon as what it heard fulfils `done`. */
function newGuest(url: string): { guest: MiniGuest; until(done: () => boolean): Promise<void> } {
  const clock = new RealClock();
  const counters = transportCounters();
  const waiting = new Set<() => void>();
  const guest = new MiniGuest({
    clock,
    dial: () => dial(url, { clock, counters }),
    onNews: () => {
      for (const look of [...waiting]) look();
    },
  });
  guests.push(guest);
  const until = (done: () => boolean): Promise<void> =>
    new Promise((resolve) => {
      const look = (): void => {
        if (!done()) return;
        waiting.delete(look);
        resolve();
      };
      waiting.add(look);
      look();
    });
  return { guest, until };
}

const STATS = { path: '/machine/peripheral/balloon0', property: 'guest-stats-polling-interval' };

describe('a host with a store', () => {
  it('is found again by its guests and its controllers', async () => {
    const first = await start();
    const { guest, until } = newGuest(first.url);
    await until(() => guest.events.includes('power-on'));
    const before = await connectQmp(join(directory, 'vm0.qmp'));
    await before.execute('balloon', { value: RAM_BYTES / 2 });
    await before.execute('qom-set', { ...STATS, value: 3 });
    const session = first.host.vmm.vm('vm0').session?.name;
    await first.close();
    await before.close();

    const port = Number(new URL(first.url).port);
    const second = await start({ listen: { host: '127.0.0.1', port } });
    // No guest is back yet: the monitor is there all the same.
    expect(statSync(join(directory, 'vm0.qmp')).isSocket()).toBe(true);
    const monitor = await connectQmp(join(directory, 'vm0.qmp'));
    expect(await monitor.execute('query-status')).toMatchObject({ status: 'running' });
    expect(await monitor.execute('qom-get', STATS)).toBe(3);
    await until(() => guest.events.filter((event) => event === 'power-on').length === 2);
    await until(() => guest.received.at(-1)?.[0] === Op.device);
    const config = guest.received.at(-1)?.[6] as Uint8Array;
    expect(new DataView(config.buffer, config.byteOffset).getUint32(0, true)).toBe(
      RAM_BYTES / 2 / 4096,
    );
    const name = second.host.vmm.vm('vm0').session?.name;
    expect(name).toMatch(/^[0-9a-f-]{36}$/);
    expect(name).not.toBe(session);
    await monitor.close();
  });

  it('gives the store free when it ends', async () => {
    const first = await start();
    await expect(start()).rejects.toThrow(`the store ${storePath} is in use by another host`);
    await first.close();
    expect(existsSync(`${storePath}.lock`)).toBe(false);
    await start();
  });

  it('gives the store free when its port is not to be had', async () => {
    const { url } = await start({ storePath: undefined });
    const port = Number(new URL(url).port);
    await expect(start({ listen: { host: '127.0.0.1', port } })).rejects.toThrow('in use');
    await start();
  });

  it('refuses a damaged store in one line, and gives it free', async () => {
    writeFileSync(storePath, 'no record\n\n');
    await expect(start()).rejects.toThrow(`${storePath}: line 1 is no record; move the file away`);
    rmSync(storePath);
    await start();
  });
});
