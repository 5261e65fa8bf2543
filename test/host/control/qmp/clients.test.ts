import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createConnection, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { QMPClient, QmpCommandError } from 'node-qemu';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  type HostChoice,
  type LibraryGuest,
  type LibraryHost,
  settled,
  startGuest,
  startHost,
} from '../../../../lab/index.ts';
import { MIB } from '../../../../shared/lib/units.ts';

/** What qemu-qmp 0.5.0 has of an interface; it comes without types. */
interface OldClient extends Socket {
  execute(command: string, callback: OldCallback): void;
  execute(command: string, args: object, callback: OldCallback): void;
  version: { readonly qemu: { readonly major: number } };
}
type OldCallback = (error: Error | null, result: unknown) => void;
const OldQmp = createRequire(import.meta.url)('qemu-qmp') as new () => OldClient;

const RAM = 128 * MIB;

let directory: string;
let host: LibraryHost;
let guest: LibraryGuest;
let ends: (() => unknown)[];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'puff-clients-'));
  ends = [];
});

afterEach(async () => {
  for (const end of ends) await end();
  await guest?.close();
  await host.close();
  rmSync(directory, { recursive: true, force: true });
});

async function start(choice: HostChoice = {}): Promise<void> {
  host = await startHost({
    qmp: directory,
    qmpTcp: { host: '127.0.0.1', port: 0 },
    hotplug: 'acpi',
    ...choice,
  });
  guest = await startGuest({ connect: host.url, id: 'vm0', memory: '128M' });
}

const path = (): string => join(directory, 'vm0.qmp');

/** The guest's QMP address over TCP, as `list` shows it. */
function tcp(): { host: string; port: number } {
  const address = host.list()[0]?.qmp?.find((one) => !one.startsWith('/')) ?? '';
  const [name = '', port] = address.split(':');
  return { host: name, port: Number(port) };
}

async function modern(options: ConstructorParameters<typeof QMPClient>[0]): Promise<QMPClient> {
  const client = new QMPClient(options);
  await client.connect();
  ends.push(() => client.close());
  return client;
}

async function old(target: string | number): Promise<OldClient> {
  const client = new OldQmp();
  ends.push(() => client.destroy());
  await new Promise((resolve) => client.connect(target as never, resolve as never));
  return client;
}

function asked(client: OldClient, command: string, args: object = {}): Promise<unknown> {
  return new Promise((resolve, reject) => {
    client.execute(command, args, (error, result) => (error ? reject(error) : resolve(result)));
  });
}

describe('node-qemu', () => {
  test.each(['unix', 'TCP'])('over %s: asks, sets, hears BALLOON_CHANGE', async (transport) => {
    await start();
    const client = await modern(transport === 'unix' ? { socketPath: path() } : tcp());
    expect(await client.queryStatus()).toMatchObject({ status: 'running', running: true });
    expect(await client.execute('query-balloon')).toEqual({ actual: RAM });
    const changed = new Promise((resolve) => client.once('rawEvent', resolve));
    expect(await client.execute('balloon', { value: RAM / 2 })).toEqual({});
    expect(await changed).toMatchObject({ event: 'BALLOON_CHANGE' });
    await settled(host, guest);
    expect(await client.execute('query-balloon')).toEqual({ actual: RAM / 2 });
  });

  test('gets errors with class and text', async () => {
    await start();
    const client = await modern({ socketPath: path() });
    const failure = client.execute('balloon', { value: 0 });
    await expect(failure).rejects.toBeInstanceOf(QmpCommandError);
    await expect(failure).rejects.toMatchObject({
      qmpClass: 'GenericError',
      description: "Parameter 'target' expects a size",
    });
  });

  test('unplugs and plugs the balloon', async () => {
    await start();
    const client = await modern({ socketPath: path() });
    await client.execute('balloon', { value: RAM / 2 });
    await settled(host, guest);
    const deleted = deviceDeleted(client, 'balloon0');
    await client.execute('device_del', { id: 'balloon0' });
    expect(await deleted).toEqual({ device: 'balloon0', path: '/machine/peripheral/balloon0' });
    await expect(client.execute('query-balloon')).rejects.toMatchObject({
      qmpClass: 'DeviceNotActive',
    });
    await client.execute('device_add', { driver: 'virtio-balloon-pci', id: 'b1', bus: 'rp0' });
    await settled(host, guest);
    expect(await client.execute('query-balloon')).toEqual({ actual: RAM });
  });

  /** It asks in a form of 2018 that QEMU refuses too. */
  test('negotiates out-of-band, and is told what is wrong with its requests', async () => {
    await start();
    const client = await modern({ socketPath: path(), oob: true });
    await expect(client.executeOob('query-status')).rejects.toMatchObject({
      description: "QMP input member 'control' is unexpected",
    });
    expect(await client.execute('query-balloon')).toEqual({ actual: RAM });
  });

  test('sees the end after quit', async () => {
    await start();
    const client = await modern({ socketPath: path() });
    const shutdown = once(client, 'SHUTDOWN');
    const gone = once(client, 'disconnected');
    await client.quit();
    expect(await shutdown).toEqual([{ guest: false, reason: 'host-qmp-quit' }]);
    await gone;
    expect(await guest.ended).toEqual({ by: 'host', reason: 'host-qmp-quit' });
  });
});

function deviceDeleted(client: QMPClient, device: string): Promise<unknown> {
  return new Promise((resolve) => {
    client.on('rawEvent', ({ event, data }) => {
      if (event === 'DEVICE_DELETED' && (data as { device?: string }).device === device)
        resolve(data);
    });
  });
}

describe('qemu-qmp', () => {
  test.each(['unix', 'TCP'])('over %s: asks, sets, hears BALLOON_CHANGE', async (transport) => {
    await start();
    const client = await old(transport === 'unix' ? path() : tcp().port);
    expect(client.version.qemu.major).toBe(7);
    expect(await asked(client, 'query-balloon')).toEqual({ actual: RAM });
    const changed = once(client, 'balloon_change');
    expect(await asked(client, 'balloon', { value: RAM / 2 })).toEqual({});
    expect(await changed).toEqual(['BALLOON_CHANGE']);
    await settled(host, guest);
    expect(await asked(client, 'query-balloon')).toEqual({ actual: RAM / 2 });
    await expect(asked(client, 'nope')).rejects.toThrow('The command nope has not been found');
  });
});

describe('two clients of one guest', () => {
  test('one on the unix socket and one over TCP are served at once, as two monitors', async () => {
    await start();
    const [first, second] = [await modern({ socketPath: path() }), await modern(tcp())];
    const heard = [first, second].map((client) => once(client, 'STOP'));
    await first.execute('stop');
    expect(await Promise.all(heard)).toHaveLength(2);
    expect(await second.queryStatus()).toMatchObject({ status: 'paused' });
    await second.execute('cont');
  });

  test('on one socket the second is served once the first is gone', async () => {
    await start();
    const first = await modern({ socketPath: path() });
    const second = new QMPClient({ socketPath: path() });
    ends.push(() => second.close());
    const connected = second.connect();
    await first.queryStatus();
    await first.close();
    await connected;
    expect(await second.queryStatus()).toMatchObject({ status: 'running' });
  });

  test('with qmpClients both are, each with replies and negotiation of its own', async () => {
    await start({ qmpClients: 2 });
    const first = await modern({ socketPath: path(), oob: true });
    const second = await old(path());
    const heard = [once(first, 'STOP'), once(second, 'stop')];
    await first.execute('stop');
    await Promise.all(heard);
    await expect(first.execute('nope')).rejects.toThrow();
    expect(await asked(second, 'query-status')).toMatchObject({ status: 'paused' });
    await asked(second, 'cont');
  });
});

/** `printf '...' | nc -U -q 1 SOCKET`, as the README shows: all at once, then the end. */
test('a shell’s pipe gets the greeting and a reply a line, then the end', async () => {
  await start({ qmpDialect: 'pve' });
  const socket = createConnection(path());
  socket
    .setEncoding('utf8')
    .end(
      '{"execute":"qmp_capabilities"}\n' +
        '{"execute":"balloon","arguments":{"value":67108864}}\n{"execute":"query-balloon"}\n',
    );
  const lines = (await socket.toArray()).join('').split('\r\n');
  expect(lines.map((line) => line.replace(/: .*/, ''))).toEqual([
    '{"QMP"',
    '{"return"',
    '{"return"',
    '{"return"',
    '',
  ]);
  expect(lines[3]).toBe(`{"return": {"actual": ${RAM}, "max_mem": ${RAM}}}`);
});
