import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { connectQmp } from '../../../lab/qmp-client.ts';
import { LineClient } from '../../../shared/control/line-client.ts';
import { MAX_SOCKET_PATH_BYTES } from '../../../shared/limits.ts';
import { type PuffOptions, puff, Workplace } from '../../support/puff.ts';

/** Ports and sockets that a host or guest cannot have, and those it mends by itself. */
const place = new Workplace();
afterAll(() => place.clear());

const HOST = ['host', '--listen', '127.0.0.1:0'];
const GUEST = ['guest', '--connect', 'ws://127.0.0.1:1', '--memory', '64M'];

/** Where nobody may make a file or socket, not even root. */
const FORBIDDEN = '/proc/puff-test';

async function refusal(args: readonly string[], options?: PuffOptions): Promise<string> {
  const { code, stderr } = await puff(args, options);
  expect(stderr).toMatch(/^puff: [^\n]+\n$/);
  expect(code).toBe(2);
  return stderr;
}

describe.concurrent('one clear line and exit 2', () => {
  test('a busy port', async () => {
    const { url } = await place.host();
    const address = new URL(url).host;
    const line = await refusal(['host', '--listen', address]);
    expect(line).toContain(`cannot listen on ${address}: the port is in use; choose another`);
  });

  test('an address this machine does not have', async () => {
    const env = { PUFF_TOKEN: 'a-token-of-a-test-that-nobody-uses' };
    const line = await refusal(['host', '--insecure', '--listen', '192.0.2.1:0'], { env });
    expect(line).toContain('this machine does not have that address');
  });

  test.each([
    ['host', HOST],
    ['guest', GUEST],
  ])('%s: a socket path over the system’s length, told with the limit', async (name, command) => {
    const path = place.path(name.repeat(30));
    const line = await refusal([...command, '--control', path]);
    expect(line).toContain(`at most ${MAX_SOCKET_PATH_BYTES} bytes, this has ${path.length}`);
    expect(line).toContain('use a shorter directory');
  });

  test('a QMP folder so deep that no socket fits', async () => {
    const line = await refusal([...HOST, '--qmp', place.path('q'.repeat(100))]);
    expect(line).toContain('--qmp:');
    expect(line).toContain('MAX_SOCKET_PATH_BYTES');
  });

  test.each([
    ['host', HOST],
    ['guest', GUEST],
  ])('%s: a control path that is a file, which is left alone', async (name, command) => {
    const path = place.path(`${name}.txt`);
    writeFileSync(path, 'precious');
    const line = await refusal([...command, '--control', path]);
    expect(line).toContain(`${path} exists and is no socket; remove it or use another path`);
    expect(readFileSync(path, 'utf8')).toBe('precious');
  });

  test('a control path in a folder that is not there', async () => {
    const line = await refusal([...GUEST, '--control', place.path('no/vm0.ctl')]);
    expect(line).toContain(`no folder ${place.path('no')}; create it first`);
  });

  test('a control path in a folder that is a file', async () => {
    const file = place.path('flat');
    writeFileSync(file, '');
    const line = await refusal([...GUEST, '--control', join(file, 'vm0.ctl')]);
    expect(line).toContain(`${file} is no folder; use another path`);
  });

  test('a control path where nobody may write', async () => {
    const line = await refusal([...GUEST, '--control', FORBIDDEN]);
    expect(line).toContain(`cannot listen at ${FORBIDDEN}: not allowed there; choose another`);
  });

  test.each(['--qmp', '--trace'])('%s names a file, or what lies in one', async (flag) => {
    const file = place.path(`${flag}.txt`);
    writeFileSync(file, '');
    for (const path of [file, join(file, 'deeper')]) {
      const line = await refusal([...HOST, flag, path]);
      expect(line).toContain(
        `${flag}: cannot use ${path} as a folder: it is a file or lies in one`,
      );
    }
  });

  test.each(['--qmp', '--trace'])('%s where nobody may make a folder', async (flag) => {
    const line = await refusal([...HOST, flag, join(FORBIDDEN, 'deeper')]);
    expect(line).toContain(`${flag}: cannot use ${FORBIDDEN}/deeper as a folder`);
  });
});

describe.concurrent('control sockets', () => {
  test('one that answers is left to its process', async () => {
    const path = place.path('live.ctl');
    await place.host(['--control', path]);
    for (const command of [HOST, GUEST]) {
      const line = await refusal([...command, '--control', path]);
      expect(line).toContain(
        `cannot listen at ${path}: a process answers on it; stop that process`,
      );
    }
    const client = await LineClient.connect(path);
    expect(await client.request({ verb: 'list' })).toEqual([]);
    client.close();
  });

  test('sockets are their owner’s alone', async () => {
    const paths = { host: place.path('own.ctl'), guest: place.path('own-vm.ctl') };
    const qmp = place.path('own');
    const { url } = await place.host(['--control', paths.host, '--qmp', qmp]);
    await place.guest(url, ['--id', 'own', '--control', paths.guest]);
    const modes = [paths.host, paths.guest, join(qmp, 'own.qmp')].map((path) => {
      return (statSync(path).mode & 0o777).toString(8);
    });
    expect(modes).toEqual(['600', '600', '600']);
    expect((statSync(qmp).mode & 0o777).toString(8)).toBe('700');
  });

  test('those a killed host and guest left behind are replaced', async () => {
    const control = place.path('stale.ctl');
    const guestControl = place.path('stale-vm.ctl');
    const qmp = place.path('stale');
    const flags = ['--qmp', qmp, '--control', control];
    const first = await place.host(flags);
    const guestFlags = ['--id', 'vm0', '--control', guestControl];
    const guest = await place.guest(first.url, guestFlags);
    await Promise.all([guest.end('SIGKILL'), first.process.end('SIGKILL')]);
    const left = [control, guestControl, join(qmp, 'vm0.qmp')];
    for (const path of left) expect(statSync(path).isSocket()).toBe(true);

    const second = await place.host(flags);
    await place.guest(second.url, guestFlags);
    const client = await LineClient.connect(control);
    expect(await client.request({ verb: 'list' })).toMatchObject([{ id: 'vm0', connected: true }]);
    client.close();
    const monitor = await connectQmp(join(qmp, 'vm0.qmp'));
    expect(await monitor.execute('query-balloon')).toEqual({ actual: 64 * 2 ** 20 });
    await monitor.close();
  });

  test('a QMP socket that cannot be had is told, and the guest runs without it', async () => {
    const qmp = place.path('n'.repeat(40));
    const { process, url } = await place.host(['--qmp', qmp]);
    const id = 'v'.repeat(64);
    await place.guest(url, ['--id', id]);
    await process.output(/no QMP socket, guest v+, error .*at most 107 bytes, this has \d+;/);
    await process.output(new RegExp(`guest ${id} connected`));
  });
});
