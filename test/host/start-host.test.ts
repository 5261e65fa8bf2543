import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type RunningHost, type StartHostOptions, startHost } from '../../host/start-host.ts';
import { connectQmp } from '../../lab/qmp-client.ts';
import { SILENT } from '../../shared/lib/log.ts';
import { RealClock } from '../../shared/lib/real-clock.ts';
import { writePfns } from '../../shared/protocol/bodies.ts';
import { Op } from '../../shared/protocol/messages.ts';
import { transportCounters } from '../../shared/transport/transport-counters.ts';
import { dial } from '../../shared/transport/ws-client.ts';
import { MiniGuest } from './mini-guest.ts';
import { RAM_BYTES } from './vmm/guest-end.ts';

let directory: string;
let running: RunningHost | undefined;
let guests: LiveGuest[];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'puff-host-'));
  guests = [];
});

afterEach(async () => {
  await running?.close();
  running = undefined;
  for (const { guest } of guests) guest.connection.close('the test is over');
  rmSync(directory, { recursive: true, force: true });
});

/** A small guest over a real WebSocket. */
class LiveGuest {
  readonly guest: MiniGuest;
  readonly #waiting = new Set<() => void>();

  constructor(url: string, guestId: string) {
    const clock = new RealClock();
    const counters = transportCounters();
    this.guest = new MiniGuest({
      clock,
      dial: () => dial(url, { clock, counters }),
      guestId,
      onNews: () => {
        for (const look of [...this.#waiting]) look();
      },
    });
    guests.push(this);
  }

  /** Resolves as soon as what the guest heard fulfils `done`. */
  until(done: (guest: MiniGuest) => boolean): Promise<void> {
    return new Promise((resolve) => {
      const look = (): void => {
        if (!done(this.guest)) return;
        this.#waiting.delete(look);
        resolve();
      };
      this.#waiting.add(look);
      look();
    });
  }
}

async function start(options: Partial<StartHostOptions> = {}): Promise<RunningHost> {
  running = await startHost({ listen: { host: '127.0.0.1', port: 0 }, ...options });
  return running;
}

async function guestOf({ url }: RunningHost, id = 'vm0'): Promise<LiveGuest> {
  const guest = new LiveGuest(url, id);
  const isLive = (message: readonly unknown[]): boolean =>
    message[0] === Op.statusValue && message[1] === 15;
  await guest.until(({ received }) => received.some(isLive));
  return guest;
}

describe('a host that listens', () => {
  it('gives each guest a QMP socket, there as soon as the guest is', async () => {
    const qmpDir = join(directory, 'qmp');
    const host = await start({ qmpDir });
    const { guest } = await guestOf(host);
    expect(statSync(join(qmpDir, 'vm0.qmp')).mode & 0o777).toBe(0o600);
    const client = await connectQmp(join(qmpDir, 'vm0.qmp'));
    expect(await client.execute('query-balloon')).toEqual({ actual: RAM_BYTES });
    guest.say([Op.configWrite, 4, writePfns([256])]);
    const change = new Promise((resolve) => client.onEvent(resolve));
    expect(await change).toMatchObject({
      event: 'BALLOON_CHANGE',
      data: { actual: RAM_BYTES - 256 * 4096 },
    });
    await client.close();
  });

  it('carries a target from QMP to the guest', async () => {
    const host = await start({ qmpDir: directory });
    const live = await guestOf(host);
    const client = await connectQmp(join(directory, 'vm0.qmp'));
    await client.execute('balloon', { value: RAM_BYTES / 2 });
    await live.until(({ received }) => received.at(-1)?.[0] === Op.config);
    const config = live.guest.received.at(-1)?.[2] as Uint8Array;
    expect(new DataView(config.buffer, config.byteOffset).getUint32(0, true)).toBe(8192);
    await client.close();
  });

  it('answers quit, powers the guest off and removes its socket', async () => {
    const host = await start({ qmpDir: directory });
    const live = await guestOf(host);
    const client = await connectQmp(join(directory, 'vm0.qmp'));
    expect(await client.execute('quit')).toEqual({});
    await live.until(({ events }) => events.includes('closed'));
    expect(live.guest.events).toContain('refused power-off');
    expect(existsSync(join(directory, 'vm0.qmp'))).toBe(false);
    await client.close();
  });

  it('writes a wire trace per guest that can be read while it runs', async () => {
    const host = await start({ traceDir: directory });
    const live = await guestOf(host);
    live.guest.inflate(0, 4, 3);
    await live.until(({ received }) => received.at(-1)?.[0] === Op.used);
    const lines = readFileSync(join(directory, 'vm0.wire.jsonl'), 'utf8').trim().split('\n');
    const events = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(events.filter(({ ev }) => ev === 'status').map(({ val }) => val)).toEqual([
      0, 1, 3, 11, 15,
    ]);
    expect(events.at(-2)).toMatchObject({ ev: 'buf', queue: 'inflate', runs: [[4, 2, -1]] });
    expect(events.at(-1)).toMatchObject({ ev: 'used', queue: 'inflate', len: 0 });
  });

  it('serves a guest whose QMP socket is not to be had, and says so in the log', async () => {
    const deep = join(directory, 'd'.repeat(100));
    const errors: object[] = [];
    const log = { ...SILENT, error: (fields: object) => errors.push(fields) };
    const host = await start({ qmpDir: deep, log });
    await guestOf(host);
    expect(errors).toEqual([expect.objectContaining({ guest: 'vm0' })]);
    expect(host.host.vmm.list()).toHaveLength(1);
  });

  it('says hello to no second host on its port', async () => {
    const { url } = await start();
    const port = Number(new URL(url).port);
    const second = startHost({ listen: { host: '127.0.0.1', port } });
    await expect(second).rejects.toThrow('the port is in use');
  });

  it('closes cleanly: guests hear host-going, QMP clients SHUTDOWN, nothing is left', async () => {
    const host = await start({ qmpDir: directory });
    const live = await guestOf(host);
    const client = await connectQmp(join(directory, 'vm0.qmp'));
    const shutdown = new Promise((resolve) => client.onEvent(resolve));
    await host.close();
    expect(await shutdown).toMatchObject({
      event: 'SHUTDOWN',
      data: { guest: false, reason: 'host-signal' },
    });
    await live.until(({ events }) => events.includes('lost host-going'));
    expect(existsSync(join(directory, 'vm0.qmp'))).toBe(false);
    expect(host.host.vmm.list()).toEqual([]);
    await client.close();
  });
});
