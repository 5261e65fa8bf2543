import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createConnection, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { ControlRequestError, LineClient } from '../../../shared/control/line-client.ts';
import { ControlError, LineServer } from '../../../shared/control/line-server.ts';
import { MAX_CONTROL_LINE_BYTES } from '../../../shared/limits.ts';

/** Server and client of the control channel over a real socket. */
const schema = z.strictObject({
  verb: z.enum(['echo', 'fail', 'wait', 'long', 'nothing']),
  text: z.string().optional(),
  id: z.unknown().optional(),
});
type Request = z.infer<typeof schema>;

let directory = '';
let path = '';
let server: LineServer<Request>;
let handled = 0;
let release: () => void = () => {};
const sockets: Socket[] = [];

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'puff-line-'));
  path = join(directory, 'ctl');
  server = new LineServer<Request>(path, schema, handle);
  handled = 0;
  await server.listen();
});

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await server.close();
  rmSync(directory, { recursive: true });
});

function handle({ verb, text: said }: Request): unknown {
  handled++;
  switch (verb) {
    case 'echo':
      return { said };
    case 'fail':
      throw new ControlError('not today');
    case 'wait':
      return new Promise<string>((resolve) => {
        release = () => resolve('waited');
      });
    case 'long':
      return 'x'.repeat(64 * 1024);
    case 'nothing':
      return undefined;
  }
}

async function rawSocket(): Promise<Socket> {
  const socket = createConnection({ path, allowHalfOpen: true });
  sockets.push(socket);
  socket.on('error', () => {});
  await once(socket, 'connect');
  return socket;
}

/** Sends text, ends the sending side and takes all answers. */
async function exchange(sent: string): Promise<unknown[]> {
  const socket = await rawSocket();
  socket.end(sent);
  const lines = (await text(socket)).split('\n').slice(0, -1);
  return lines.map((line) => JSON.parse(line));
}

describe('the server', () => {
  test('answers line by line, with the id of the request', async () => {
    const requests = [
      '{"verb": "echo", "text": "é", "id": 7}',
      '{"verb": "nothing", "id": {"any": null}}',
      '{"verb": "fail", "id": "x"}',
      '{"verb": "echo"}',
    ];
    expect(await exchange(`${requests.join('\n')}\n`)).toEqual([
      { ok: true, result: { said: 'é' }, id: 7 },
      { ok: true, result: null, id: { any: null } },
      { ok: false, error: 'not today', id: 'x' },
      { ok: true, result: {} },
    ]);
  });

  test('takes CR LF and empty lines; an unfinished line is no request', async () => {
    expect(await exchange('\r\n\n  \n{"verb": "echo"}\r\n{"verb": "echo"}')).toHaveLength(1);
  });

  test('a mistake is answered and the connection goes on', async () => {
    const answers = await exchange('{\n[]\nnull\n7\n{"verb":"no"}\n{"verb":"echo","x":1}\n');
    expect(answers).toHaveLength(6);
    for (const answer of answers) {
      expect(answer).toEqual({ ok: false, error: expect.stringMatching(/^[^\n]+$/) });
    }
    expect(answers[0]).toMatchObject({ error: expect.stringContaining('not a line of JSON') });
    expect(answers[5]).toMatchObject({ error: 'Unrecognized key: "x"' });
    expect(handled).toBe(0);
  });

  test('keeps the order when an answer takes its time', async () => {
    const client = await LineClient.connect(path);
    const order: string[] = [];
    const slow = client.request({ verb: 'wait' }).then(() => order.push('slow'));
    const quick = client.request({ verb: 'echo' }).then(() => order.push('quick'));
    const other = await LineClient.connect(path);
    await other.request({ verb: 'echo' }).then(() => order.push('other client'));
    release();
    await Promise.all([slow, quick]);
    expect(order).toEqual(['other client', 'slow', 'quick']);
    client.close();
    other.close();
  });

  test('a line over MAX_CONTROL_LINE_BYTES: its name is the answer, then the end', async () => {
    const socket = await rawSocket();
    socket.write('{"verb":"echo"}\n');
    socket.write('x'.repeat(MAX_CONTROL_LINE_BYTES + 1));
    const [first = '', second = '', rest] = (await text(socket)).split('\n');
    expect(JSON.parse(first)).toMatchObject({ ok: true });
    expect(JSON.parse(second)).toMatchObject({
      ok: false,
      error: expect.stringContaining('MAX_CONTROL_LINE_BYTES'),
    });
    expect(rest).toBe('');
    expect(server.counters.snapshot()).toMatchObject({ requests: 1, MAX_CONTROL_LINE_BYTES: 1 });
  });

  test('does not read from a client that does not read its answers', async () => {
    const socket = await rawSocket();
    const requests = 2000;
    socket.pause();
    socket.write('{"verb":"long"}\n'.repeat(requests));
    for (let turn = 0; turn < 500; turn++) await new Promise(setImmediate);
    const before = handled;
    expect(before).toBeGreaterThan(0);
    expect(before).toBeLessThan(100);
    socket.end();
    expect(await text(socket)).toHaveLength(
      requests * '{"ok":true,"result":""}\n'.length + requests * 65536,
    );
    expect(handled).toBe(requests);
  });

  test('survives clients that go away in the middle', async () => {
    for (const sent of ['{"verb":"ec', '{"verb":"long"}\n'.repeat(50), '{"verb":"wait"}\n']) {
      const socket = await rawSocket();
      socket.write(sent);
      socket.destroy();
      await once(socket, 'close');
    }
    release();
    expect(await exchange('{"verb":"echo"}\n')).toHaveLength(1);
  });

  test('close cuts its clients and removes the socket file', async () => {
    const client = await LineClient.connect(path);
    const waiting = client.request({ verb: 'wait' });
    const rejected = expect(waiting).rejects.toThrow('the control channel was closed');
    await server.close();
    await rejected;
    expect(existsSync(path)).toBe(false);
  });
});

describe('the client', () => {
  test('rejects with the server’s text, and goes on', async () => {
    const client = await LineClient.connect(path);
    await expect(client.request({ verb: 'fail' })).rejects.toThrow(ControlRequestError);
    await expect(client.request({ verb: 'fail' })).rejects.toThrow(/^not today$/);
    await expect(client.request({ verb: 'unknown' })).rejects.toThrow(/^verb: /);
    expect(await client.request({ verb: 'echo', text: 'hi' })).toEqual({ said: 'hi' });
    client.close();
  });

  test('after close, and after the server is gone, every request is rejected', async () => {
    const closed = await LineClient.connect(path);
    const waiting = closed.request({ verb: 'wait' });
    closed.close();
    await expect(waiting).rejects.toThrow('the control channel was closed');
    await expect(closed.request({ verb: 'echo' })).rejects.toThrow(
      'the control channel was closed',
    );

    const left = await LineClient.connect(path);
    await server.close();
    await expect(left.request({ verb: 'echo' })).rejects.toThrow('the control channel was closed');
  });

  test('an error that came unasked is why later requests are rejected', async () => {
    const other = join(directory, 'other');
    const refusing = createServer().listen(other);
    await once(refusing, 'listening');
    const accepted = once(refusing, 'connection') as Promise<[Socket]>;
    const client = await LineClient.connect(other);
    const [socket] = await accepted;
    socket.resume().end('{"ok":false,"error":"no room"}\n');
    // The client ends its side when it has read all of this one.
    await once(socket, 'close');
    await new Promise(setImmediate);
    await expect(client.request({ verb: 'echo' })).rejects.toThrow(/^no room$/);
    refusing.close();
  });

  test('long answers come whole', async () => {
    const client = await LineClient.connect(path);
    const answers = await Promise.all([1, 2, 3].map(() => client.request({ verb: 'long' })));
    expect(answers).toEqual([1, 2, 3].map(() => 'x'.repeat(64 * 1024)));
    client.close();
  });

  test('a socket that is not there, or nobody answers on', async () => {
    const missing = join(directory, 'missing');
    await expect(LineClient.connect(missing)).rejects.toThrow(
      `no socket ${missing}; start a host or guest with --control ${missing}`,
    );
  });
});
