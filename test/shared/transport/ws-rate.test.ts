import type { Socket } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { type Clock, VirtualClock } from '../../../shared/lib/clock.ts';
import { RealClock } from '../../../shared/lib/real-clock.ts';
import {
  MAX_INBOUND_MESSAGES,
  OUTBOUND_SOFT_BYTES,
  PING_INTERVAL_MS,
  PING_MISSES_MAX,
} from '../../../shared/limits.ts';
import { encode } from '../../../shared/protocol/codec.ts';
import type { ProtocolErrorName } from '../../../shared/protocol/errors.ts';
import type { Message } from '../../../shared/protocol/messages.ts';
import { Op } from '../../../shared/protocol/messages.ts';
import { judgeEnd } from '../../../shared/transport/link-end.ts';
import { DEFAULT_SERVER_LIMITS, NO_RATE_LIMITS } from '../../../shared/transport/server-limits.ts';
import type { TransportCounter } from '../../../shared/transport/transport-counters.ts';
import { type Heard, TestServer, upgradedSocket } from './ws-harness.ts';

/** What guests send and do not read, through real sockets. */
let host: TestServer;
let sockets: Socket[] = [];
afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  sockets = [];
  await host.server.close();
});

const status: Message = [Op.status, 0];

/** A frame as a client sends it, with a mask of zeros. */
function masked(message: Message): Buffer {
  const frame = encode(message);
  const head = frame.length < 126 ? [0x80 | frame.length] : [0xfe, frame.length >> 8, frame.length];
  return Buffer.concat([Buffer.from([0x82, ...head, 0, 0, 0, 0]), frame]);
}

/** A peer that sends `message` as fast as the socket takes it, whatever it is answered. */
async function flooder(message: Message, reads = true): Promise<Socket> {
  const socket = await upgradedSocket(host.port);
  sockets.push(socket);
  socket.on('error', () => {});
  if (reads) socket.resume();
  else socket.pause();
  const chunk = Buffer.concat(Array.from({ length: 200 }, () => masked(message)));
  const pump = (): void => {
    while (socket.writable && socket.write(chunk));
  };
  socket.on('drain', pump);
  pump();
  return socket;
}

/** Code and reason of the close frame among what a bare socket is sent. */
function closeOf(socket: Socket): Promise<{ code: number; reason: string }> {
  return new Promise((resolve) => {
    let text = Buffer.alloc(0);
    socket.on('data', (chunk: Buffer) => {
      text = Buffer.concat([text, chunk]);
      const at = text.indexOf(0x88);
      if (at < 0 || text.length < at + 2 + (text[at + 1] ?? 0)) return;
      const end = at + 2 + text[at + 1];
      const reason = text.toString('latin1', at + 4, end);
      resolve({ code: text.readUInt16BE(at + 2), reason });
    });
  });
}

describe('rate', () => {
  const limits = { messagesPerSecond: 1000, bytesPerSecond: 1e6, floodMs: 400 };

  const large: Message = [Op.avail, 0, 0, new Uint8Array(60_000), new Uint8Array()];

  test.each<[string, Message, ProtocolErrorName, TransportCounter]>([
    ['small messages', status, 'MAX_MESSAGES_PER_SECOND', 'MAX_INBOUND_MESSAGES'],
    ['large ones', large, 'MAX_BYTES_PER_SECOND', 'MAX_INBOUND_BYTES'],
  ])('a flood of %s is slowed down, then closed 1013', async (_name, message, error, full) => {
    host = await new TestServer(new RealClock(), { limits }).start();
    const startMs = performance.now();
    const socket = await flooder(message);
    const [heard] = host.links;
    expect(await closeOf(socket)).toEqual({ code: 1013, reason: error });
    const seconds = (performance.now() - startMs) / 1000;
    socket.destroy();
    expect(await heard.end).toEqual({ code: 1013, reason: error, byPeer: false });
    expect(host.counters.get(error)).toBe(1);
    expect(host.counters.get('rate_held')).toBeGreaterThan(0);
    expect(host.counters.get(full)).toBeGreaterThan(0);
    // Two seconds' worth at once, then the rate; one large message more may be owed.
    const allowed = 2 + seconds;
    expect(host.counters.get('messages_in')).toBeLessThanOrEqual(allowed * 1000);
    expect(host.counters.get('bytes_in')).toBeLessThanOrEqual(allowed * 1e6 + 65_536);
    expect(judgeEnd({ code: 1013, reason: error, byPeer: true })).toBe('resume');
  });

  test('a guest that waits for each answer is slowed down to the rate, not closed', async () => {
    const slow = { ...limits, messagesPerSecond: 200, floodMs: 100 };
    host = await new TestServer(new RealClock(), { limits: slow }).start();
    const { guest, host: end } = await host.connect();
    end.onMessage = () => end.link.send([Op.statusValue, 0, true]);
    guest.onMessage = () => guest.link.send(status);
    const startMs = performance.now();
    guest.link.send(status);
    await end.until(400 + 100);
    expect(performance.now() - startMs).toBeGreaterThan(450);
    expect(host.counters.get('rate_held')).toBeGreaterThan(0);
    expect(host.counters.get('MAX_MESSAGES_PER_SECOND')).toBe(0);
    expect(host.server.linkCount).toBe(1);
    guest.onMessage = () => {};
  });

  test('a guest whose owner has paused it is not blamed for what waits', async () => {
    const clock = new VirtualClock();
    host = await new TestServer(clock, { limits: { ...limits, messagesPerSecond: 100 } }).start();
    const { guest, host: end } = await host.connect();
    clock.advanceBy(0);
    for (let count = 0; count < 2 * MAX_INBOUND_MESSAGES; count++) guest.link.send(status);
    await expect.poll(() => host.counters.get('MAX_INBOUND_MESSAGES')).toBe(1);
    end.link.pause();
    for (let second = 0; second < 5; second++) clock.advanceBy(1000);
    expect(host.counters.get('MAX_MESSAGES_PER_SECOND')).toBe(0);
    end.link.resume();
    clock.advanceBy(limits.floodMs + 1);
    expect(host.counters.get('MAX_MESSAGES_PER_SECOND')).toBe(1);
  });

  test('the rate of a host is beyond what a guest of Puff reaches; it can be off', () => {
    const { messagesPerSecond, bytesPerSecond, floodMs } = DEFAULT_SERVER_LIMITS;
    expect([messagesPerSecond, bytesPerSecond, floodMs]).toEqual([100_000, 2 ** 27, 10_000]);
    expect(NO_RATE_LIMITS.messagesPerSecond).toBe(Number.POSITIVE_INFINITY);
  });

  test('off: as much as comes is taken', async () => {
    host = await new TestServer(new RealClock(), { limits: NO_RATE_LIMITS }).start();
    await flooder(status);
    await expect.poll(() => host.counters.get('messages_in')).toBeGreaterThan(2e5);
    expect(host.counters.get('rate_held')).toBe(0);
  });
});

describe('inbound queue', () => {
  test('the socket of a paused link is stopped: memory stays flat', async () => {
    host = await new TestServer().start();
    const arrival = host.nextLink();
    const waiting = flooder([Op.avail, 0, 0, new Uint8Array(1024), new Uint8Array()]);
    const heard = await arrival;
    heard.link.pause();
    const socket = await waiting;
    await expect.poll(() => host.counters.get('MAX_INBOUND_MESSAGES')).toBe(1);
    // Buffers of the system fill up; then the peer can write no more.
    let before = -1;
    await expect
      .poll(
        () => {
          const now = socket.bytesWritten - socket.writableLength;
          const same = now === before;
          before = now;
          return same;
        },
        { interval: 100 },
      )
      .toBe(true);
    expect(before).toBeLessThan(32 * 2 ** 20);
    expect(host.counters.get('MAX_INBOUND_MESSAGES')).toBe(1);
    expect(heard.messages).toEqual([]);
    socket.destroy();
  });
});

describe('outbound', () => {
  /** Every message is answered with a large one. */
  function talkative(heard: Heard): Heard {
    heard.onMessage = () => heard.link.send([Op.discard, new Uint8Array(8000)]);
    return heard;
  }

  /** A host that answers so, and a peer that floods it and does not read. */
  async function deafFlooder(clock: Clock = new RealClock()): Promise<[Heard, Socket]> {
    host = await new TestServer(clock).start();
    const arrival = host.nextLink().then(talkative);
    const socket = await flooder(status, false);
    return [await arrival, socket];
  }

  test('a guest that sends and does not read is answered up to OUTBOUND_SOFT_BYTES', async () => {
    const [heard, socket] = await deafFlooder();
    // Until the system's buffers are full the socket drains now and then, and more is answered.
    let before = -1;
    const isStuck = (): boolean => {
      const { length } = heard.messages;
      const same = length === before && heard.link.bufferedBytes > 0;
      before = length;
      return same;
    };
    await expect.poll(isStuck, { interval: 100 }).toBe(true);
    expect(host.counters.get('MAX_INBOUND_MESSAGES')).toBeGreaterThan(0);
    expect(heard.link.bufferedBytes).toBeGreaterThan(OUTBOUND_SOFT_BYTES);
    expect(heard.link.bufferedBytes).toBeLessThan(OUTBOUND_SOFT_BYTES + 16_384);
    expect(host.counters.get('OUTBOUND_SOFT_BYTES')).toBeGreaterThan(0);
    expect(host.counters.get('OUTBOUND_HARD_BYTES')).toBe(0);
    const answered = heard.messages.length;
    socket.resume();
    await heard.until(2 * answered);
    expect(host.server.linkCount).toBe(1);
  });

  test('one that goes on not reading is cut by pings, whatever it sends', async () => {
    const clock = new VirtualClock();
    const [heard] = await deafFlooder(clock);
    await expect.poll(() => host.counters.get('MAX_INBOUND_MESSAGES')).toBe(1);
    clock.advanceBy((PING_MISSES_MAX + 1) * PING_INTERVAL_MS);
    expect(await heard.end).toEqual({ code: 4013, reason: 'PING_MISSES_MAX', byPeer: false });
    expect(host.counters.get('PING_MISSES_MAX')).toBe(1);
  });

  test('an orderly close is told although the messages before it wait', async () => {
    host = await new TestServer().start();
    const peer = await host.raw();
    const heard = talkative(peer.host as Heard);
    peer.socket.pause();
    for (let count = 0; count < 2000; count++) peer.socket.send(encode(status));
    await expect.poll(() => host.counters.get('MAX_INBOUND_MESSAGES')).toBe(1);
    peer.socket.close(1000, 'guest-gone');
    peer.socket.resume();
    expect(await heard.end).toMatchObject({ code: 1000, byPeer: true });
    expect(heard.messages).toHaveLength(2000);
  });
});
