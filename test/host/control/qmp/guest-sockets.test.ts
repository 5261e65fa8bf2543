import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  GuestSockets,
  type GuestSocketsOptions,
} from '../../../../host/control/qmp/guest-sockets.ts';
import { startHost } from '../../../../host/start-host.ts';
import type { Machine } from '../../../../host/vmm/machine.ts';
import { connectQmp } from '../../../../lab/qmp-client.ts';
import { VirtualClock } from '../../../../shared/lib/clock.ts';
import type { Log } from '../../../../shared/lib/log.ts';
import { SILENT } from '../../../../shared/lib/log.ts';
import { FakeMachine } from '../../../support/fake-machine.ts';
import { RECORDED_SETTINGS } from './support.ts';

const clock = new VirtualClock();
let sockets: GuestSockets;
let machines: Machine[];
let told: string[];
let errors: string[];
let others: Server[];

beforeEach(() => {
  machines = [];
  told = [];
  errors = [];
  others = [];
});

afterEach(async () => {
  for (const machine of machines) sockets.close(machine);
  await sockets.settled();
  for (const other of others) other.close();
});

function open(options: Partial<GuestSocketsOptions>): void {
  const log: Log = { ...SILENT, error: (_: object, text: string) => errors.push(text) };
  sockets = new GuestSockets({
    settings: RECORDED_SETTINGS,
    maxClients: 1,
    clock,
    log,
    onTcpListening: (id, address) => told.push(`${id} ${address}`),
    ...options,
  });
}

/** A machine of its own id, with its sockets open. */
async function add(id: string): Promise<Machine> {
  const machine = Object.assign(new FakeMachine(512, clock), { id });
  machines.push(machine);
  sockets.open(machine);
  await sockets.opened();
  return machine;
}

/** A port with another behind it, both free a moment ago. */
async function freePorts(): Promise<number> {
  for (;;) {
    const servers = [createServer(), createServer()];
    const [first, second] = servers as [Server, Server];
    first.listen(0, '127.0.0.1');
    await once(first, 'listening');
    const { port } = first.address() as { port: number };
    const listening = once(second.listen(port + 1, '127.0.0.1'), 'listening').then(
      () => true,
      () => false,
    );
    const isFree = port < 65_000 && (await listening);
    for (const server of servers) server.close();
    if (isFree) return port;
  }
}

describe('one port per guest', () => {
  test('the lowest that is free, told when it takes clients', async () => {
    const port = await freePorts();
    open({ tcp: { host: '127.0.0.1', port } });
    await Promise.all([add('vm0'), add('vm1')]);
    expect(sockets.addressesOf('vm0')).toEqual([`127.0.0.1:${port}`]);
    expect(sockets.addressesOf('vm1')).toEqual([`127.0.0.1:${port + 1}`]);
    expect(told.toSorted()).toEqual([`vm0 127.0.0.1:${port}`, `vm1 127.0.0.1:${port + 1}`]);
    const client = await connectQmp({ host: '127.0.0.1', port: port + 1 });
    expect(await client.execute('query-balloon')).toEqual({ actual: 512 * 2 ** 20 });
    await client.close();
  });

  test('the port of a guest that is gone is the next one’s', async () => {
    const port = await freePorts();
    open({ tcp: { host: '127.0.0.1', port } });
    const first = await add('vm0');
    await add('vm1');
    sockets.close(first);
    await sockets.settled();
    expect(sockets.addressesOf('vm0')).toEqual([]);
    await add('vm2');
    expect(sockets.addressesOf('vm2')).toEqual([`127.0.0.1:${port}`]);
  });

  test('a port that another program has is left out', async () => {
    const port = await freePorts();
    const other = createServer().listen(port, '127.0.0.1');
    others.push(other);
    await once(other, 'listening');
    open({ tcp: { host: '127.0.0.1', port } });
    await add('vm0');
    expect(sockets.addressesOf('vm0')).toEqual([`127.0.0.1:${port + 1}`]);
    expect(errors).toEqual([]);
  });

  test('port 0 takes any', async () => {
    open({ tcp: { host: '::1', port: 0 } });
    await add('vm0');
    await add('vm1');
    const addresses = ['vm0', 'vm1'].flatMap((id) => sockets.addressesOf(id));
    expect(addresses.every((address) => /^\[::1\]:[1-9]\d+$/.test(address))).toBe(true);
    expect(new Set(addresses).size).toBe(2);
  });

  test('when there is none left, the guest goes without and the log says so', async () => {
    open({ tcp: { host: '127.0.0.1', port: 65_536 } });
    await add('vm0');
    expect([sockets.addressesOf('vm0'), errors]).toEqual([[], ['no QMP socket']]);
  });
});

test('a guest may have a unix socket and a port', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'puff-sockets-'));
  open({ directory, tcp: { host: '127.0.0.1', port: 0 } });
  const machine = await add('vm0');
  const path = join(directory, 'vm0.qmp');
  expect(sockets.addressesOf('vm0').toSorted()).toEqual([path, told[0]?.slice(4)].toSorted());
  sockets.close(machine);
  await sockets.settled();
  expect(existsSync(path)).toBe(false);
  rmSync(directory, { recursive: true });
});

test('a host refuses QMP where other machines reach it', async () => {
  for (const host of ['0.0.0.0', '::', '192.168.1.7']) {
    const listen = { host: '127.0.0.1', port: 0 };
    await expect(startHost({ listen, qmpTcp: { host, port: 4450 } })).rejects.toMatchObject({
      name: 'ExposureError',
      message: expect.stringContaining(`${host}, which knows no passwords`),
    });
  }
});
