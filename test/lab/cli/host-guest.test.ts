import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { WebSocketServer } from 'ws';
import { connectQmp } from '../../../lab/qmp-client.ts';
import { LineClient } from '../../../shared/control/line-client.ts';
import type { GuestDump, HostGuestSummary } from '../../../shared/control/schemas.ts';
import { SUBPROTOCOL } from '../../../shared/protocol/messages.ts';
import { unusedPort } from '../../support/ports.ts';
import { type Puff, Workplace } from '../../support/puff.ts';

/** How hosts and guests begin, meet and end, as their users see it. One host serves most tests. */
const place = new Workplace();
const qmpDir = place.path('qmp');
const hostControl = place.path('host.ctl');
let host: Puff;
let url = '';
let control: LineClient;

beforeAll(async () => {
  const flags = ['--qmp', qmpDir, '--control', hostControl, '--qemu-version', '8.2.1'];
  const devices = ['--device-of', 'oom=virtio-balloon-pci,id=b1,deflate-on-oom=on'];
  const started = await place.host([...flags, ...devices, '--trace', place.path('trace')]);
  [host, url] = [started.process, started.url];
  control = await LineClient.connect(hostControl);
});

afterAll(async () => {
  control.close();
  await place.clear();
});

function list(): Promise<readonly HostGuestSummary[]> {
  return control.request({ verb: 'list' });
}

describe.concurrent('a guest', () => {
  test('SIGTERM: exit 0, its socket is gone and the host says so', async () => {
    const path = place.path('term.ctl');
    const guest = await place.guest(url, ['--id', 'term', '--control', path]);
    expect(existsSync(path)).toBe(true);
    await host.output(/puff host: guest term connected, 67108864 bytes of RAM\n/);
    const { code, stdout, stderr } = await guest.end('SIGTERM');
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toBe(`puff guest term: connected to ${url}, seed 1\n`);
    await host.output(/puff host: guest term is gone\n/);
    expect([existsSync(path), existsSync(join(qmpDir, 'term.qmp'))]).toEqual([false, false]);
  });

  test.each([
    ['SIGINT', 130],
    ['SIGHUP', 129],
  ] as const)('%s: the same, exit %i', async (signal, expected) => {
    const path = place.path(`${signal}.ctl`);
    const guest = await place.guest(url, ['--id', signal, '--control', path]);
    const { code, stderr } = await guest.end(signal);
    expect([code, stderr, existsSync(path)]).toEqual([expected, '', false]);
    await host.output(new RegExp(`guest ${signal} is gone\n`));
  });

  test('QMP quit: powered off with the reason, exit 0, its QMP socket vanishes', async () => {
    const guest = await place.guest(url, ['--id', 'quit']);
    const path = join(qmpDir, 'quit.qmp');
    const monitor = await connectQmp(path);
    const shutdown = monitor.events().next();
    expect(await monitor.execute('quit')).toEqual({});
    const reason = 'host-qmp-quit';
    expect((await shutdown).value).toMatchObject({ event: 'SHUTDOWN', data: { reason } });
    const { code, stdout, stderr } = await guest.ended;
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toContain('puff guest quit: powered off ("');
    await monitor.close();
    expect(existsSync(path)).toBe(false);
    await host.output(/guest quit is gone\n/);
  });

  test('a later one of the same id takes its place: it ends with exit 2', async () => {
    const first = await place.guest(url, ['--id', 'twice']);
    const second = await place.guest(url, ['--id', 'twice']);
    const { code, stderr } = await first.ended;
    expect(code).toBe(2);
    expect(stderr).toBe(
      'puff: the host does not take guest twice: ' +
        '"a newer connection of this guest took its place"\n',
    );
    expect((await list()).filter(({ id }) => id === 'twice')).toMatchObject([{ connected: true }]);
    expect((await second.end()).code).toBe(0);
  });

  test('a path that is not the host’s: refused with its name, exit 2', async () => {
    const { origin } = new URL(url.replace('ws:', 'http:'));
    const flags = ['--connect', `${origin.replace('http:', 'ws:')}/other`, '--id', 'lost'];
    const { code, stdout, stderr } = await place.start(['guest', ...flags]).ended;
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).toMatch(
      /^puff: the host does not take guest lost: "HTTP 404 bad-path: [^"\n]+"\n$/,
    );
  });

  test('waits for a host that is not there yet, and comes back to the next one', async () => {
    const port = await unusedPort();
    const address = `127.0.0.1:${port}`;
    const guest = place.start(['guest', '--connect', `ws://${address}`, '--memory', '64M']);
    await guest.output(/puff guest vm0: lost \(".*ECONNREFUSED.*"\), trying again\n/);
    const first = place.start(['host', '--listen', address]);
    await guest.output(/puff guest vm0: connected to/);
    await first.output(/guest vm0 connected/);
    await first.end();
    await guest.output(/lost \("host-going"\), trying again/);
    const second = place.start(['host', '--listen', address]);
    await second.output(/guest vm0 connected/);
    expect((await guest.end()).code).toBe(0);
  });

  test('SIGTERM ends one that never found a host', async () => {
    const path = place.path('never.ctl');
    const flags = ['--connect', `ws://127.0.0.1:${await unusedPort()}`, '--control', path];
    const guest = place.start(['guest', ...flags]);
    await guest.output(/trying again/);
    expect((await guest.end()).code).toBe(0);
    expect(existsSync(path)).toBe(false);
  });

  test('what a host says is quoted: it cannot write to the terminal', async () => {
    const evil = new WebSocketServer({ port: 0, host: '127.0.0.1', handleProtocols });
    evil.on('connection', (socket) => socket.close(4999, 'a\u001b[2Jb\nc\u009bd'));
    await once(evil, 'listening');
    const { port } = evil.address() as { port: number };
    const guest = place.start(['guest', '--connect', `ws://127.0.0.1:${port}`, '--id', 'vm0']);
    await guest.output(/vm0: lost \("a\\u001b\[2Jb\\nc\\u009bd"\), trying again\n/);
    await guest.end();
    evil.close();
  });

  test('--linux, --workload, --memory and --device-of have their effect', async () => {
    const path = place.path('oom.ctl');
    const flags = ['--linux', '6.12', '--workload', 'none', '--memory', '128M'];
    await place.guest(url, ['--id', 'oom', '--control', path, ...flags]);
    const guest = await LineClient.connect(path);
    const dump = (): Promise<GuestDump> => guest.request({ verb: 'dump' });
    await vi.waitFor(async () => expect((await dump()).driver).toBe('bound'), 60_000);
    const { features, processes } = await dump();
    guest.close();
    expect(features).toContain('VIRTIO_BALLOON_F_DEFLATE_ON_OOM');
    expect(processes).toEqual([]);
    const monitor = await connectQmp(join(qmpDir, 'oom.qmp'));
    expect(monitor.greeting.version).toEqual({ major: 8, minor: 2, micro: 1 });
    expect(await monitor.execute('query-balloon')).toEqual({ actual: 128 * 2 ** 20 });
    const at = { path: '/machine/peripheral/b1', property: 'deflate-on-oom' };
    expect(await monitor.execute('qom-get', at)).toBe(true);
    await monitor.close();
    const trace = readFileSync(join(place.path('trace'), 'oom.wire.jsonl'), 'utf8');
    expect(trace).toMatch(/"ev":"status"/);
  });
});

describe('--count', () => {
  test('several guests in one process, each with a connection of its own', async () => {
    const path = place.path('fleet.ctl');
    const ids = ['fleet-0', 'fleet-1', 'fleet-2'];
    const flags = ['--id', 'fleet', '--count', '3', '--control', path];
    const guest = place.start(['guest', '--connect', url, '--memory', '64M', ...flags]);
    await Promise.all(ids.map((id) => guest.output(new RegExp(`guest ${id}: connected`))));
    const listed = (await list()).map(({ id }) => id);
    expect(listed).toEqual(expect.arrayContaining(ids));
    const fleet = await LineClient.connect(path);
    await expect(fleet.request({ verb: 'dump' })).rejects.toThrow('name one');
    expect(await fleet.request({ verb: 'dump', guest: 'fleet-1' })).toMatchObject({
      id: 'fleet-1',
    });
    fleet.close();
    const { code, stderr } = await guest.end();
    expect([code, stderr]).toEqual([0, '']);
    await Promise.all(ids.map((id) => host.output(new RegExp(`guest ${id} is gone\n`))));
  });
});

describe.concurrent('a host', () => {
  test.each([
    ['SIGTERM', 0],
    ['SIGINT', 130],
    ['SIGHUP', 129],
  ] as const)('%s: sockets are removed, guests wait for another; exit %i', async (signal, exit) => {
    const path = place.path(`host-${signal}.ctl`);
    const qmp = place.path(`qmp-${signal}`);
    const started = await place.host(['--control', path, '--qmp', qmp]);
    const guest = await place.guest(started.url, ['--id', 'vm0']);
    const monitor = await connectQmp(join(qmp, 'vm0.qmp'));
    const { code, stdout, stderr } = await started.process.end(signal);
    expect([code, stderr]).toEqual([exit, '']);
    expect(stdout).toMatch(/guest vm0 is gone\n$/);
    expect([existsSync(path), existsSync(join(qmp, 'vm0.qmp'))]).toEqual([false, false]);
    await guest.output(/trying again/);
    await Promise.all([monitor.close(), guest.end()]);
  });

  test('a second signal ends it at once when a guest does not let go', async () => {
    const started = await place.host();
    const guest = await place.guest(started.url, ['--id', 'vm0']);
    guest.child.kill('SIGSTOP');
    started.process.child.kill('SIGTERM');
    await started.process.output(/guest vm0 is gone/);
    expect((await started.process.end('SIGINT')).code).toBe(130);
  });

  test('--log: JSON lines on stderr only, the plain lines stay on stdout', async () => {
    const started = await place.host(['--log', 'debug']);
    const guest = await place.guest(started.url, ['--id', 'vm0']);
    await started.process.output(/guest vm0 connected/);
    await guest.end();
    await started.process.output(/guest vm0 is gone/);
    const { stdout, stderr } = await started.process.end();
    for (const line of stdout.trim().split('\n')) expect(line).toMatch(/^puff host: /);
    const logged = stderr.trim().split('\n');
    const messages = logged.map((line) => JSON.parse(line).msg);
    expect(messages).toEqual(expect.arrayContaining(['guest added', 'guest removed']));
  });

  test('goes on when nobody reads what it prints', async () => {
    const path = place.path('deaf.ctl');
    const started = await place.host(['--control', path]);
    started.process.child.stdout?.destroy();
    const guest = await place.guest(started.url, ['--id', 'vm0']);
    await guest.end();
    const client = await LineClient.connect(path);
    expect(await client.request({ verb: 'list' })).toEqual([]);
    client.close();
    const { code, stderr } = await started.process.end();
    expect([code, stderr]).toEqual([0, '']);
  });
});

function handleProtocols(): string {
  return SUBPROTOCOL;
}
