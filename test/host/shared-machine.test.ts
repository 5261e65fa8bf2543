import { once } from 'node:events';
import { connect as connectSocket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { answerHostRequest } from '../../host/control/host-verbs.ts';
import { type RunningHost, type StartHostOptions, startHost } from '../../host/start-host.ts';
import type { Log } from '../../shared/lib/log.ts';
import {
  MAX_CONNECTIONS,
  MAX_GUESTS,
  MAX_QMP_NESTING,
  MAX_QMP_REQUEST_BYTES,
  MAX_TICKETS,
} from '../../shared/limits.ts';
import { writePairs } from '../../shared/protocol/bodies.ts';
import { encode } from '../../shared/protocol/codec.ts';
import { type Message, Op, SUBPROTOCOL } from '../../shared/protocol/messages.ts';
import { makeHello } from '../../shared/transport/hello.ts';
import { ask } from '../shared/transport/ws-harness.ts';

/** A host as a service on a machine that others use: what it tells of itself and of its peers. */
let running: RunningHost | undefined;
afterEach(() => running?.close());

const TOKEN = 'a-token-that-must-not-be-seen';
const plain = { Upgrade: undefined, Connection: 'close' };

async function start(options: Partial<StartHostOptions> = {}): Promise<RunningHost> {
  running = await startHost({ listen: { host: '127.0.0.1', port: 0 }, ...options });
  return running;
}

const portOf = ({ url }: RunningHost): number => Number(new URL(url).port);

/** Log lines as text, as a service manager would keep them. */
function textLog(): { log: Log; lines: string[] } {
  const lines: string[] = [];
  const line = (fields: object, message: string): void => {
    lines.push(JSON.stringify({ ...fields, message }));
  };
  return { log: { debug: line, info: line, warn: line, error: line }, lines };
}

async function guestOf(host: RunningHost, options: object = {}): Promise<WebSocket> {
  const socket = new WebSocket(host.url, [SUBPROTOCOL], options);
  socket.on('error', () => {});
  await once(socket, 'open');
  return socket;
}

const hello = makeHello({
  guestId: 'vm0',
  epoch: 1,
  session: '',
  received: 0,
  regions: writePairs([{ start: 0, count: 16_384 }]),
});
const say = (socket: WebSocket, ...messages: Message[]): void => {
  for (const message of messages) socket.send(encode(message));
};

describe('GET /health', () => {
  it('reports event-loop delay, memory, and how full each limit is', async () => {
    const host = await start();
    const socket = await guestOf(host);
    say(socket, hello);
    await once(socket, 'message');
    const answer = await ask(portOf(host), { path: '/health', headers: plain });
    expect(answer.status).toBe(200);
    expect(answer.headers['content-type']).toBe('application/json');
    expect(answer.headers['cache-control']).toBe('no-store');
    const health = JSON.parse(answer.body);
    expect(health).toMatchObject({
      status: 'ok',
      limits: {
        MAX_CONNECTIONS: { now: 2, max: MAX_CONNECTIONS },
        MAX_PENDING_HANDSHAKES: { now: 0, max: 64 },
        MAX_GUESTS: { now: 1, max: MAX_GUESTS },
        MAX_HOST_PAGES: { now: 16_384 },
      },
    });
    expect(health.memory.heapBytes).toBeGreaterThan(0);
    expect(health.memory.heapLimitBytes).toBeGreaterThan(health.memory.heapBytes);
    for (const name of ['mean', 'p99', 'max']) {
      expect(health.eventLoopDelayMs[name]).toBeGreaterThanOrEqual(0);
    }
    socket.terminate();
  });

  it('shows how long the event loop was kept from its work', async () => {
    const host = await start();
    const untilMs = performance.now() + 150;
    while (performance.now() < untilMs);
    await expect.poll(() => host.health().eventLoopDelayMs.max).toBeGreaterThan(50);
  });

  it('is told to a GET alone, and only to who has the token', async () => {
    const host = await start({ token: TOKEN });
    const asked = (method: string, Authorization?: string) =>
      ask(portOf(host), { path: '/health', method, headers: { ...plain, Authorization } });
    expect((await asked('GET')).body).toMatch(/^unauthorized: /);
    expect((await asked('POST', `Bearer ${TOKEN}`)).body).toMatch(/^bad-method: /);
    expect((await asked('GET', `Bearer ${TOKEN}`)).status).toBe(200);
  });

  it('is what the control channel answers to health', async () => {
    const host = await start();
    const { vmm, transportCounters } = host.host;
    const controlled = { ...host, vmm, transportCounters };
    const health = answerHostRequest(controlled, { verb: 'health' });
    expect(health).toMatchObject({ status: 'ok', limits: { MAX_GUESTS: { now: 0 } } });
  });
});

describe('counters', () => {
  it('are shown by the control channel, each refusal under its name', async () => {
    const host = await start();
    await ask(portOf(host), { path: '/x', headers: plain });
    const socket = await guestOf(host);
    say(socket, [Op.status, 0]);
    await once(socket, 'close');
    const { vmm, transportCounters } = host.host;
    const request = { verb: 'counters' } as const;
    expect(answerHostRequest({ ...host, vmm, transportCounters }, request)).toMatchObject({
      transport: { 'bad-path': 1, 'bad-hello': 1, MAX_IDLE_MS: 0, connections_opened: 2 },
      vmm: { guests_added: 0 },
    });
  });

  it('have the limits of QMP too, of all guests together, also after they have gone', async () => {
    const host = await start({ qmpTcp: { host: '127.0.0.1', port: 0 } });
    const socket = await guestOf(host);
    say(socket, hello);
    await expect.poll(() => host.list()[0]?.qmp).toHaveLength(1);
    const port = Number(host.list()[0]?.qmp?.[0]?.split(':')[1]);
    const client = connectSocket(port, '127.0.0.1').setEncoding('latin1');
    client.write('['.repeat(MAX_QMP_NESTING + 1));
    client.end(`"${'x'.repeat(MAX_QMP_REQUEST_BYTES)}`);
    const replies: string[] = [];
    client.on('data', (text: string) => replies.push(text));
    await once(client, 'close');
    expect(replies.join('')).toMatch(
      /nesting depth limit exceeded[\s\S]*token size limit exceeded/,
    );
    say(socket, [Op.bye, 'the end']);
    await expect.poll(() => host.list()).toEqual([]);
    const { vmm, transportCounters } = host.host;
    const request = { verb: 'counters' } as const;
    expect(answerHostRequest({ ...host, vmm, transportCounters }, request)).toMatchObject({
      qmp: { clients: 1, MAX_QMP_NESTING: 1, MAX_QMP_REQUEST_BYTES: 1, MAX_QMP_WAITING: 0 },
    });
  });
});

describe('the verb ticket', () => {
  const controlled = (host: RunningHost) => {
    const { vmm, transportCounters } = host.host;
    return (verb: 'ticket' | 'counters') =>
      answerHostRequest({ ...host, vmm, transportCounters }, { verb }) as Record<string, unknown>;
  };

  it('gives what connects a page of an allowed origin once, and is in no log', async () => {
    const { log, lines } = textLog();
    const host = await start({ log, token: TOKEN, allowedOrigins: ['https://page.example'] });
    const control = controlled(host);
    const { ticket, validMs } = control('ticket');
    expect([ticket, validMs]).toEqual([expect.stringMatching(/^[\w-]{43}$/), 30_000]);
    const url = `${host.url}?ticket=${ticket}`;
    const socket = new WebSocket(url, [SUBPROTOCOL], { origin: 'https://page.example' });
    await once(socket, 'open');
    say(socket, hello);
    await once(socket, 'message');
    expect(host.list()).toMatchObject([{ id: 'vm0', connected: true }]);
    const { pathname, search } = new URL(url);
    const again = await ask(portOf(host), { path: pathname + search });
    expect(again.body).toMatch(/^bad-ticket: /);
    const stranger = await ask(portOf(host), { path: `${pathname}?ticket=guessed-secret` });
    expect(stranger.status).toBe(401);
    const counters = control('counters');
    expect(counters).toMatchObject({
      transport: { tickets_issued: 1, tickets_redeemed: 1, 'bad-ticket': 2, MAX_TICKETS: 0 },
    });
    socket.close(1000, 'guest-gone');
    await expect.poll(() => lines.join('')).toContain('a link ended');
    const seen = [...lines, again.body, stranger.body, JSON.stringify([counters, host.health()])];
    expect(seen.join('\n')).toContain('bad-ticket');
    for (const secret of [String(ticket), 'guessed-secret', '?ticket=']) {
      expect(seen.join('\n')).not.toContain(secret);
    }
  });

  it('says by the name of the limit that there are enough, and no two are the same', async () => {
    const control = controlled(await start({ token: TOKEN }));
    const all = Array.from({ length: MAX_TICKETS }, () => control('ticket').ticket);
    expect(new Set(all).size).toBe(MAX_TICKETS);
    expect(() => control('ticket')).toThrow(/^MAX_TICKETS: 64 of the last 30 s are not used yet$/);
    expect(control('counters')).toMatchObject({ transport: { MAX_TICKETS: 1 } });
  });

  it('says where there is no token that none is needed', async () => {
    const control = controlled(await start());
    expect(() => control('ticket')).toThrow(/^this host wants no token: /);
  });
});

describe('the log', () => {
  it('shows what a peer says escaped and cut, so that nobody forges a line', async () => {
    const { log, lines } = textLog();
    const host = await start({ log });
    const socket = await guestOf(host);
    const forged = `\n{"level":50,"message":"forged"}\u001b[2J${'x'.repeat(150)}`;
    say(socket, hello, [Op.error, 4000, 'na\nme', forged]);
    await expect.poll(() => lines.join('')).toContain('the guest reports an error');
    const line = lines.find((one) => one.includes('reports an error')) ?? '';
    const { text, name, guest } = JSON.parse(line);
    expect(text).toHaveLength('\\u000a'.length - 1 + '\\u001b'.length - 1 + 128 + '...'.length);
    expect(text).toContain('\\u000a{"level":50,"message":"forged"}\\u001b[2Jxxx');
    expect([name, guest]).toEqual(['na\\u000ame', 'vm0']);
    socket.terminate();
  });

  it('takes ten lines a second of one guest, and of one address that is refused', async () => {
    const { log, lines } = textLog();
    const host = await start({ log });
    const socket = await guestOf(host);
    say(socket, hello);
    for (let count = 0; count < 200; count++) say(socket, [Op.error, 1, 'again', '']);
    for (let count = 0; count < 30; count++) {
      await ask(portOf(host), { path: '/x', headers: plain });
    }
    const { transportCounters } = host.host;
    await expect.poll(() => transportCounters.get('messages_in')).toBe(201);
    const left = transportCounters.get('MAX_LOG_LINES_PER_SECOND');
    const written = lines.filter((line) => /again|refused/.test(line)).length;
    expect(written + left).toBe(230);
    // Two peers, and a second or a few: never all of it.
    expect(left).toBeGreaterThan(100);
    socket.terminate();
  });

  it('never has the token in it, right or wrong, nor have answers and counters', async () => {
    const { log, lines } = textLog();
    const host = await start({ log, token: TOKEN });
    const headers = { Authorization: `Bearer ${TOKEN}` };
    const answers = [
      await ask(portOf(host), { headers: { Authorization: 'Bearer wrong-secret-1234' } }),
      await ask(portOf(host), { path: '/?token=query-secret-1234', headers }),
      await ask(portOf(host), { path: '/health', headers: { ...plain, ...headers } }),
    ];
    const broken = connectSocket(portOf(host), '127.0.0.1').resume();
    broken.end(`GET /puff HTTP/9.9\r\nAuthorization: Bearer ${TOKEN}\r\n\r\n`);
    await once(broken, 'close');
    const socket = await guestOf(host, { headers });
    say(socket, hello, [Op.status, 0], hello);
    await once(socket, 'close');
    const { vmm, transportCounters } = host.host;
    const seen = [
      ...lines,
      ...answers.map(({ body }) => body),
      JSON.stringify([transportCounters.snapshot(), vmm.list(), host.health()]),
    ].join('\n');
    expect(lines.length).toBeGreaterThan(3);
    for (const secret of [TOKEN, 'wrong-secret', 'query-secret']) {
      expect(seen).not.toContain(secret);
      expect(seen).not.toContain(Buffer.from(secret).toString('base64').slice(0, 12));
    }
  });
});

describe('a port that others reach', () => {
  it('is refused by startHost itself, before anything is open', async () => {
    const open = startHost({ listen: { host: '0.0.0.0', port: 0 } });
    await expect(open).rejects.toThrow(/^other machines could reach 0\.0\.0\.0: .*token/);
  });
});
