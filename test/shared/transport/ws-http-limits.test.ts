import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { VirtualClock } from '../../../shared/lib/clock.ts';
import { RealClock } from '../../../shared/lib/real-clock.ts';
import { LISTEN_BACKLOG } from '../../../shared/limits.ts';
import type { HttpErrorName } from '../../../shared/protocol/errors.ts';
import { HTTP_ERRORS } from '../../../shared/protocol/errors.ts';
import { DEFAULT_SERVER_LIMITS, NO_RATE_LIMITS } from '../../../shared/transport/server-limits.ts';
import { type Answer, ask, TestServer, upgradedSocket } from './ws-harness.ts';

/** What a port does with connections before they are links, through real sockets. */
let host: TestServer;
let sockets: Socket[] = [];

afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  sockets = [];
  await host.server.close();
});

/** A socket that collects what it is sent; `answer` is all of it, once the host has closed. */
interface Plain {
  readonly socket: Socket;
  readonly answer: Promise<string>;
}

async function plain(port = host.port): Promise<Plain> {
  const socket = connect({ port, host: '127.0.0.1' });
  sockets.push(socket);
  socket.setEncoding('latin1');
  let text = '';
  socket.on('data', (chunk: string) => {
    text += chunk;
  });
  socket.on('error', () => {});
  const answer = once(socket, 'close').then(() => text);
  await once(socket, 'connect');
  return { socket, answer };
}

/** Status line and body by the name's own status, and the counter. */
function expectNamed(answer: string, name: HttpErrorName): void {
  expect(answer).toMatch(new RegExp(`^HTTP/1.1 ${HTTP_ERRORS[name].status} [^]*\r\n\r\n${name}: `));
}

/** A 503 by name, with the time after which to come again. */
function expectBusy(answer: Answer, name: HttpErrorName): void {
  expect([answer.status, answer.headers['retry-after']]).toEqual([503, '1']);
  expect(answer.body).toMatch(new RegExp(`^${name}: `));
  expect(host.counters.get(name)).toBeGreaterThan(0);
}

describe('HTTP_HEADERS_TIMEOUT_MS', () => {
  const limits = { headersTimeoutMs: 500, checkIntervalMs: 100, ...NO_RATE_LIMITS };

  test('Slowloris: 200 sockets that send a byte now and then are gone in time', async () => {
    host = await new TestServer(new RealClock(), { limits }).start();
    const slow = await Promise.all(Array.from({ length: 200 }, () => plain()));
    const request = 'GET /puff HTTP/1.1\r\nHost: x\r\n';
    let sent = 0;
    const drip = setInterval(() => {
      for (const { socket } of slow) if (socket.writable) socket.write(request[sent] ?? 'x');
      sent++;
    }, 100);
    const answers = await Promise.all(slow.map(({ answer }) => answer));
    clearInterval(drip);
    // Nobody got through a request: at the pace of these limits 10 bytes take a second.
    expect(sent).toBeLessThan(request.length);
    // A byte that crosses the answer makes the system drop it on the way.
    const told = answers.filter((answer) => answer !== '');
    expect(told.length).toBeGreaterThan(0);
    for (const answer of told) expectNamed(answer, 'HTTP_HEADERS_TIMEOUT_MS');
    expect(host.counters.get('HTTP_HEADERS_TIMEOUT_MS')).toBe(200);
    // The host's own end of a socket closes a moment after the client's.
    const { server } = host;
    await expect.poll(() => server.usage.MAX_CONNECTIONS.now).toBe(0);
    expect((await ask(host.port)).status).toBe(101);
  });

  test('a socket that sends nothing at all goes the same way', async () => {
    host = await new TestServer(new RealClock(), { limits }).start();
    const { answer } = await plain();
    expectNamed(await answer, 'HTTP_HEADERS_TIMEOUT_MS');
  });

  test('the limits of a host in service are 5 s, looked at every second: gone within 6 s', () => {
    const { headersTimeoutMs, checkIntervalMs, requestTimeoutMs } = DEFAULT_SERVER_LIMITS;
    expect(headersTimeoutMs + checkIntervalMs).toBe(6000);
    expect(requestTimeoutMs).toBe(10_000);
  });

  test('a link is not touched by it', async () => {
    host = await new TestServer(new RealClock(), { limits }).start();
    const { guest } = await host.connect();
    const { answer } = await plain();
    await answer;
    expect(host.server.linkCount).toBe(1);
    guest.link.terminate();
  });
});

describe('MAX_ACCEPTS_PER_SECOND', () => {
  test('a storm: twice the rate comes in, the rest is told so until time has passed', async () => {
    const clock = new VirtualClock();
    host = await new TestServer(clock, { limits: { acceptsPerSecond: 5 } }).start();
    const answers: Answer[] = [];
    for (let count = 0; count < 30; count++) answers.push(await ask(host.port));
    const refused = answers.filter(({ status }) => status !== 101);
    expect(refused).toHaveLength(20);
    for (const answer of refused) expectBusy(answer, 'MAX_ACCEPTS_PER_SECOND');
    expect(host.counters.get('MAX_ACCEPTS_PER_SECOND')).toBe(20);
    clock.advanceBy(1000);
    const later = await Promise.all(Array.from({ length: 6 }, () => ask(host.port)));
    expect(later.map(({ status }) => status).sort()).toEqual([101, 101, 101, 101, 101, 503]);
  });

  test('plain requests are told too, those that never make one are counted', async () => {
    const clock = new VirtualClock();
    host = await new TestServer(clock, { limits: { acceptsPerSecond: 0.5 } }).start();
    await plain();
    const answer = await ask(host.port, { path: '/', headers: { Upgrade: undefined } });
    expectBusy(answer, 'MAX_ACCEPTS_PER_SECOND');
    const silent = await plain();
    expect(host.counters.get('MAX_ACCEPTS_PER_SECOND')).toBe(2);
    silent.socket.destroy();
  });
});

describe('MAX_CONNECTIONS', () => {
  test('one too many gets 503, and the port serves again when one has gone', async () => {
    host = await new TestServer(new RealClock(), { limits: { connections: 3 } }).start();
    const { guest } = await host.connect();
    await upgradedSocket(host.port).then((socket) => sockets.push(socket));
    await plain();
    expectBusy(await ask(host.port), 'MAX_CONNECTIONS');
    expect(host.server.usage.MAX_CONNECTIONS).toEqual({ now: 3, max: 3 });
    guest.link.terminate();
    await host.links[0].end;
    expect((await ask(host.port)).status).toBe(101);
  });

  test('a flood beyond those that can be told is dropped and counted', async () => {
    host = await new TestServer(new RealClock(), {
      limits: { connections: 1, ...NO_RATE_LIMITS },
    }).start();
    const flood = await Promise.all(Array.from({ length: 80 }, () => plain()));
    await Promise.race(flood.map(({ answer }) => answer));
    await expect.poll(() => host.counters.get('connections_dropped')).toBe(80 - 65);
    expect(host.counters.get('MAX_CONNECTIONS')).toBe(79);
    expect(host.server.usage.MAX_CONNECTIONS.now).toBe(65);
  });
});

describe('MAX_CONNECTIONS_PER_ADDRESS', () => {
  const from = (localAddress: string): Promise<Socket> => {
    const socket = connect({ port: host.port, host: '127.0.0.1', localAddress });
    sockets.push(socket);
    return once(socket, 'connect').then(() => socket);
  };

  test('an address that has them all gets 503, another one is served', async () => {
    const limits = { connectionsPerAddress: 2, limitLoopback: true };
    host = await new TestServer(new RealClock(), { limits }).start();
    await from('127.0.0.2');
    const first = await from('127.0.0.2');
    const second = await from('127.0.0.2');
    second.setEncoding('latin1');
    second.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    const [answer] = (await once(second, 'data')) as [string];
    expectNamed(answer, 'MAX_CONNECTIONS_PER_ADDRESS');
    expect(answer).toContain('\r\nRetry-After: 1\r\n');
    expect(host.counters.get('MAX_CONNECTIONS_PER_ADDRESS')).toBe(1);
    expect((await ask(host.port)).status).toBe(101);
    first.destroy();
    await expect.poll(() => host.server.usage.MAX_CONNECTIONS.now).toBe(1);
    const third = await from('127.0.0.2');
    third.setEncoding('latin1');
    third.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    expect((await once(third, 'data'))[0]).toMatch(/^HTTP\/1.1 426 /);
  });

  test('loopback is exempt', async () => {
    const limits = { connectionsPerAddress: 2 };
    host = await new TestServer(new RealClock(), { limits }).start();
    for (let count = 0; count < 5; count++) await from('127.0.0.2');
    expect(host.counters.get('MAX_CONNECTIONS_PER_ADDRESS')).toBe(0);
  });
});

test('the limits of a host in service', () => {
  expect(DEFAULT_SERVER_LIMITS).toMatchObject({
    connections: 10_000,
    connectionsPerAddress: 1024,
    limitLoopback: false,
    acceptsPerSecond: 200,
    pendingHandshakes: 64,
  });
  expect(LISTEN_BACKLOG).toBe(128);
});
