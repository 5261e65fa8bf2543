import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { connect } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { RealClock } from '../../../shared/lib/real-clock.ts';
import {
  MAX_HTTP_HEADER_BYTES,
  MAX_HTTP_HEADERS,
  MAX_PENDING_HANDSHAKES,
} from '../../../shared/limits.ts';
import type { HttpErrorName } from '../../../shared/protocol/errors.ts';
import { HTTP_ERRORS } from '../../../shared/protocol/errors.ts';
import { ENDPOINT_PATH, Op, SUBPROTOCOL } from '../../../shared/protocol/messages.ts';
import { transportCounters } from '../../../shared/transport/transport-counters.ts';
import { dial, endpointUrl } from '../../../shared/transport/ws-client.ts';
import { WsServer } from '../../../shared/transport/ws-server.ts';
import { ask, Heard, TestServer } from './ws-harness.ts';

let host: TestServer;

beforeEach(async () => {
  host = await new TestServer(new RealClock(), {
    allowedOrigins: ['https://allowed.example'],
  }).start();
});
afterEach(() => host.server.close());

/** Status, name in the body and counter belong together. */
function expectRefusal(answer: { status: number; body: string }, name: HttpErrorName): void {
  expect(answer.status).toBe(HTTP_ERRORS[name].status);
  expect(answer.body.split(':')[0]).toBe(name);
  expect(host.counters.get(name)).toBe(1);
  expect(host.links).toEqual([]);
}

describe('upgrade', () => {
  test('exact path, GET, version 13, no Origin: accepted', async () => {
    expect((await ask(host.port)).status).toBe(101);
  });

  test.each<[string, Parameters<typeof ask>[1], HttpErrorName]>([
    ['another path', { path: '/' }, 'bad-path'],
    ['a longer path', { path: `${ENDPOINT_PATH}/x` }, 'bad-path'],
    ['a query', { path: `${ENDPOINT_PATH}?x=1` }, 'bad-path'],
    ['POST', { method: 'POST' }, 'bad-method'],
    ['another upgrade', { headers: { Upgrade: 'h2c' } }, 'bad-upgrade'],
    ['version 8', { headers: { 'Sec-WebSocket-Version': '8' } }, 'bad-websocket-version'],
    ['no version', { headers: { 'Sec-WebSocket-Version': undefined } }, 'bad-websocket-version'],
    [
      'a page of another origin',
      { headers: { Origin: 'https://evil.example' } },
      'forbidden-origin',
    ],
    [
      'a key of 15 bytes',
      { headers: { 'Sec-WebSocket-Key': 'AAAAAAAAAAAAAAAAAAAA' } },
      'bad-upgrade',
    ],
    ['no key', { headers: { 'Sec-WebSocket-Key': undefined } }, 'bad-upgrade'],
  ])('%s is refused', async (_name, overrides, error) => {
    expectRefusal(await ask(host.port, overrides), error);
  });

  test('a page of an origin on the list may connect', async () => {
    const answer = await ask(host.port, { headers: { Origin: 'https://allowed.example' } });
    expect(answer.status).toBe(101);
  });
});

describe('subprotocol', () => {
  test.each([
    ['none', undefined],
    ['another', 'chat'],
    ['another version', 'puff.v2.msgpack'],
    ['ours as a part of a name', `${SUBPROTOCOL}x`],
  ])('%s is refused with 400', async (_name, offered) => {
    const headers = { 'Sec-WebSocket-Protocol': offered };
    expectRefusal(await ask(host.port, { headers }), 'bad-subprotocol');
  });

  test('unknown offered first, known second: accepted with ours', async () => {
    const headers = { 'Sec-WebSocket-Protocol': `puff.v2.msgpack, ${SUBPROTOCOL}` };
    const answer = await ask(host.port, { headers });
    expect(answer.status).toBe(101);
    expect(answer.headers['sec-websocket-protocol']).toBe(SUBPROTOCOL);
  });
});

describe('pending handshakes', () => {
  test('one more than MAX_PENDING_HANDSHAKES gets 503 until a frame came', async () => {
    const guests: Heard[] = [];
    for (let count = 0; count < MAX_PENDING_HANDSHAKES; count++) {
      guests.push((await host.connect()).guest);
    }
    expect(host.server.pendingCount).toBe(MAX_PENDING_HANDSHAKES);
    const answer = await ask(host.port);
    expect(answer.status).toBe(503);
    expect(answer.headers['retry-after']).toBe('1');
    expect(answer.body).toMatch(/^MAX_PENDING_HANDSHAKES:/);
    expect(host.counters.get('MAX_PENDING_HANDSHAKES')).toBe(1);
    guests[0].link.send([Op.ack, 0]);
    await host.links[0].until(1);
    expect(host.server.pendingCount).toBe(MAX_PENDING_HANDSHAKES - 1);
    const { guest } = await host.connect();
    expect(guest.opened).toBe(true);
    guest.link.terminate();
    await host.links.at(-1)?.end;
    expect(host.server.pendingCount).toBe(MAX_PENDING_HANDSHAKES - 1);
  });
});

describe('plain HTTP', () => {
  const plain = { Connection: 'close', Upgrade: undefined };

  test.each(['/', ENDPOINT_PATH])('GET %s says what this is', async (path) => {
    const answer = await ask(host.port, { path, headers: plain });
    expectRefusal(answer, 'upgrade-required');
    expect(answer.body).toContain(SUBPROTOCOL);
    expect(answer.headers.upgrade).toBe('websocket');
  });

  test('other paths are not found', async () => {
    expectRefusal(await ask(host.port, { path: '/x', headers: plain }), 'bad-path');
  });

  test('what is not HTTP gets an answer and is closed', async () => {
    const socket = connect(host.port, '127.0.0.1');
    socket.setEncoding('latin1');
    let answer = '';
    socket.on('data', (text: string) => {
      answer += text;
    });
    socket.write('\x16\x03\x01 not http\r\n\r\n');
    await once(socket, 'close');
    expect(answer).toMatch(/^HTTP\/1\.1 400 [\s\S]*\r\n\r\nbad-http:/);
    expect(host.counters.get('bad-http')).toBe(1);
  });

  test('MAX_HTTP_HEADERS: as many are taken, one more is refused', async () => {
    const withHeaders = (count: number) => {
      const more = Array.from({ length: count - 6 }, (_, index) => [`A-${index}`, 'x']);
      return ask(host.port, { before: Object.fromEntries(more) });
    };
    expect((await withHeaders(MAX_HTTP_HEADERS)).status).toBe(101);
    host.links.length = 0;
    expectRefusal(await withHeaders(MAX_HTTP_HEADERS + 1), 'MAX_HTTP_HEADERS');
  });

  test('a header above MAX_HTTP_HEADER_BYTES is refused', async () => {
    const headers = { 'X-Large': 'x'.repeat(MAX_HTTP_HEADER_BYTES) };
    expectRefusal(await ask(host.port, { headers }), 'MAX_HTTP_HEADER_BYTES');
  });
});

describe('listen', () => {
  const server = (): WsServer =>
    new WsServer({
      clock: new RealClock(),
      counters: transportCounters(),
      onLink: () => {},
      token: 'a token of the test',
      insecure: true,
    });

  test.each([
    ['a port in use', '127.0.0.1', () => host.port, /:\d+: the port is in use/],
    ['an address of another machine', '192.0.2.1', () => 0, /does not have that address/],
    ['a name that nobody has', 'nowhere.invalid', () => 0, /the host name is not known/],
    ['a port beyond 65535', '127.0.0.1', () => 70_000, /70000/],
  ])('%s rejects with one line', async (_name, address, port, text) => {
    const failure = await server()
      .listen(address, port())
      .catch((error: Error) => error.message);
    expect(failure).toMatch(text);
    expect(failure).toMatch(/^cannot listen on [^\n]+$/);
  });
});

describe('close', () => {
  test('tells every link host-going with 1001, frees the port and resolves', async () => {
    const first = await host.connect();
    const second = await host.connect();
    await host.server.close();
    for (const { guest } of [first, second]) {
      expect(await guest.end).toEqual({ code: 1001, reason: 'host-going', byPeer: true });
    }
    expect(host.server.linkCount).toBe(0);
    const next = new TestServer();
    expect(await next.server.listen('127.0.0.1', host.port)).toBe(host.port);
    await next.server.close();
  });

  test('does not wait for plain connections that are kept open', async () => {
    const socket = connect(host.port, '127.0.0.1');
    await once(socket, 'connect');
    const gone = once(socket, 'close');
    await host.server.close();
    await gone;
  });
});

describe('dial', () => {
  const options = { clock: new RealClock(), counters: transportCounters() };

  test('an HTTP refusal ends the link with status and name', async () => {
    const url = `ws://127.0.0.1:${host.port}/elsewhere`;
    expect(await new Heard(dial(url, options)).end).toEqual({
      code: 1006,
      reason: 'HTTP 404 bad-path',
      byPeer: true,
      httpStatus: 404,
    });
  });

  test('a server that is no Puff host is named by its status text', async () => {
    const other = createServer().on('upgrade', (_request, socket) => {
      socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\nConnection: close\r\n\r\nNo.\n');
    });
    other.listen(0, '127.0.0.1');
    await once(other, 'listening');
    const { port } = other.address() as AddressInfo;
    const end = await new Heard(dial(`ws://127.0.0.1:${port}/`, options)).end;
    expect(end).toMatchObject({ reason: 'HTTP 403 Forbidden', httpStatus: 403 });
    other.close();
  });

  test('nobody listens: the system’s text, no HTTP status', async () => {
    await host.server.close();
    const end = await new Heard(dial(host.url, options)).end;
    expect(end.code).toBe(1006);
    expect(end.reason).toMatch(/ECONNREFUSED/);
    expect(end.httpStatus).toBeUndefined();
  });

  test('a link closed while it connects ends with what was asked for', async () => {
    const heard = new Heard(dial(host.url, options));
    heard.link.close(1000, 'guest-gone');
    expect(await heard.end).toEqual({ code: 1000, reason: 'guest-gone', byPeer: false });
    expect(heard.opened).toBe(false);
  });

  test('messages sent before the socket opened arrive', async () => {
    const arrival = host.nextLink();
    const heard = new Heard(dial(host.url, options));
    heard.link.send([Op.status, 1]);
    expect(heard.link.bufferedBytes).toBe(3);
    const other = await arrival;
    await other.until(1);
    expect(other.messages).toEqual([[Op.status, 1]]);
  });

  test('endpointUrl adds the standard path and refuses what is no WebSocket address', () => {
    expect(endpointUrl('ws://host:7000')).toBe(`ws://host:7000${ENDPOINT_PATH}`);
    expect(endpointUrl('wss://host/other#x')).toBe('wss://host/other');
    const secrets = ['ws://user:secret@host', 'ws://user@host', 'ws://host/?token=secret'];
    for (const wrong of ['http://host', 'host:7000', 'nonsense', '', ...secrets]) {
      expect(() => endpointUrl(wrong)).toThrow(TypeError);
    }
  });
});
