import { once } from 'node:events';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { VirtualClock } from '../../../shared/lib/clock.ts';
import type { Counters } from '../../../shared/lib/counters.ts';
import {
  HELLO_TIMEOUT_MS,
  KEEP_ALIVE_MS,
  MAX_IDLE_MS,
  PING_INTERVAL_MS,
} from '../../../shared/limits.ts';
import { decode, encode } from '../../../shared/protocol/codec.ts';
import type { ProtocolErrorName } from '../../../shared/protocol/errors.ts';
import { PROTOCOL_ERRORS } from '../../../shared/protocol/errors.ts';
import type { Hello, Message } from '../../../shared/protocol/messages.ts';
import { ENDPOINT_PATH, Op, SUBPROTOCOL } from '../../../shared/protocol/messages.ts';
import { makeHello } from '../../../shared/transport/hello.ts';
import { HostAcceptor } from '../../../shared/transport/host-acceptor.ts';
import { judgeEnd } from '../../../shared/transport/link-end.ts';
import type { TransportCounter } from '../../../shared/transport/transport-counters.ts';
import { transportCounters } from '../../../shared/transport/transport-counters.ts';
import { WsServer } from '../../../shared/transport/ws-server.ts';
import { REGIONS, TestOwner } from './harness.ts';
import { RawPeer } from './ws-harness.ts';

/** Sessions as a host serves them, through real sockets on a clock that the test moves. */
let clock: VirtualClock;
let owner: TestOwner;
let server: WsServer;
let port: number;
let counters: Counters<TransportCounter>;

beforeEach(async () => {
  clock = new VirtualClock();
  owner = new TestOwner(clock);
  counters = transportCounters();
  const acceptor = new HostAcceptor({ clock, owner, counters });
  server = new WsServer({ clock, counters, onLink: (link) => acceptor.accept(link) });
  port = await server.listen('127.0.0.1', 0);
});
afterEach(() => server.close());

async function connected(): Promise<RawPeer> {
  const peer = new RawPeer(new WebSocket(`ws://127.0.0.1:${port}${ENDPOINT_PATH}`, [SUBPROTOCOL]));
  await once(peer.socket, 'open');
  return peer;
}

const hello = (overrides: Partial<Parameters<typeof makeHello>[0]> = {}): Hello =>
  makeHello({ guestId: 'vm', epoch: 1, session: '', received: 0, regions: REGIONS, ...overrides });

/** A guest that was let in and, unless it is to be silent, said something in its session. */
async function welcomed(fields = {}, says: Message[] = [[Op.status, 0]]): Promise<RawPeer> {
  const peer = await connected();
  const before = owner.received.length;
  for (const message of [hello(fields), ...says]) peer.socket.send(encode(message));
  await expect.poll(() => peer.frames.length).toBeGreaterThan(0);
  expect(decode(peer.frames[0], 'host')[0]).toBe(Op.welcome);
  await expect.poll(() => owner.received.length).toBe(before + says.length);
  return peer;
}

/** Error message, close code, reason and counter by one name. */
async function expectClosed(peer: RawPeer, error: ProtocolErrorName): Promise<void> {
  const { close } = PROTOCOL_ERRORS[error];
  expect(await peer.closed).toEqual({ code: close, reason: error });
  const last = decode(peer.frames.at(-1) ?? Buffer.of(), 'host');
  expect(last.slice(0, 3)).toEqual([Op.error, close, error]);
  expect(counters.get(error)).toBe(1);
}

describe('hello', () => {
  test('a silent peer is closed after HELLO_TIMEOUT_MS, with 4001', async () => {
    const peer = await connected();
    expect(server.pendingCount).toBe(1);
    clock.advanceBy(HELLO_TIMEOUT_MS - 1);
    expect(counters.get('HELLO_TIMEOUT_MS')).toBe(0);
    clock.advanceBy(1);
    await expectClosed(peer, 'HELLO_TIMEOUT_MS');
    await expect.poll(() => server.pendingCount).toBe(0);
  });

  test('one that pings but says no hello goes the same way', async () => {
    const peer = await connected();
    peer.socket.ping();
    await once(peer.socket, 'pong');
    clock.advanceBy(HELLO_TIMEOUT_MS);
    await expectClosed(peer, 'HELLO_TIMEOUT_MS');
  });

  test('anything else first closes 4000, a second hello too', async () => {
    const first = await connected();
    first.socket.send(encode([Op.status, 0]));
    await expectClosed(first, 'bad-hello');
    const second = await welcomed();
    second.socket.send(encode(hello()));
    expect(await second.closed).toEqual({ code: 4000, reason: 'bad-hello' });
    expect(counters.get('bad-hello')).toBe(2);
  });
});

describe('one connection per guest id', () => {
  test('a second one of the same epoch is closed with 4003, the first lives on', async () => {
    const first = await welcomed();
    const second = await connected();
    second.socket.send(encode(hello()));
    await expectClosed(second, 'duplicate-guest');
    first.socket.send(encode([Op.status, 1]));
    await expect.poll(() => owner.received.length).toBe(2);
  });

  test('a higher epoch replaces it with 4005, a lower one is closed with 4004', async () => {
    const first = await welcomed();
    await welcomed({ epoch: 2 });
    await expectClosed(first, 'replaced');
    const late = await connected();
    late.socket.send(encode(hello()));
    await expectClosed(late, 'stale-epoch');
  });

  test('a guest of the same epoch replaces the link on which it was never heard', async () => {
    const first = await welcomed({}, []);
    await welcomed();
    await expectClosed(first, 'replaced');
    expect(owner.events).toEqual(['power-on vm s1', 'end vm 4005 replaced', 'power-on vm s2']);
  });
});

describe('MAX_IDLE_MS', () => {
  /** Lets time pass, with every ping answered. */
  async function pass(peer: RawPeer, ms: number): Promise<void> {
    for (let passed = 0; passed < ms; passed += PING_INTERVAL_MS) {
      const pinged = once(peer.socket, 'ping');
      clock.advanceBy(PING_INTERVAL_MS);
      if (peer.socket.readyState === WebSocket.OPEN) await pinged;
      // The pong goes first: what comes behind it on the same socket shows that it was read.
      peer.socket.ping();
      await once(peer.socket, 'pong');
    }
  }

  test('a guest that answers pings and says nothing is closed with 4017', async () => {
    const peer = await welcomed();
    await pass(peer, MAX_IDLE_MS);
    expect(counters.get('MAX_IDLE_MS')).toBe(0);
    clock.advanceBy(PING_INTERVAL_MS);
    await expectClosed(peer, 'MAX_IDLE_MS');
    expect(judgeEnd({ code: 4017, reason: 'MAX_IDLE_MS', byPeer: true })).toBe('resume');
    expect(counters.get('PING_MISSES_MAX')).toBe(0);
  });

  test('an ack every KEEP_ALIVE_MS is enough', async () => {
    const peer = await welcomed();
    for (let passed = 0; passed < 3 * MAX_IDLE_MS; passed += KEEP_ALIVE_MS) {
      await pass(peer, KEEP_ALIVE_MS);
      const before = counters.get('messages_in');
      peer.socket.send(encode([Op.ack, 0]));
      await expect.poll(() => counters.get('messages_in')).toBe(before + 1);
    }
    expect(peer.socket.readyState).toBe(WebSocket.OPEN);
  });
});
