import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { VirtualClock } from '../../../shared/lib/clock.ts';
import { RealClock } from '../../../shared/lib/real-clock.ts';
import {
  MAX_BUFFERED_CHUNKS,
  MAX_FRAGMENTS,
  MAX_INBOUND_MESSAGES,
  MAX_PAYLOAD_BYTES,
  MAX_SCHEMA_ERRORS,
  OUTBOUND_SOFT_BYTES,
  PING_INTERVAL_MS,
  PING_MISSES_MAX,
} from '../../../shared/limits.ts';
import { decode, encode } from '../../../shared/protocol/codec.ts';
import type { ProtocolErrorName } from '../../../shared/protocol/errors.ts';
import { PROTOCOL_ERRORS, ProtocolError } from '../../../shared/protocol/errors.ts';
import type { Message } from '../../../shared/protocol/messages.ts';
import { Op } from '../../../shared/protocol/messages.ts';
import { makeHello } from '../../../shared/transport/hello.ts';
import { HostAcceptor } from '../../../shared/transport/host-acceptor.ts';
import { transportCounters } from '../../../shared/transport/transport-counters.ts';
import { dial } from '../../../shared/transport/ws-client.ts';
import { WsServer } from '../../../shared/transport/ws-server.ts';
import { PuffWebSocket } from '../../../shared/transport/ws-socket.ts';
import { REGIONS, TestOwner } from './harness.ts';
import type { RawPeer } from './ws-harness.ts';
import { Heard, TestServer, upgradedSocket } from './ws-harness.ts';

let host: TestServer;

beforeEach(async () => {
  host = await new TestServer().start();
});
afterEach(() => host.server.close());

/** Close code, reason and counter by one name, at the peer and at the host. */
async function expectClosed(peer: RawPeer, error: ProtocolErrorName): Promise<void> {
  const { close } = PROTOCOL_ERRORS[error];
  expect(await peer.closed).toEqual({ code: close, reason: error });
  expect(await peer.host?.end).toEqual({ code: close, reason: error, byPeer: false });
  expect(host.counters.get(error)).toBeGreaterThan(0);
}

/** The error messages a peer was sent. */
const errorsOf = (peer: RawPeer): unknown[] =>
  peer.frames.map((frame) => decode(frame, 'host')).map(([op, code, name]) => [op, code, name]);

const status = (value: number): Message => [Op.status, value];
/** A valid frame of exactly `size` bytes. */
function frameOf(size: number): Buffer {
  const readable = new Uint8Array(size - 9);
  return Buffer.from(encode([Op.avail, 0, 0, readable, new Uint8Array()]));
}

describe('maxPayload', () => {
  test('a message of 64 KiB is taken, one byte more closes 1009', async () => {
    const peer = await host.raw();
    peer.socket.send(frameOf(MAX_PAYLOAD_BYTES));
    await peer.host?.until(1);
    peer.socket.send(Buffer.alloc(MAX_PAYLOAD_BYTES + 1));
    await expectClosed(peer, 'MAX_PAYLOAD_BYTES');
  });

  test('a frame header that claims 2^60 bytes closes 1009 at once', async () => {
    const socket = await upgradedSocket(host.port);
    socket.write(Buffer.from('82ff1000000000000000', 'hex'));
    const [answer] = (await once(socket, 'data')) as [Buffer];
    expect(answer.toString('latin1', 4)).toBe('MAX_PAYLOAD_BYTES');
    socket.destroy();
    expect((await host.links[0].end).reason).toBe('MAX_PAYLOAD_BYTES');
  });
});

describe('ws options', () => {
  const inPieces = (peer: RawPeer, count: number): void => {
    const frame = encode(status(1));
    for (let index = 0; index < count; index++) {
      const piece = index < frame.length ? frame.subarray(index, index + 1) : Buffer.alloc(0);
      peer.socket.send(piece, { fin: index === count - 1, binary: true });
    }
  };

  test('MAX_FRAGMENTS: as many pieces are taken, a flood is not', async () => {
    const peer = await host.raw();
    inPieces(peer, MAX_FRAGMENTS);
    await peer.host?.until(1);
    inPieces(peer, MAX_FRAGMENTS + 1);
    await expectClosed(peer, 'MAX_FRAGMENTS');
  });

  test('MAX_BUFFERED_CHUNKS: a frame that trickles in closes the same way', async () => {
    const socket = await upgradedSocket(host.port);
    const [heard] = host.links;
    socket.setNoDelay(true);
    socket.write(Buffer.from('82feffff00000000', 'hex'));
    let ended = false;
    void heard.end.then(() => {
      ended = true;
    });
    for (let count = 0; count < 4 * MAX_BUFFERED_CHUNKS && !ended; count++) {
      socket.write(Buffer.of(0));
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect((await heard.end).reason).toBe('MAX_FRAGMENTS');
    socket.destroy();
  });

  test('an offer to compress is ignored', async () => {
    const peer = await host.raw({ perMessageDeflate: true });
    expect(peer.socket.extensions).toBe('');
  });

  test.each([
    ['an unmasked frame', '8203921101'],
    ['a reserved bit', 'c28300000000921101'],
    ['a reserved opcode', '838000000000'],
    ['a continuation of nothing', '808000000000'],
    ['a ping of 126 bytes', '89fe007e00000000'],
  ])('%s closes 1002', async (_name, hex) => {
    const socket = await upgradedSocket(host.port);
    socket.write(Buffer.from(hex, 'hex'));
    const [answer] = (await once(socket, 'data')) as [Buffer];
    expect(answer.readUInt16BE(2)).toBe(1002);
    expect(answer.toString('latin1', 4)).toBe('bad-websocket');
    socket.destroy();
    expect((await host.links[0].end).reason).toBe('bad-websocket');
    expect(host.counters.get('bad-websocket')).toBe(1);
  });
});

test('one text frame closes 1003', async () => {
  const peer = await host.raw();
  peer.socket.send('{"op":17}');
  await expectClosed(peer, 'text-frame');
  expect(errorsOf(peer)).toEqual([[Op.error, 1003, 'text-frame']]);
});

test('a text frame that is not UTF-8 closes 1007', async () => {
  const peer = await host.raw();
  peer.socket.send(Buffer.of(0xff), { binary: false });
  await expectClosed(peer, 'malformed-frame');
});

interface Invalid {
  name: string;
  from: string;
  hex: string;
  error: ProtocolErrorName;
}
const VECTORS: { invalid: Invalid[] } = JSON.parse(
  readFileSync(new URL('../../vectors/protocol.json', import.meta.url), 'utf8'),
);
const encodingErrors = VECTORS.invalid.filter(
  ({ from, error }) => from === 'guest' && PROTOCOL_ERRORS[error].close === 1007,
);

describe('pre-scan', () => {
  test.each(encodingErrors)('$name closes 1007 with $error', async ({ hex, error }) => {
    const peer = await host.raw();
    peer.socket.send(Buffer.from(hex, 'hex'));
    await expectClosed(peer, error);
    expect(errorsOf(peer)).toEqual([[Op.error, 1007, error]]);
    expect(peer.host?.messages).toEqual([]);
  });
});

describe('schema', () => {
  test('the first two are answered and dropped, the third closes 1008', async () => {
    const peer = await host.raw();
    expect(MAX_SCHEMA_ERRORS).toBe(3);
    peer.socket.send(Buffer.of(0x91, Op.status));
    peer.socket.send(encode(status(1)));
    peer.socket.send(Buffer.of(0x91, 5));
    await peer.host?.until(1);
    expect(peer.host?.messages).toEqual([status(1)]);
    peer.socket.send(Buffer.of(0x91, Op.pause));
    await expectClosed(peer, 'wrong-direction');
    expect(peer.host?.dropped).toEqual([Op.status, 5]);
    expect(errorsOf(peer)).toEqual([
      [Op.error, 1008, 'bad-schema'],
      [Op.error, 1008, 'unknown-op'],
      [Op.error, 1008, 'wrong-direction'],
    ]);
    expect(host.counters.get('messages_dropped')).toBe(2);
  });
});

test('QUEUE_CREDIT of a device closes 4008', async () => {
  const clock = new RealClock();
  const { counters } = host;
  const owner = new TestOwner(clock);
  owner.onMessage = () => {
    throw new ProtocolError('QUEUE_CREDIT');
  };
  const acceptor = new HostAcceptor({ clock, owner, counters });
  const server = new WsServer({ clock, counters, onLink: (link) => acceptor.accept(link) });
  const port = await server.listen('127.0.0.1', 0);
  const guest = new Heard(dial(`ws://127.0.0.1:${port}/puff`, { clock, counters }));
  guest.link.send(
    makeHello({ guestId: 'vm', epoch: 1, session: '', received: 0, regions: REGIONS }),
  );
  guest.link.send([Op.avail, 0, 0, new Uint8Array(4), new Uint8Array()]);
  expect(await guest.end).toEqual({ code: 4008, reason: 'QUEUE_CREDIT', byPeer: true });
  expect(guest.messages.map(([op]) => op)).toEqual([Op.welcome, Op.error]);
  expect(owner.events).toEqual(['power-on vm s1', 'end vm 4008 QUEUE_CREDIT']);
  expect(counters.get('QUEUE_CREDIT')).toBe(1);
  await server.close();
});

test('nesting of 4,400 raises nothing, the host serves the next peer', async () => {
  const peer = await host.raw();
  peer.socket.send(Buffer.alloc(4_400, 0x91));
  await expectClosed(peer, 'forbidden-type');
  const next = await host.raw();
  next.socket.send(Buffer.concat([Buffer.of(0x92, Op.status), Buffer.alloc(4_400, 0x91)]));
  await expectClosed(next, 'MAX_FRAME_DEPTH');
  const { guest, host: end } = await host.connect();
  guest.link.send(status(1));
  await end.until(1);
});

describe('liveness', () => {
  test('a peer that answers no ping is cut after two misses', async () => {
    const clock = new VirtualClock();
    const timed = await new TestServer(clock).start();
    const socket = await upgradedSocket(timed.port);
    const [heard] = timed.links;
    clock.advanceBy((PING_MISSES_MAX + 1) * PING_INTERVAL_MS - 1);
    expect(timed.counters.get('PING_MISSES_MAX')).toBe(0);
    clock.advanceBy(1);
    expect(await heard.end).toEqual({ code: 4013, reason: 'PING_MISSES_MAX', byPeer: false });
    expect(timed.counters.get('PING_MISSES_MAX')).toBe(1);
    socket.destroy();
    await timed.server.close();
  });

  test('a peer that only answers pings lives on', async () => {
    const clock = new VirtualClock();
    const timed = await new TestServer(clock).start();
    await timed.raw();
    clock.advanceBy(0);
    const emit = vi.spyOn(PuffWebSocket.prototype, 'emit');
    const pongs = (): number => emit.mock.calls.filter(([event]) => event === 'pong').length;
    for (let round = 1; round <= 3 * PING_MISSES_MAX; round++) {
      clock.advanceBy(PING_INTERVAL_MS);
      await expect.poll(pongs, { interval: 1 }).toBe(round);
    }
    vi.restoreAllMocks();
    expect(timed.counters.get('PING_MISSES_MAX')).toBe(0);
    await timed.server.close();
  });

  test('while this side does not read, the peer is not blamed for its pongs', async () => {
    const clock = new VirtualClock();
    const timed = await new TestServer(clock).start();
    const peer = await timed.raw();
    clock.advanceBy(0);
    peer.host?.link.pause();
    for (let id = 0; id < 2 * MAX_INBOUND_MESSAGES; id++) peer.socket.send(encode(status(1)));
    await expect.poll(() => timed.counters.get('MAX_INBOUND_MESSAGES')).toBe(1);
    for (let round = 0; round < 3 * PING_MISSES_MAX; round++) clock.advanceBy(PING_INTERVAL_MS);
    expect(timed.counters.get('PING_MISSES_MAX')).toBe(0);
    peer.host?.link.resume();
    clock.advanceBy(0);
    const arrived = (): number | undefined => {
      clock.advanceBy(0);
      return peer.host?.messages.length;
    };
    await expect.poll(arrived).toBe(2 * MAX_INBOUND_MESSAGES);
    await timed.server.close();
  });
});

/** Counts what a socket hands to the system: one buffer (`_write`) or many (`_writev`). */
function spyOnSocket(method: '_write' | '_writev'): { mock: { calls: unknown[] } } {
  const prototype = Socket.prototype as unknown as Record<typeof method, () => void>;
  return vi.spyOn(prototype, method);
}

describe('both directions', () => {
  test('cork: messages of one turn leave in one write', async () => {
    const { guest, host: end } = await host.connect();
    const writev = spyOnSocket('_writev');
    const write = spyOnSocket('_write');
    for (let value = 0; value < 20; value++) end.link.send([Op.statusValue, value, true]);
    await guest.until(20);
    expect([writev.mock.calls.length, write.mock.calls.length]).toEqual([1, 0]);
    for (let value = 0; value < 20; value++) guest.link.send(status(value));
    await end.until(20);
    expect([writev.mock.calls.length, write.mock.calls.length]).toEqual([2, 0]);
    vi.restoreAllMocks();
    expect(host.counters.get('writes_out')).toBe(1);
    expect(host.counters.get('messages_out')).toBe(20);
  });

  test('a large exchange arrives whole and in order, bins intact', async () => {
    const { guest, host: end } = await host.connect();
    const body = new Uint8Array(1024);
    const view = new DataView(body.buffer);
    for (let id = 0; id < 500; id++) {
      view.setUint32(0, id, true);
      guest.link.send([Op.avail, 0, id, body, new Uint8Array()]);
      end.link.send([Op.discard, body]);
    }
    await Promise.all([end.until(500), guest.until(500)]);
    const first = (bytes: unknown): number =>
      new DataView((bytes as Uint8Array).buffer).getUint32(0, true);
    expect(end.messages.map((message) => first(message[3]))).toEqual([...Array(500).keys()]);
    expect(guest.messages.map((message) => first(message[1]))).toEqual([...Array(500).keys()]);
  });

  test('a paused link stops its socket at MAX_INBOUND_MESSAGES', async () => {
    const guestCounters = transportCounters();
    const { guest, host: end } = await host.connect(new RealClock(), guestCounters);
    guest.link.pause();
    const count = 20 * MAX_INBOUND_MESSAGES;
    for (let id = 0; id < count; id++) end.link.send([Op.used, 0, id % 128, id]);
    await expect.poll(() => guestCounters.get('MAX_INBOUND_MESSAGES')).toBe(1);
    expect(guest.messages).toEqual([]);
    guest.link.resume();
    await guest.until(count);
    expect(guest.messages.map((message) => message[3])).toEqual([...Array(count).keys()]);
  });

  test('an orderly end waits behind the messages of a paused link', async () => {
    const { guest, host: end } = await host.connect();
    guest.link.pause();
    end.link.send([Op.powerOff, 'quit']);
    end.link.close(4015, 'power-off');
    await end.end;
    expect(guest.messages).toEqual([]);
    guest.link.resume();
    expect(await guest.end).toEqual({ code: 4015, reason: 'power-off', byPeer: true });
    expect(guest.messages).toEqual([[Op.powerOff, 'quit']]);
  });

  test.each(['close', 'terminate'] as const)(
    'it does not wait when this side is done with the link: %s',
    async (how) => {
      const { guest, host: end } = await host.connect();
      end.link.pause();
      guest.link.send(status(1));
      guest.link.close(1000, 'guest-gone');
      await guest.end;
      await expect.poll(() => host.server.usage.MAX_CONNECTIONS.now).toBe(0);
      expect(host.counters.get('links_ended')).toBe(0);
      end.link[how](1001, 'host-going');
      expect((await end.end).code).toBe(1000);
      expect(end.messages).toEqual([]);
    },
  );

  test('bufferedBytes shows a slow reader, OUTBOUND_HARD_BYTES cuts it', async () => {
    const socket = await upgradedSocket(host.port);
    socket.pause();
    const [heard] = host.links;
    const ranges = new Uint8Array(60 * 1024);
    const needed = Math.ceil(OUTBOUND_SOFT_BYTES / ranges.length) + 1;
    for (let count = 0; count < needed; count++) heard.link.send([Op.discard, ranges]);
    expect(heard.link.bufferedBytes).toBeGreaterThan(OUTBOUND_SOFT_BYTES);
    for (let count = 0; count < 100; count++) heard.link.send([Op.discard, ranges]);
    expect(await heard.end).toEqual({ code: 4011, reason: 'OUTBOUND_HARD_BYTES', byPeer: false });
    expect(host.counters.get('OUTBOUND_HARD_BYTES')).toBe(1);
    socket.destroy();
  });
});

describe('ends', () => {
  test('a message that came with the upgrade is delivered, after onOpen', async () => {
    const arrival = host.nextLink();
    const socket = await upgradedSocket(host.port, Buffer.from('82830000000092110f', 'hex'));
    const heard = await arrival;
    await heard.until(1);
    expect(heard.messages).toEqual([status(15)]);
    expect([heard.opened, heard.messagesBeforeOpen]).toEqual([true, 0]);
    socket.destroy();
  });

  test('what a cut leaves undelivered in a paused link is lost, the end is told', async () => {
    const { guest, host: end } = await host.connect();
    const emit = vi.spyOn(PuffWebSocket.prototype, 'emit');
    end.link.pause();
    guest.link.send(status(1));
    await expect.poll(() => emit.mock.calls.map(([event]) => event)).toContain('message');
    vi.restoreAllMocks();
    guest.link.terminate();
    expect(await end.end).toMatchObject({ code: 1006, byPeer: true });
    expect(end.messages).toEqual([]);
  });

  test('a link that stopped reading its socket still closes at once', async () => {
    const peer = await host.raw();
    peer.host?.link.pause();
    for (let id = 0; id < 2 * MAX_INBOUND_MESSAGES; id++) peer.socket.send(encode(status(1)));
    await expect.poll(() => host.counters.get('MAX_INBOUND_MESSAGES')).toBe(1);
    const emit = vi.spyOn(PuffWebSocket.prototype, 'emit');
    peer.host?.link.close(4015, 'power-off');
    await peer.host?.end;
    const closed = emit.mock.calls.find(([event]) => event === 'close');
    vi.restoreAllMocks();
    // The peer's own close frame: it would be 1006 after CLOSE_TIMEOUT_MS.
    expect(closed?.[1]).toBe(4015);
  });

  test('close gives the other side code and reason', async () => {
    const { guest, host: end } = await host.connect();
    end.link.close(4005, 'replaced');
    expect(await guest.end).toEqual({ code: 4005, reason: 'replaced', byPeer: true });
    expect(await end.end).toEqual({ code: 4005, reason: 'replaced', byPeer: false });
  });

  test('a cut connection is told to both, without a close code of a peer', async () => {
    const { guest, host: end } = await host.connect();
    guest.link.terminate();
    expect(await guest.end).toEqual({ code: 1006, reason: 'terminated', byPeer: false });
    expect(await end.end).toMatchObject({ code: 1006, byPeer: true });
  });

  test('after close nothing is delivered any more', async () => {
    const { guest, host: end } = await host.connect();
    guest.link.send(status(1));
    end.link.close(1001, 'host-going');
    await guest.end;
    await end.end;
    expect(end.messages).toEqual([]);
  });

  test('sending on an ended link does nothing', async () => {
    const { guest, host: end } = await host.connect();
    guest.link.terminate();
    await end.end;
    end.link.send([Op.statusValue, 1, true]);
    end.link.close(1000, 'x');
    end.link.terminate();
    expect(end.link.bufferedBytes).toBe(0);
  });
});
