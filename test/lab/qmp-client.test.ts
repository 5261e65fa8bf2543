import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { QmpServer } from '../../host/control/qmp/server.ts';
import { DEFAULT_QMP_SETTINGS } from '../../host/control/qmp/settings.ts';
import {
  connectQmp,
  type PlainJson,
  QmpConnectionError,
  QmpError,
  type QmpEvent,
} from '../../lab/qmp-client.ts';
import { VirtualClock } from '../../shared/lib/clock.ts';
import { FakeMachine } from '../support/fake-machine.ts';

let directory = '';
let path = '';
let server: QmpServer;
let clock: VirtualClock;
let machine: FakeMachine;

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'puff-qmp-'));
  path = join(directory, 'g1.qmp');
  clock = new VirtualClock(1_795_161_923_000);
  machine = new FakeMachine(512, clock);
  server = await QmpServer.start({ machine, settings: DEFAULT_QMP_SETTINGS, clock, listen: path });
});

afterEach(async () => {
  await server.close();
  rmSync(directory, { recursive: true });
});

/** A server that says what it is told and nothing else. */
async function withScript(
  script: (socket: Socket) => void,
  body: (path: string) => Promise<void>,
): Promise<void> {
  const listener = createServer(script);
  const scripted = join(directory, 'scripted');
  await new Promise<void>((resolve) => listener.listen(scripted, resolve));
  try {
    await body(scripted);
  } finally {
    listener.close();
  }
}

describe('connectQmp', () => {
  test('takes the greeting and negotiates', async () => {
    const client = await connectQmp(path);
    expect(client.greeting).toEqual({
      version: { major: 7, minor: 2, micro: 22 },
      package: DEFAULT_QMP_SETTINGS.package,
      capabilities: ['oob'],
    });
    expect(await client.execute('query-balloon')).toEqual({ actual: 536870912 });
    await client.close();
  });

  test('may leave negotiation to the caller', async () => {
    const client = await connectQmp(path, { negotiate: false });
    await expect(client.execute('query-balloon')).rejects.toThrow(/Expecting capabilities/);
    await client.close();
  });

  test('rejects when nobody listens', async () => {
    const nowhere = connectQmp(join(directory, 'nowhere'));
    await expect(nowhere).rejects.toBeInstanceOf(QmpConnectionError);
  });

  test.each(['{"hello": 1}', '[]', 'HTTP/1.1 400\r\n\r\n'])(
    'rejects a server that sends %s',
    (text) =>
      withScript(
        (socket) => socket.end(text),
        async (scripted) => {
          await expect(connectQmp(scripted)).rejects.toBeInstanceOf(QmpConnectionError);
        },
      ),
  );
});

describe('execute', () => {
  test('rejects with the class and the text of the error', async () => {
    const client = await connectQmp(path);
    const error = await client.execute('qom-get', { path: 'x', property: 'y' }).catch((e) => e);
    expect(error).toBeInstanceOf(QmpError);
    expect([error.errorClass, error.desc]).toEqual(['DeviceNotFound', "Device 'x' not found"]);
    await client.close();
  });

  test('commands under way at once get their own replies', async () => {
    const client = await connectQmp(path);
    const replies = await Promise.all([
      client.execute('query-status'),
      client.execute('query-kvm'),
      client.execute('query-memory-devices'),
    ]);
    expect(replies).toEqual([
      { status: 'running', singlestep: false, running: true },
      { enabled: false, present: true },
      [],
    ]);
    await client.close();
  });

  test('integers stay exact in both directions', async () => {
    const client = await connectQmp(path);
    const stats = (await client.execute('qom-get', {
      path: 'balloon0',
      property: 'guest-stats',
    })) as { stats: Record<string, PlainJson> };
    expect(stats.stats['stat-free-memory']).toBe(18446744073709551615n);
    await client.execute('balloon', { value: 2n ** 62n });
    await client.close();
  });

  test('is rejected when the connection ends, then and later', async () => {
    const client = await connectQmp(path);
    const underWay = client.execute('query-status');
    const closing = client.close();
    await expect(underWay).rejects.toBeInstanceOf(QmpConnectionError);
    await closing;
    await expect(client.execute('query-status')).rejects.toBeInstanceOf(QmpConnectionError);
  });
});

describe('events', () => {
  test('come with their data and time', async () => {
    const client = await connectQmp(path);
    const received: QmpEvent[] = [];
    const unsubscribe = client.onEvent((event) => received.push(event));
    machine.changeBalloon(4096);
    await client.execute('query-kvm');
    expect(received).toEqual([
      { event: 'BALLOON_CHANGE', data: { actual: 4096 }, timestampUs: 1_795_161_923_000_000 },
    ]);
    unsubscribe();
    machine.stop();
    await client.execute('query-kvm');
    expect(received).toHaveLength(1);
    await client.close();
  });

  test('can be iterated over until the connection ends', async () => {
    const client = await connectQmp(path);
    const names: string[] = [];
    const reading = (async () => {
      for await (const { event } of client.events()) {
        names.push(event);
        if (event === 'RESUME') void client.close();
      }
    })();
    await client.execute('stop');
    await client.execute('cont').catch(() => {});
    await reading;
    expect(names).toEqual(['STOP', 'RESUME']);
  });
});

describe('sendRaw', () => {
  test('what has no id of ours goes to onReply, faults included', async () => {
    const client = await connectQmp(path);
    const replies: unknown[] = [];
    client.onReply((reply) => replies.push(reply));
    client.sendRaw('{"execute": "query-memory-devices", "id": "mine"} not\n');
    client.sendRaw(Buffer.from("{'execute': 'query-kvm', 'id': {'__proto__': 1.5}}"));
    await client.execute('query-kvm');
    const id = Object.fromEntries([['__proto__', 1.5]]);
    expect(replies).toEqual([
      { return: [], id: 'mine' },
      { error: { class: 'GenericError', desc: "JSON parse error, invalid keyword 'not'" } },
      { return: { enabled: false, present: true }, id },
    ]);
    await client.close();
  });
});
