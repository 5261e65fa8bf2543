import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createConnection, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { LineClient } from '../../../shared/control/line-client.ts';
import { LineServer, type LineServerOptions } from '../../../shared/control/line-server.ts';
import { VirtualClock } from '../../../shared/lib/clock.ts';
import {
  CLOSE_TIMEOUT_MS,
  MAX_CONTROL_CLIENTS,
  MAX_CONTROL_REQUESTS_PER_SECOND,
} from '../../../shared/limits.ts';

/** What the control channel does with clients that are many or fast, over a real socket. */
const schema = z.looseObject({ verb: z.literal('echo'), id: z.number().optional() });
type Request = z.infer<typeof schema>;

let directory = '';
let path = '';
let clock: VirtualClock;
let server: LineServer<Request>;
let handled = 0;
const sockets: Socket[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'puff-line-'));
  path = join(directory, 'ctl');
  clock = new VirtualClock();
  handled = 0;
});

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await server.close();
  rmSync(directory, { recursive: true });
});

async function start(options: LineServerOptions = {}): Promise<void> {
  const echo = ({ id }: Request): unknown => {
    handled++;
    return id;
  };
  server = new LineServer<Request>(path, schema, echo, { clock, ...options });
  await server.listen();
}

/** A socket that takes no notice of what it is sent until it is read. */
async function rawSocket(): Promise<Socket> {
  const socket = createConnection({ path, allowHalfOpen: true });
  sockets.push(socket);
  socket.on('error', () => {});
  await once(socket, 'connect');
  return socket;
}

const lines = (count: number, more = ''): string =>
  Array.from({ length: count }, (_, id) => `${JSON.stringify({ verb: 'echo', id, more })}\n`).join(
    '',
  );

describe('MAX_CONTROL_REQUESTS_PER_SECOND', () => {
  const held = (): number => server.counters.get('MAX_CONTROL_REQUESTS_PER_SECOND');

  test('twice the rate at once, then the rate: all are answered in order', async () => {
    await start({ requestsPerSecond: 10 });
    const socket = await rawSocket();
    const answers = text(socket);
    socket.end(lines(100));
    await expect.poll(held).toBe(1);
    expect(handled).toBe(20);
    for (let seconds = 1; seconds <= 7; seconds++) {
      clock.advanceBy(1000);
      await expect.poll(held).toBe(1 + seconds);
      expect(handled).toBe(20 + 10 * seconds);
    }
    clock.advanceBy(1000);
    const results = (await answers)
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line).result);
    expect(results).toEqual(Array.from({ length: 100 }, (_, id) => id));
    expect(server.counters.snapshot()).toMatchObject({ clients: 1, requests: 100 });
  });

  test('the socket is not read meanwhile: memory stays flat', async () => {
    await start({ requestsPerSecond: 1 });
    const socket = await rawSocket();
    socket.write(lines(4000, 'x'.repeat(1024)));
    await expect.poll(held).toBe(1);
    const other = await LineClient.connect(path);
    for (let id = 0; id < 2; id++) expect(await other.request({ verb: 'echo', id })).toBe(id);
    // 4 MiB, less than 1 MiB of which fits into the buffers on the way.
    expect(socket.writableLength).toBeGreaterThan(3 * 2 ** 20);
    expect(handled).toBe(2 + 2);
    other.close();
  });

  test('a client that waits for its answers is slowed down, another one is not', async () => {
    await start({ requestsPerSecond: 1 });
    const [fast, slow] = [await LineClient.connect(path), await LineClient.connect(path)];
    for (let id = 0; id < 2; id++) await fast.request({ verb: 'echo', id });
    const third = fast.request({ verb: 'echo', id: 2 });
    await expect.poll(held).toBe(1);
    expect(await slow.request({ verb: 'echo', id: 9 })).toBe(9);
    expect(handled).toBe(3);
    clock.advanceBy(1000);
    expect(await third).toBe(2);
    for (const client of [fast, slow]) client.close();
  });

  test('empty lines count: they are work as well', async () => {
    await start({ requestsPerSecond: 10 });
    const socket = await rawSocket();
    socket.write('\n'.repeat(21));
    await expect.poll(held).toBe(1);
  });

  test('what a client that left had asked beyond the rate is forgotten with it', async () => {
    await start({ requestsPerSecond: 10 });
    const socket = await rawSocket();
    socket.write(lines(100));
    await expect.poll(held).toBe(1);
    await server.close();
    await expect.poll(() => clock.nextDueMs()).toBeUndefined();
    clock.advanceBy(60_000);
    await new Promise(setImmediate);
    expect(handled).toBe(20);
  });

  test('by default a fleet that is looked at is far from it', () => {
    expect(MAX_CONTROL_REQUESTS_PER_SECOND).toBe(1000);
  });
});

describe('MAX_CONTROL_CLIENTS', () => {
  const refused = (): number => server.counters.get('MAX_CONTROL_CLIENTS');

  test('one too many is told so in one line and let go; the others are served on', async () => {
    await start();
    const clients = await Promise.all(
      Array.from({ length: MAX_CONTROL_CLIENTS }, () => LineClient.connect(path)),
    );
    const answers = await Promise.all(
      clients.map((client) => client.request({ verb: 'echo', id: 1 })),
    );
    expect(answers).toEqual(clients.map(() => 1));
    const socket = await rawSocket();
    socket.write('{"verb":"echo"}\n');
    const told = await text(socket);
    expect(told).toBe('{"ok":false,"error":"MAX_CONTROL_CLIENTS: it serves 64 clients already"}\n');
    expect(refused()).toBe(1);
    expect(await clients[0].request({ verb: 'echo', id: 2 })).toBe(2);
    clients[0].close();
    await expect.poll(() => tryOnce()).toBe(7);
    for (const client of clients) client.close();
  });

  /** A request on a connection of its own, or why not. */
  async function tryOnce(): Promise<unknown> {
    const client = await LineClient.connect(path);
    try {
      return await client.request({ verb: 'echo', id: 7 });
    } catch (error) {
      return (error as Error).message;
    } finally {
      client.close();
    }
  }

  test('its client rejects the request with that line', async () => {
    await start({ maxClients: 1 });
    const first = await LineClient.connect(path);
    await first.request({ verb: 'echo' });
    expect(await tryOnce()).toBe('MAX_CONTROL_CLIENTS: it serves 1 clients already');
    first.close();
  });

  test('one that stays after that is cut', async () => {
    await start({ maxClients: 0 });
    const socket = await rawSocket();
    await once(socket.resume(), 'end');
    expect(clock.nextDueMs()).toBe(CLOSE_TIMEOUT_MS);
    clock.advanceBy(CLOSE_TIMEOUT_MS);
    // Until then what it writes is taken, and not looked at.
    const failed = once(socket, 'error');
    const write = (): void => void (socket.writable && socket.write('{"verb":"echo"}\n', write));
    write();
    expect(await failed).toMatchObject([{ code: 'EPIPE' }]);
    expect(handled).toBe(0);
  });

  test('a flood of them is dropped and counted', async () => {
    await start({ maxClients: 1 });
    const flood = await Promise.all(Array.from({ length: 80 }, rawSocket));
    await expect.poll(refused).toBe(79);
    for (const socket of flood) socket.destroy();
    await expect.poll(() => tryOnce()).toBe(7);
  });

  test('close lets go of those that were refused too', async () => {
    await start({ maxClients: 0 });
    const socket = await rawSocket();
    await expect.poll(refused).toBe(1);
    await server.close();
    await once(socket.resume(), 'end');
    expect(clock.nextDueMs()).toBeUndefined();
  });
});
