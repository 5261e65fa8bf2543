import { once } from 'node:events';
import { chmodSync, copyFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { UsageError } from '../../../lab/cli/errors.ts';
import {
  parseOrigin,
  parseRateLimit,
  readCa,
  readTls,
  readToken,
} from '../../../lab/cli/security.ts';
import { MIB } from '../../../shared/lib/units.ts';
import { puff, ROOT, Workplace } from '../../support/puff.ts';

/** Who may connect to whom, as the command line has it. */
const TOKEN = 'a-token-that-must-not-be-seen-0123';
const ONE_LINE = /^puff: [^\n]+\n$/;

let place: Workplace;
beforeEach(() => {
  place = new Workplace();
});
afterEach(() => place.clear());

/** A file that only its owner may read, unless told otherwise. */
function secretFile(name: string, text: string, mode = 0o600): string {
  const path = place.path(name);
  writeFileSync(path, text);
  chmodSync(path, mode);
  return path;
}

/** A certificate or key of the tests, private as a user keeps it. */
function pem(name: string): string {
  const path = place.path(`${name}.pem`);
  copyFileSync(join(ROOT, `test/vectors/tls/${name}.pem`), path);
  chmodSync(path, 0o600);
  return path;
}

const localTls = (): string[] => ['--tls-cert', pem('local'), '--tls-key', pem('local-key')];
const tokenFile = (): string[] => ['--token-file', secretFile('token', `${TOKEN}\n`)];

describe('a host that others could reach does not start', () => {
  test.each<[string, () => string[], RegExp]>([
    [
      'without a token',
      () => [],
      /0\.0\.0\.0: that needs a token, from --token-file or .*PUFF_TOKEN/,
    ],
    ['with TLS and no token', localTls, /needs a token/],
    ['with --insecure and no token', () => ['--insecure'], /needs a token/],
    ['with a token and no TLS', tokenFile, /--tls-cert and --tls-key, or --insecure/],
  ])('%s', async (_name, flags, expected) => {
    const { code, stdout, stderr } = await puff(['host', '--listen', '0.0.0.0:0', ...flags()]);
    expect(stderr).toMatch(ONE_LINE);
    expect(stderr).toMatch(expected);
    expect([code, stdout]).toEqual([2, '']);
  });

  test('with a token and --insecure it starts, and wants the token', async () => {
    const flags = ['--listen', '0.0.0.0:0', '--insecure', ...tokenFile()];
    const host = place.start(['host', ...flags]);
    const [, port = ''] = await host.output(/listening on ws:\/\/0\.0\.0\.0:(\d+)/);
    const connect = ['guest', '--connect', `ws://127.0.0.1:${port}`, '--memory', '64M'];
    const stranger = await puff(connect);
    expect(stranger.stderr).toMatch(
      /does not take guest vm0: "HTTP 401 unauthorized: a token is needed/,
    );
    expect([stranger.code, stranger.stdout]).toEqual([2, '']);
    const guest = place.start([...connect, ...tokenFile()]);
    await guest.output(/connected/);
  });
});

describe('a secret that is none is one clear line that does not show it', () => {
  test.each<[string, () => unknown, RegExp]>([
    ['no such file', () => readToken('nowhere'), /^--token-file nowhere: no such file$/],
    [
      'others can read it',
      () => readToken(secretFile('open', TOKEN, 0o644)),
      /other users can read it; chmod o= /,
    ],
    ['a folder', () => readToken(place.directory), /--token-file .*EISDIR/],
    ['short', () => readToken(secretFile('short', 'hunter2')), /16 to 512 characters/],
    ['empty', () => readToken(secretFile('empty', '\n')), /16 to 512 characters; openssl rand/],
    ['two lines', () => readToken(secretFile('two', `${TOKEN}\n${TOKEN}`)), /one line of ASCII/],
    ['a certificate alone', () => readTls({ tlsCert: pem('local') }), /--tls-cert needs --tls-key/],
    ['a key alone', () => readTls({ tlsKey: pem('local-key') }), /--tls-key needs --tls-cert/],
    ['a CA for no TLS', () => readCa('x', 'ws://127.0.0.1'), /has no TLS; use wss:/],
    ['no such CA', () => readCa('x', 'wss://127.0.0.1'), /^--tls-ca x: no such file$/],
  ])('%s', (_name, read, expected) => {
    expect(read).toThrow(UsageError);
    expect(read).toThrow(expected);
    expect(read).not.toThrow(/hunter2|must-not-be-seen|BEGIN/);
  });

  test('a token is a line of a file, and nothing where there is none', () => {
    expect(readToken(secretFile('token', `${TOKEN}\n`))).toBe(TOKEN);
    expect(readToken(undefined)).toBeUndefined();
    expect(readTls({})).toBeUndefined();
    expect(readCa(undefined, 'ws://127.0.0.1')).toBeUndefined();
  });

  test.each<[string, () => string[], NodeJS.ProcessEnv, RegExp]>([
    [
      'of the environment',
      () => [],
      { PUFF_TOKEN: 'hunter2' },
      /PUFF_TOKEN: a token has 16 to 512/,
    ],
    [
      'a key of another certificate',
      () => ['--tls-cert', pem('local'), '--tls-key', pem('elsewhere-key')],
      {},
      /certificate and key cannot be used together: key values mismatch/,
    ],
  ])('a host with %s ends with exit 2', async (_name, flags, env, expected) => {
    const args = ['host', '--listen', '127.0.0.1:0', ...flags()];
    const { code, stderr } = await puff(args, { env: env as Record<string, string> });
    expect(stderr).toMatch(ONE_LINE);
    expect(stderr).toMatch(expected);
    expect(stderr).not.toContain('hunter2');
    expect(code).toBe(2);
  });
});

describe('--rate-limit', () => {
  test.each(['0,1M', '1,0', '5000', 'on', '5000,', '-1,1M', '1e3,1M', '1,5Q', ''])(
    '%j is refused',
    (limit) => {
      expect(() => parseRateLimit(limit)).toThrow(/^write MESSAGES,BYTES, .* or off$/);
    },
  );

  test('takes a size or plain bytes, and off takes every limit of time away', () => {
    const limit = { messagesPerSecond: 5000, bytesPerSecond: 16 * MIB };
    expect(parseRateLimit('5000,16M')).toEqual(limit);
    expect(parseRateLimit('5000,16777216')).toEqual(limit);
    expect(Object.values(parseRateLimit('off'))).toEqual(Array(3).fill(Number.POSITIVE_INFINITY));
  });
});

describe('--allow-origin', () => {
  test.each(['page.example', 'https://page.example/', 'https://page.example/x', 'null', '*', ''])(
    '%j is refused',
    (origin) => {
      expect(() => parseOrigin(origin)).toThrow(/^write an origin such as https:\/\/example\.org$/);
    },
  );

  test('may be given several times', () => {
    const one = parseOrigin('https://page.example');
    expect(parseOrigin('http://127.0.0.1:8080', one)).toEqual([
      'https://page.example',
      'http://127.0.0.1:8080',
    ]);
  });
});

describe('a ticket', () => {
  test('of puff ctl lets a page in once; nobody else prints it', async () => {
    const control = place.path('host.ctl');
    const flags = [
      '--control',
      control,
      '--log',
      'debug',
      '--allow-origin',
      'https://page.example',
    ];
    const host = place.start(['host', '--listen', '127.0.0.1:0', ...tokenFile(), ...flags]);
    const [, url = ''] = await host.output(/listening on (ws:\S+)/);
    const { ticket } = JSON.parse((await puff(['ctl', control, 'ticket'])).stdout);
    const dialled = (origin: string): WebSocket =>
      new WebSocket(`${url}?ticket=${ticket}`, ['puff.v1.msgpack'], { origin });
    const page = dialled('https://page.example');
    await once(page, 'open');
    const [refused] = await once(dialled('https://page.example'), 'error');
    expect(refused.message).toContain('401');
    page.terminate();
    const counters = await puff(['ctl', control, 'counters']);
    expect(JSON.parse(counters.stdout)).toMatchObject({
      transport: { tickets_redeemed: 1, 'bad-ticket': 1 },
      control: { clients: 2, requests: 2, MAX_CONTROL_CLIENTS: 0 },
    });
    await host.output(/bad-ticket/);
    const { stdout, stderr } = await host.end();
    expect(stdout + stderr + counters.stdout).not.toContain(ticket);
  });

  test('is not to be had of a host that wants no token: one line, exit 2', async () => {
    const control = place.path('host.ctl');
    await place.host(['--control', control]);
    const { code, stdout, stderr } = await puff(['ctl', control, 'ticket']);
    expect(stderr).toMatch(/^puff: \S+: this host wants no token: whoever [^\n]+\n$/);
    expect([code, stdout]).toEqual([2, '']);
  });
});

describe('a guest', () => {
  test('does not send its token to another machine in the clear', async () => {
    const connect = ['guest', '--connect', 'ws://192.0.2.1:1', '--memory', '64M'];
    const { code, stderr } = await puff(connect, { env: { PUFF_TOKEN: TOKEN } });
    expect(stderr).toMatch(/^puff: the token would go to 192\.0\.2\.1:1 in the clear: .*\n$/);
    expect(code).toBe(2);
  });

  test.each([
    [['--connect', 'ws://user:secret@127.0.0.1:1'], /a URL has no password or query/],
    [['--connect', 'wss://127.0.0.1:1', '--tls-ca', 'README.md'], /holds no certificate/],
  ])('%j is told what is wrong', async (args, expected) => {
    const { code, stderr } = await puff(['guest', ...args]);
    expect(stderr).toMatch(ONE_LINE);
    expect(stderr).toMatch(expected);
    expect(code).toBe(2);
  });
});

describe('over TLS', () => {
  test('host and guest work, strangers are told why not, and nobody prints the token', async () => {
    const control = place.path('host.ctl');
    const flags = ['--control', control, '--trace', place.path('trace'), '--log', 'debug'];
    const host = place.start([
      ...['host', '--listen', '127.0.0.1:0', '--rate-limit', '5000,16M'],
      ...[...localTls(), ...tokenFile(), ...flags],
    ]);
    const [, url = ''] = await host.output(/listening on (wss:\S+)/);
    const connect = ['guest', '--connect', url, '--memory', '64M', '--log', 'debug'];
    const trust = ['--tls-ca', pem('ca')];
    const guest = place.start([...connect, ...trust], { env: { PUFF_TOKEN: TOKEN } });
    await guest.output(/connected/);
    const unknown = await puff([...connect, ...tokenFile()]);
    expect(unknown.stderr).toMatch(/does not take guest vm0: .*certificate is not trusted/);
    const wrong = { PUFF_TOKEN: 'another-token-that-must-not-be-seen' };
    const stranger = await puff([...connect, ...trust], { env: wrong });
    expect(stranger.stderr).toMatch(/401 unauthorized/);
    const ctl = await puff(['ctl', control, 'counters']);
    expect(JSON.parse(ctl.stdout).transport).toMatchObject({ unauthorized: 1, tls_failed: 1 });
    const health = await puff(['ctl', control, 'health']);
    expect(JSON.parse(health.stdout).limits.MAX_GUESTS.now).toBe(1);
    const list = await puff(['ctl', control, 'list']);
    const ended = await Promise.all([guest.end(), host.end()]);
    const printed = [unknown, stranger, ctl, health, list, ...ended]
      .map(({ stdout, stderr }) => stdout + stderr)
      .join('\n');
    expect(printed).toContain('a request was refused');
    for (const secret of ['must-not-be-seen', 'BEGIN']) expect(printed).not.toContain(secret);
  });
});
