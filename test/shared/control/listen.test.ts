import { once } from 'node:events';
import { linkSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { createConnection, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ListenError, type ListenTarget, listen } from '../../../shared/control/listen.ts';
import { MAX_SOCKET_PATH_BYTES } from '../../../shared/limits.ts';

let directory = '';
const servers: Server[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'puff-listen-'));
});

afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.close();
    if (server.listening) await once(server, 'close');
  }
  rmSync(directory, { recursive: true });
});

async function open(target: ListenTarget): Promise<Server> {
  // Whoever looks whether somebody answers hangs up at once.
  const server = createServer((socket) => socket.on('error', () => {}).end('hello'));
  servers.push(server);
  await listen(server, target);
  return server;
}

async function refusal(target: ListenTarget): Promise<ListenError> {
  const error = await open(target).catch((thrown: unknown) => thrown);
  if (!(error instanceof ListenError)) throw new Error('it was not refused');
  expect(error.message).not.toContain('\n');
  return error;
}

/** A socket file nobody answers on: its second name survives the unlinking of the first. */
async function leaveStale(path: string): Promise<void> {
  const other = join(directory, 'other');
  const dead = createServer().listen(other);
  await once(dead, 'listening');
  linkSync(other, path);
  dead.close();
  await once(dead, 'close');
}

describe('a unix socket', () => {
  test('is the owner’s alone from the start', async () => {
    const path = join(directory, 'a');
    await open(path);
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  test('of exactly the longest path is opened, of one byte more refused', async () => {
    const longest = join(directory, 'x'.repeat(MAX_SOCKET_PATH_BYTES - directory.length - 1));
    await open(longest);
    expect(statSync(longest).isSocket()).toBe(true);
    const { code, message } = await refusal(`${longest}x`);
    expect(code).toBe('MAX_SOCKET_PATH_BYTES');
    expect(message).toContain('at most 107 bytes, this has 108; use a shorter directory');
  });

  test('the limit counts bytes, not characters', async () => {
    const path = join(directory, 'é'.repeat(60));
    expect(path.length).toBeLessThan(MAX_SOCKET_PATH_BYTES);
    expect((await refusal(path)).code).toBe('MAX_SOCKET_PATH_BYTES');
  });

  test('left behind by a killed process is replaced', async () => {
    const path = join(directory, 'stale');
    await leaveStale(path);
    await open(path);
    const [answer] = await once(createConnection(path), 'data');
    expect(String(answer)).toBe('hello');
  });

  test('that answers is left alone', async () => {
    const path = join(directory, 'live');
    await open(path);
    const { code, message } = await refusal(path);
    expect([code, message]).toEqual([
      'address-in-use',
      `cannot listen at ${path}: a process answers on it; stop that process or use another path`,
    ]);
    const [answer] = await once(createConnection(path), 'data');
    expect(String(answer)).toBe('hello');
  });

  test.each([
    ['a file', (path: string) => writeFileSync(path, '')],
    ['a link to nothing', (path: string) => symlinkSync('nowhere', path)],
  ])('is not made in place of %s', async (_what, make) => {
    const path = join(directory, 'taken');
    make(path);
    const { code, message } = await refusal(path);
    expect([code, message]).toEqual([
      'not-a-socket',
      `${path} exists and is no socket; remove it or use another path`,
    ]);
  });

  test('needs a folder', async () => {
    const missing = join(directory, 'no');
    expect((await refusal(join(missing, 'a'))).message).toBe(
      `${missing}/a: no folder ${missing}; create it first`,
    );
    const file = join(directory, 'file');
    writeFileSync(file, '');
    expect((await refusal(join(file, 'a'))).message).toBe(
      `${file}/a: ${file} is no folder; use another path`,
    );
    expect((await refusal(join(file, 'b/c'))).code).toBe('cannot-listen');
  });
});

describe('a TCP port', () => {
  test('0 takes a free one; a taken one is refused', async () => {
    const server = await open({ host: '127.0.0.1', port: 0 });
    const { port } = server.address() as { port: number };
    const { code, message } = await refusal({ host: '127.0.0.1', port });
    expect([code, message]).toEqual([
      'address-in-use',
      `cannot listen at 127.0.0.1:${port}: it is in use; stop the other process or choose another`,
    ]);
  });
});
