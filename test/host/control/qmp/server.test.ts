import { once } from 'node:events';
import {
  existsSync,
  linkSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createConnection, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { QmpServer, type QmpServerOptions } from '../../../../host/control/qmp/server.ts';
import { connectQmp, QmpConnectionError } from '../../../../lab/qmp-client.ts';
import { ListenError, type ListenTarget } from '../../../../shared/control/listen.ts';
import { VirtualClock } from '../../../../shared/lib/clock.ts';
import { RealClock } from '../../../../shared/lib/real-clock.ts';
import { QMP_CLOSE_TIMEOUT_MS } from '../../../../shared/limits.ts';
import { FakeMachine } from '../../../support/fake-machine.ts';
import { RECORDED_SETTINGS } from './support.ts';

let directory = '';
let path = '';
const clock = new VirtualClock();
const running: QmpServer[] = [];
const sockets: Socket[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'puff-qmp-'));
  path = join(directory, 'g1.qmp');
});

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await Promise.all(running.splice(0).map((server) => server.close()));
  rmSync(directory, { recursive: true });
});

async function start(options: Partial<QmpServerOptions> = {}): Promise<QmpServer> {
  const machine = options.machine ?? new FakeMachine(512, clock);
  const settings = RECORDED_SETTINGS;
  const server = await QmpServer.start({ machine, settings, clock, listen: path, ...options });
  running.push(server);
  return server;
}

async function connect(target: ListenTarget = path): Promise<Socket> {
  const socket = typeof target === 'string' ? createConnection(target) : createConnection(target);
  sockets.push(socket);
  socket.on('error', () => {});
  await once(socket, 'connect');
  return socket;
}

/** Everything a socket gets until the text matches or the socket ends. */
async function readUntil(socket: Socket, pattern: RegExp): Promise<string> {
  let text = '';
  socket.setEncoding('latin1');
  for (const iterator = on(socket); ; ) {
    const chunk = await iterator();
    text += chunk ?? '';
    if (chunk === undefined || pattern.test(text)) return text;
  }
}

/** A function that yields the next chunk, or undefined at the end. */
function on(socket: Socket): () => Promise<string | undefined> {
  return () =>
    new Promise((resolve) => {
      const onData = (chunk: string): void => settle(chunk);
      const onEnd = (): void => settle(undefined);
      const settle = (chunk: string | undefined): void => {
        socket.off('data', onData).off('end', onEnd).off('close', onEnd);
        socket.pause();
        resolve(chunk);
      };
      socket.on('data', onData).on('end', onEnd).on('close', onEnd).resume();
    });
}

const GREETING = /^\{"QMP": .*\}\r\n$/;
const reply = (id: number): RegExp => new RegExp(`"id": ${id}\\}\\r\\n$`);
const failure = (promise: Promise<unknown>): Promise<ListenError> =>
  promise.then(
    () => Promise.reject(new Error('it did not fail')),
    (error: unknown) => (error instanceof ListenError ? error : Promise.reject(error)),
  );

describe('serving', () => {
  test('a client is greeted and answered, over a unix socket and over TCP', async () => {
    for (const listen of [path, { host: '127.0.0.1', port: 0 }]) {
      const server = await start({ listen });
      const socket = await connect(server.address);
      expect(await readUntil(socket, GREETING)).toMatch(GREETING);
      socket.write('{"execute": "qmp_capabilities"}{"execute": "query-kvm", "id": 1}');
      expect(await readUntil(socket, reply(1))).toBe(
        '{"return": {}}\r\n{"return": {"enabled": false, "present": true}, "id": 1}\r\n',
      );
      expect(server.counters.get('clients')).toBe(1);
    }
  });

  test('a client that ends its side still gets its replies', async () => {
    await start();
    const socket = await connect();
    socket.end('{"execute": "qmp_capabilities"}{"execute": "query-memory-devices"}');
    const text = await readUntil(socket, /$./);
    expect(text.split('\r\n').slice(1)).toEqual(['{"return": {}}', '{"return": []}', '']);
  });

  test('a second client hears nothing until the first is gone', async () => {
    const server = await start();
    const first = await connect();
    await readUntil(first, GREETING);
    const second = await connect();
    second.write('{"execute": "qmp_capabilities", "id": 5}');
    first.write('{"execute": "qmp_capabilities", "id": 1}');
    await readUntil(first, reply(1));
    expect(server.counters.get('clients')).toBe(1);
    expect(second.bytesRead).toBe(0);
    first.destroy();
    expect(await readUntil(second, reply(5))).toMatch(
      /^\{"QMP": .*\r\n\{"return": \{\}, "id": 5\}/,
    );
  });

  test('with maxClients so many are served at once, and the next one waits', async () => {
    const machine = new FakeMachine(512, clock);
    const server = await start({ machine, maxClients: 2 });
    const served = [await connect(), await connect()];
    for (const [index, socket] of served.entries()) {
      expect(await readUntil(socket, GREETING)).toMatch(GREETING);
      socket.write(`{"execute": "qmp_capabilities", "id": ${index}}`);
      expect(await readUntil(socket, reply(index))).toBe(`{"return": {}, "id": ${index}}\r\n`);
    }
    const third = await connect();
    machine.stop();
    for (const socket of served) expect(await readUntil(socket, /STOP/)).toContain('"STOP"');
    expect([server.counters.get('clients'), third.bytesRead]).toEqual([2, 0]);
    served[0]?.destroy();
    expect(await readUntil(third, GREETING)).toMatch(GREETING);
  });

  test('a client that gave up waiting is passed over', async () => {
    await start();
    const first = await connect();
    await readUntil(first, GREETING);
    const second = await connect();
    const third = await connect();
    second.destroy();
    first.destroy();
    expect(await readUntil(third, GREETING)).toMatch(GREETING);
  });

  test('beyond the limit clients that would have to wait are refused', async () => {
    const server = await start({ maxWaiting: 1 });
    await readUntil(await connect(), GREETING);
    await connect();
    const refused = await connect();
    expect(await readUntil(refused, /./)).toBe('');
    expect(server.counters.get('MAX_QMP_WAITING')).toBe(1);
  });

  test('one that gives up leaves its place to another, without a turn of its own', async () => {
    const server = await start({ maxWaiting: 1 });
    const first = await connect();
    await readUntil(first, GREETING);
    for (let round = 0; round < 5; round++) {
      const impatient = await connect();
      impatient.end();
      // The other side answers the end with its own when it has let go.
      expect(await readUntil(impatient, /./)).toBe('');
    }
    const patient = await connect();
    patient.end('{"execute": "qmp_capabilities", "id": 5}');
    first.destroy();
    expect(await readUntil(patient, reply(5))).toMatch(/^\{"QMP": .*\r\n\{"return": /);
    expect(server.counters.get('MAX_QMP_WAITING')).toBe(0);
  });

  test('what a waiting client sends is not taken in beyond a buffer', async () => {
    await start({ clock: new RealClock() });
    const first = await connect();
    await readUntil(first, GREETING);
    first.write('{"execute": "qmp_capabilities", "id": 0}');
    await readUntil(first, reply(0));
    const second = await connect();
    const long = `{"execute": "query-kvm", "id": "${'x'.repeat(65_536)}"}`;
    second.end(`{"execute": "qmp_capabilities"}${long.repeat(32)}{"execute": "stop", "id": 99}`);
    for (let id = 1; id < 200; id++) {
      first.write(`{"execute": "query-kvm", "id": ${id}}`);
      await readUntil(first, reply(id));
    }
    expect(second.writableLength).toBeGreaterThan(2 ** 20);
    first.destroy();
    const text = await readUntil(second, reply(99));
    expect(text.match(/x{65536}/g)).toHaveLength(32);
  });

  test('a client that resets its connection costs nobody else anything', async () => {
    const machine = new FakeMachine(512, clock);
    const server = await start({ machine, listen: { host: '127.0.0.1', port: 0 } });
    for (let round = 0; round < 3; round++) {
      const socket = await connect(server.address);
      await readUntil(socket, GREETING);
      socket.write('{"execute": "qmp_capabilities", "id": 1}');
      await readUntil(socket, reply(1));
      socket.write('{"execute": "query-commands"}'.repeat(1000));
      socket.resetAndDestroy();
      machine.stop();
      machine.cont();
    }
    const socket = await connect(server.address);
    expect(await readUntil(socket, GREETING)).toMatch(GREETING);
  });
});

test('a client that asks without end is answered 4 KiB at a time: others have turns', async () => {
  const machine = new FakeMachine(512, clock);
  let [thisTurn, mostOfATurn, answered] = [0, 0, 0];
  Object.defineProperty(machine, 'runState', {
    get: () => {
      if (thisTurn++ === 0) setImmediate(() => (thisTurn = 0));
      mostOfATurn = Math.max(mostOfATurn, thisTurn);
      answered++;
      return 'running';
    },
  });
  await start({ machine, clock: new RealClock() });
  const socket = await connect();
  const request = '{"execute": "query-status"}';
  socket.end(`{"execute": "qmp_capabilities"}${request.repeat(2000)}`);
  await readUntil(socket, /never/);
  expect(answered).toBeGreaterThanOrEqual(2000);
  // Two slices at most end in one turn: what a turn began with, and its own.
  expect(mostOfATurn).toBeLessThan((3 * 4096) / request.length);
});

describe('a client that does not read', () => {
  const COUNT = 2000;

  test('is not read from either, and loses nothing when it reads again', async () => {
    await start({ clock: new RealClock() });
    const socket = await connect();
    socket.write('{"execute": "qmp_capabilities"}');
    const request = '{"execute": "qom-list", "arguments": {"path": "balloon0"}, "id": 1}';
    for (let index = 0; index < COUNT; index++) socket.write(request);
    socket.end('{"execute": "query-kvm", "id": 2}');
    const text = await readUntil(socket, reply(2));
    expect(text.match(/"id": 1\}\r\n/g)).toHaveLength(COUNT);
  });

  test('is cut once too many events wait for it', async () => {
    const machine = new FakeMachine(512, clock);
    const server = await start({ machine, maxOutputBytes: 64 * 1024 });
    const socket = await connect();
    await readUntil(socket, GREETING);
    socket.write('{"execute": "qmp_capabilities", "id": 1}');
    await readUntil(socket, reply(1));
    socket.pause();
    const closed = once(socket, 'close');
    for (let round = 0; server.counters.get('MAX_QMP_OUTPUT_BYTES') === 0; round++) {
      machine.emit('RESET', { guest: true });
      expect(round).toBeLessThan(100_000);
    }
    socket.resume();
    await closed;
    expect(server.counters.get('MAX_QMP_OUTPUT_BYTES')).toBe(1);
  });
});

describe('the socket file', () => {
  test('is the owner’s alone and is gone after close', async () => {
    const server = await start();
    expect(statSync(path).mode & 0o777).toBe(0o600);
    await server.close();
    expect(existsSync(path)).toBe(false);
  });

  test('one left behind by a killed process is replaced', async () => {
    // A second name of a socket survives the unlinking of the first, and nobody answers on it.
    const other = join(directory, 'other');
    const dead = createServer().listen(other);
    await once(dead, 'listening');
    linkSync(other, path);
    dead.close();
    await once(dead, 'close');
    expect(statSync(path).isSocket()).toBe(true);
    await start();
    expect(await readUntil(await connect(), GREETING)).toMatch(GREETING);
  });

  test('one that answers is left alone', async () => {
    await start();
    const error = await failure(start());
    expect(error.code).toBe('address-in-use');
    expect(error.message).toContain(`${path}: a process answers on it`);
    expect(await readUntil(await connect(), GREETING)).toMatch(GREETING);
  });

  test('a file that is no socket is left alone', async () => {
    writeFileSync(path, 'precious');
    const error = await failure(start());
    expect([error.code, error.message]).toEqual([
      'not-a-socket',
      `${path} exists and is no socket; remove it or use another path`,
    ]);
    expect(readFileSync(path, 'utf8')).toBe('precious');
  });

  test('a path too long for the system is refused with its length', async () => {
    const listen = join(directory, 'x'.repeat(120));
    const error = await failure(start({ listen }));
    expect(error.code).toBe('MAX_SOCKET_PATH_BYTES');
    expect(error.message).toContain(`at most 107 bytes, this has ${listen.length}`);
  });

  test('a missing directory and a taken port are told', async () => {
    const error = await failure(start({ listen: join(directory, 'no/such') }));
    expect(error.code).toBe('cannot-listen');
    const { address } = await start({ listen: { host: '127.0.0.1', port: 0 } });
    expect((await failure(start({ listen: address }))).code).toBe('address-in-use');
  });

  test('a server that could not start does not keep the machine’s events', async () => {
    const machine = new FakeMachine(512, clock);
    await failure(start({ machine, listen: join(directory, 'no/such') }));
    expect(machine.listenerCount).toBe(0);
  });
});

describe('close', () => {
  test('quit: the event and the reply arrive, then the connection ends', async () => {
    const machine = new FakeMachine(512, clock);
    const server = await start({ machine });
    machine.onEvent(({ event }) => {
      if (event === 'SHUTDOWN') void server.close();
    });
    const client = await connectQmp(path);
    const events: string[] = [];
    client.onEvent(({ event }) => events.push(event));
    expect(await client.execute('quit')).toEqual({});
    expect(events).toEqual(['SHUTDOWN']);
    await server.close();
    await expect(client.execute('query-status')).rejects.toBeInstanceOf(QmpConnectionError);
    expect(machine.listenerCount).toBe(1);
  });

  test('a client that does not read its last replies is cut after a while', async () => {
    const machine = new FakeMachine(512, clock);
    const server = await start({ machine });
    const socket = await connect();
    await readUntil(socket, GREETING);
    socket.write('{"execute": "qmp_capabilities", "id": 1}');
    await readUntil(socket, reply(1));
    socket.pause();
    for (let index = 0; index < 30_000; index++) machine.emit('RESET');
    const closing = server.close();
    await new Promise((resolve) => setImmediate(resolve));
    clock.advanceBy(QMP_CLOSE_TIMEOUT_MS);
    await closing;
    expect(server.counters.get('QMP_CLOSE_TIMEOUT_MS')).toBe(1);
    expect(clock.nextDueMs()).toBeUndefined();
  });

  test('waiting clients are let go', async () => {
    const server = await start();
    await readUntil(await connect(), GREETING);
    const waiting = await connect();
    await server.close();
    expect(await readUntil(waiting, /./)).toBe('');
  });
});
