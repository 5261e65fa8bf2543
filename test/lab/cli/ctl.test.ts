import { writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { puff, Workplace } from '../../support/puff.ts';

/** `puff ctl` against a host and a guest that run: the tests of a block build on each other. */
const place = new Workplace();
const host = place.path('host.ctl');
const guest = place.path('vm0.ctl');
const qmp = place.path('qmp');
const MIB = 2 ** 20;

beforeAll(async () => {
  const { url } = await place.host(['--control', host, '--qmp', qmp]);
  await place.guest(url, ['--id', 'vm0', '--memory', '128M', '--control', guest]);
});

afterAll(() => place.clear());

/** The result of a request that is granted. */
async function ctl(socket: string, ...words: readonly string[]): Promise<unknown> {
  const { code, stdout, stderr } = await puff(['ctl', socket, ...words]);
  expect([code, stderr]).toEqual([0, '']);
  return JSON.parse(stdout);
}

/** The one line for a request that is refused, without the socket's name. */
async function refused(socket: string, ...words: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await puff(['ctl', socket, ...words]);
  expect([code, stdout]).toEqual([2, '']);
  const [, text = ''] = /^puff: ([^\n]+)\n$/.exec(stderr) ?? [];
  return text.startsWith(`${socket}: `) ? text.slice(socket.length + 2) : text;
}

describe('verbs of a host', () => {
  test('list shows every guest with target, actual and ledger', async () => {
    expect(await ctl(host, 'list')).toMatchObject([
      {
        id: 'vm0',
        status: 'running',
        connected: true,
        driverOk: true,
        ramBytes: 128 * MIB,
        targetBytes: 128 * MIB,
        actualBytes: 128 * MIB,
        ledgerPages: 0,
        buffersInFlight: 0,
      },
    ]);
  });

  test('balloon takes a size or plain bytes: what remains to the guest', async () => {
    const wanted = { id: 'vm0', targetBytes: 96 * MIB };
    expect(await ctl(host, 'balloon', 'guest=vm0', 'bytes=96M')).toMatchObject(wanted);
    const plain = `bytes=${100 * MIB}`;
    expect(await ctl(host, 'balloon', 'guest=vm0', plain)).toMatchObject({
      targetBytes: 100 * MIB,
    });
  });

  test('ledger counts frames; with pfns=true it names them', async () => {
    await ctl(guest, 'unbind');
    await ctl(guest, 'bind');
    const ledger = (await ctl(host, 'ledger', 'guest=vm0', 'pfns=true')) as {
      readonly balloonPages: number;
      readonly pfns: readonly number[];
    };
    expect(ledger).toMatchObject({ id: 'vm0', ramPages: 32768 });
    expect(ledger.pfns).toHaveLength(ledger.balloonPages);
    expect(await ctl(host, 'ledger', 'guest=vm0')).not.toHaveProperty('pfns');
  });

  test('stats gives exact decimal texts', async () => {
    const stats = (await ctl(host, 'stats', 'guest=vm0')) as { values: Record<string, string> };
    expect(stats).toHaveProperty('lastUpdateSeconds');
    for (const value of Object.values(stats.values)) expect(value).toMatch(/^\d+$/);
  });

  test('cut cuts the connection, and the guest resumes by itself', async () => {
    expect(await ctl(host, 'cut', 'guest=vm0')).toEqual({ cut: 'vm0' });
  });

  test('errors name what is there instead', async () => {
    expect(await refused(host, 'balloon', 'guest=vm9', 'bytes=64M')).toBe(
      "no guest 'vm9'; there is vm0",
    );
    expect(await refused(host, 'inflate')).toMatch(
      /^verb: Invalid discriminator value\. Expected 'list' \| .*'balloon'/,
    );
    expect(await refused(host, 'balloon')).toBe('guest: is missing; bytes: is missing');
    expect(await refused(host, 'balloon', 'guest=vm0', 'bytes=-1')).toContain('-1');
    expect(await refused(host, 'list', 'guest=vm0')).toBe('Unrecognized key: "guest"');
  });
});

describe('verbs of a guest', () => {
  test('dump shows driver, list, statistics, processes and tasks', async () => {
    expect(await ctl(guest, 'dump', 'guest=vm0', 'pfns=true')).toMatchObject({
      id: 'vm0',
      power: 'running',
      driver: 'bound',
      canariesWrong: 0,
      processes: [{ name: 'daemon' }],
      pfns: expect.any(Array),
    });
  });

  test.each([
    ['unbind', 'unbound'],
    ['bind', 'bound'],
    ['rmmod', 'unloaded'],
    ['insmod', 'bound'],
    ['suspend', 'suspended'],
    ['resume', 'bound'],
  ])('%s is answered when the driver is %s; a second one is refused', async (verb, driver) => {
    expect(await ctl(guest, verb)).toEqual({ driver });
    expect(await refused(guest, verb)).toMatch(
      new RegExp(`^E[A-Z]+: .* \\(the driver is ${driver}\\)$`),
    );
  });

  test('run starts a program', async () => {
    const program = 'program={"name":"hog","mib":4,"seconds":60}';
    expect(await ctl(guest, 'run', program)).toEqual({ started: 'hog' });
    const { processes } = (await ctl(guest, 'dump')) as { processes: { name: string }[] };
    expect(processes.map(({ name }) => name)).toContain('hog');
  });

  test('errors name what is wrong', async () => {
    expect(await refused(guest, 'dump', 'guest=vm9')).toBe("no guest 'vm9'; there is vm0");
    expect(await refused(guest, 'run')).toBe('program: is missing');
    expect(await refused(guest, 'run', 'program={"name":"fork"}')).toMatch(
      /^name: Invalid discriminator value\. Expected .*'hog'/,
    );
    expect(await refused(guest, 'run', 'program=hog')).toMatch(/^program: .*expected object/);
    expect(await refused(guest, 'list')).toMatch(/^verb: .*'unbind' \| 'bind'/);
  });
});

describe.concurrent('what is no control socket', () => {
  test('a QMP socket', async () => {
    expect(await refused(join(qmp, 'vm0.qmp'), 'list')).toBe(
      'that is a QMP monitor; use the path given to --control',
    );
  });

  test('a file', async () => {
    const path = place.path('file');
    writeFileSync(path, '');
    expect(await refused(path, 'list')).toBe(
      `nobody answers on ${path}: the process that made it is gone`,
    );
  });

  test('something else that answers, and something that hangs up', async () => {
    const [strange, silent] = [place.path('strange'), place.path('silent')];
    const servers = [
      createServer((socket) => socket.end('220 mail\u001b[2J\n')).listen(strange),
      createServer((socket) => socket.destroy()).listen(silent),
    ];
    expect(await refused(strange, 'list')).toBe('what answers there is no host or guest');
    expect(await refused(silent, 'list')).toBe('the control channel was closed');
    for (const server of servers) server.close();
  });

  test('an error text is printed without what would move the cursor', async () => {
    const path = place.path('evil');
    const error = JSON.stringify({ ok: false, error: 'a\u001b[2Jb\nc\u009bd' });
    const server = createServer((socket) => socket.end(`${error}\n`)).listen(path);
    expect(await refused(path, 'list')).toBe('a\\u001b[2Jb c\\u009bd');
    server.close();
  });
});
