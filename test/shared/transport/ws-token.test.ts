import { once } from 'node:events';
import { connect } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { inspect } from 'node:util';
import { afterEach, describe, expect, test } from 'vitest';
import { RealClock } from '../../../shared/lib/real-clock.ts';
import { Op } from '../../../shared/protocol/messages.ts';
import { TokenCheck } from '../../../shared/transport/credentials.ts';
import { judgeEnd } from '../../../shared/transport/link-end.ts';
import { NO_RATE_LIMITS } from '../../../shared/transport/server-limits.ts';
import { transportCounters } from '../../../shared/transport/transport-counters.ts';
import { dial } from '../../../shared/transport/ws-client.ts';
import { requireCertificates, TlsError } from '../../../shared/transport/ws-tls.ts';
import { TLS } from './tls-files.ts';
import { ask, Heard, TestServer } from './ws-harness.ts';

const TOKEN = 'correct-horse-battery-staple';
let host: TestServer;

afterEach(() => host.server.close());

const dialled = (options: { token?: string; ca?: string } = {}, url = host.url): Heard =>
  new Heard(dial(url, { clock: new RealClock(), counters: transportCounters(), ...options }));

describe('a token', () => {
  const start = async (): Promise<void> => {
    host = await new TestServer(new RealClock(), { token: TOKEN, health: () => ({}) }).start();
  };

  test.each([
    ['none', undefined],
    ['another', 'Bearer correct-horse-battery-stapler'],
    ['a part of it', 'Bearer correct-horse'],
    ['an empty one', 'Bearer '],
    ['another scheme', `Basic ${TOKEN}`],
    ['it without a scheme', TOKEN],
    ['it and more', `Bearer ${TOKEN} ${TOKEN}`],
  ])('%s gets 401 before the handshake', async (_name, authorization) => {
    await start();
    const answer = await ask(host.port, { headers: { Authorization: authorization } });
    expect([answer.status, answer.headers['www-authenticate']]).toEqual([401, 'Bearer']);
    expect(answer.body).toMatch(/^unauthorized: /);
    expect(host.counters.get('unauthorized')).toBe(1);
    expect(host.links).toEqual([]);
  });

  test.each([`Bearer ${TOKEN}`, `bearer  ${TOKEN}`])('%j lets in', async (authorization) => {
    await start();
    const answer = await ask(host.port, { headers: { Authorization: authorization } });
    expect(answer.status).toBe(101);
  });

  test.each(['/', '/puff', '/health', '/elsewhere'])('a plain %s needs it too', async (path) => {
    await start();
    const plain = { Upgrade: undefined, Connection: 'close' };
    expect((await ask(host.port, { path, headers: plain })).status).toBe(401);
    const headers = { ...plain, Authorization: `Bearer ${TOKEN}` };
    expect((await ask(host.port, { path, headers })).status).not.toBe(401);
  });

  test('a guest that has it connects, one that has not is told for good', async () => {
    await start();
    const arrival = host.nextLink();
    const guest = dialled({ token: TOKEN });
    await guest.open;
    guest.link.send([Op.status, 1]);
    await (await arrival).until(1);
    const stranger = await dialled({ token: 'not the token at all' }).end;
    expect(stranger).toMatchObject({ reason: 'HTTP 401 unauthorized', httpStatus: 401 });
    expect(judgeEnd(stranger)).toBe('final');
  });

  test('is kept as a digest alone: nothing that is printed of a check shows it', () => {
    const check = new TokenCheck(TOKEN);
    const shown = inspect(check, { depth: 9, showHidden: true }) + JSON.stringify(check);
    expect(shown).not.toContain(TOKEN);
    expect(check.accepts(`Bearer ${TOKEN}`)).toBe(true);
  });
});

describe('TLS', () => {
  const start = async (tls = TLS.local, limits = {}): Promise<void> => {
    host = await new TestServer(new RealClock(), { tls, token: TOKEN, limits }).start();
  };

  test('a guest that trusts the authority talks to the host over it', async () => {
    await start();
    const arrival = host.nextLink();
    const guest = dialled({ token: TOKEN, ca: TLS.ca });
    await guest.open;
    const end = await arrival;
    for (let value = 0; value < 100; value++) guest.link.send([Op.status, value]);
    await end.until(100);
    end.link.send([Op.statusValue, 1, true]);
    await guest.until(1);
    expect(guest.messages).toEqual([[Op.statusValue, 1, true]]);
    end.link.close(4005, 'replaced');
    expect(await guest.end).toEqual({ code: 4005, reason: 'replaced', byPeer: true });
  });

  test('behind it a wrong token gets 401 as well', async () => {
    await start();
    const end = await dialled({ token: 'not the token at all', ca: TLS.ca }).end;
    expect(end).toMatchObject({ reason: 'HTTP 401 unauthorized', httpStatus: 401 });
  });

  test.each([
    [
      'an authority that it does not know',
      TLS.local,
      {},
      /^the certificate is not trusted: .*verif/,
    ],
    [
      'the certificate of another host',
      TLS.elsewhere,
      { ca: TLS.ca },
      /not trusted: .*127\.0\.0\.1/,
    ],
  ])('a guest stops at %s, before it has sent its token', async (_name, tls, options, text) => {
    await start(tls);
    const end = await dialled({ token: TOKEN, ...options }).end;
    expect(end).toMatchObject({ code: 1006, byPeer: false, untrusted: true });
    expect(end.reason).toMatch(text);
    expect(judgeEnd(end)).toBe('final');
    expect(host.links).toEqual([]);
    expect(host.counters.get('unauthorized')).toBe(0);
  });

  test('a guest that expects it at a port without is told so', async () => {
    host = await new TestServer().start();
    const end = await dialled({}, host.url.replace('ws:', 'wss:')).end;
    expect(end).toMatchObject({ reason: 'there is no TLS at this address', untrusted: true });
  });

  test('a port with it takes nothing in the clear', async () => {
    await start();
    const guest = dialled({ token: TOKEN }, host.url.replace('wss:', 'ws:'));
    const end = await guest.end;
    expect(end).toMatchObject({ code: 1006, byPeer: true });
    expect(end.reason).toBe('the host hung up without an answer; if it has TLS, dial wss://');
    expect(judgeEnd(end)).toBe('resume');
    await expect.poll(() => host.counters.get('tls_failed')).toBe(1);
    expect(host.links).toEqual([]);
  });

  test('TLS 1.1 is refused', async () => {
    await start();
    const { port } = host;
    const options = { port, host: '127.0.0.1', ca: TLS.ca, ciphers: 'DEFAULT:@SECLEVEL=0' };
    const old = connectTls({ ...options, minVersion: 'TLSv1', maxVersion: 'TLSv1.1' });
    const [error] = (await once(old, 'error')) as [Error & { code?: string }];
    expect(error.code).toMatch(/PROTOCOL_VERSION|UNSUPPORTED_PROTOCOL/);
    expect(host.counters.get('tls_failed')).toBe(1);
  });

  test('a handshake that never comes is given up as headers are', async () => {
    await start(TLS.local, { headersTimeoutMs: 200, checkIntervalMs: 50 });
    const socket = connect(host.port, '127.0.0.1');
    socket.on('error', () => {});
    await once(socket, 'close');
    expect(host.counters.get('tls_failed')).toBe(1);
    await expect.poll(() => host.server.usage.MAX_CONNECTIONS.now).toBe(0);
  });

  test('connections beyond a limit are cut before they cost a handshake', async () => {
    await start(TLS.local, { ...NO_RATE_LIMITS, connections: 1 });
    const first = connect(host.port, '127.0.0.1');
    await once(first, 'connect');
    const second = connect(host.port, '127.0.0.1');
    second.on('error', () => {});
    await once(second, 'close');
    expect(host.counters.get('MAX_CONNECTIONS')).toBe(1);
    first.destroy();
  });

  test('certificates and keys of no use are told in one line that shows nothing of them', () => {
    host = new TestServer();
    const { cert } = TLS.local;
    const { key } = TLS.elsewhere;
    for (const tls of [
      { cert, key },
      { cert: 'x', key },
      { cert, key: 'x' },
    ]) {
      const make = () => new TestServer(new RealClock(), { tls });
      expect(make).toThrow(TlsError);
      expect(make).toThrow(/^the TLS certificate and key cannot be used together: [^\n]*$/);
    }
    expect(() => requireCertificates(TLS.ca)).not.toThrow();
    for (const ca of ['', 'nonsense', TLS.local.key]) {
      expect(() => requireCertificates(ca)).toThrow(/^the CA file holds no certificate/);
    }
    const cut = `${TLS.ca}${TLS.ca.slice(0, 200)}\n`;
    expect(() => requireCertificates(cut)).toThrow(
      /^a certificate of the CA file is broken: [^\n]+$/,
    );
  });
});
