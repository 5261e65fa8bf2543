import { createHash } from 'node:crypto';
import { inspect } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { VirtualClock } from '../../../shared/lib/clock.ts';
import { MAX_TICKETS, TICKET_BYTES, TICKET_VALID_MS } from '../../../shared/limits.ts';
import { encode } from '../../../shared/protocol/codec.ts';
import { ENDPOINT_PATH, Op, SUBPROTOCOL } from '../../../shared/protocol/messages.ts';
import { Tickets } from '../../../shared/transport/credentials.ts';
import { judgeEnd } from '../../../shared/transport/link-end.ts';
import { transportCounters } from '../../../shared/transport/transport-counters.ts';
import { endpointUrl } from '../../../shared/transport/ws-client.ts';
import { type Answer, ask, RawPeer, TestServer } from './ws-harness.ts';

/** Tickets in the place of a token, through real sockets on a clock that the test moves. */
const TOKEN = 'correct-horse-battery-staple';
const ORIGIN = 'https://page.example';

let clock: VirtualClock;
let tickets: Tickets;
let host: TestServer;
let secrets = 0;

/** Unlike any other, and the same in every run. */
function newSecret(): Uint8Array {
  return createHash('sha256').update(`secret ${secrets++}`).digest().subarray(0, TICKET_BYTES);
}

beforeEach(async () => {
  clock = new VirtualClock();
  const counters = transportCounters();
  tickets = new Tickets({ clock, counters, newSecret });
  host = new TestServer(clock, {
    token: TOKEN,
    tickets,
    allowedOrigins: [ORIGIN],
    health: () => ({}),
    counters,
  });
  await host.start();
});
afterEach(() => host.server.close());

function issued(): string {
  const ticket = tickets.issue();
  if (ticket === undefined) throw new Error('no ticket is to be had');
  return ticket;
}

const pathWith = (ticket: string): string => `${ENDPOINT_PATH}?ticket=${ticket}`;
const upgrade = (ticket: string, headers = {}): Promise<Answer> =>
  ask(host.port, { path: pathWith(ticket), headers });

function expectBad(answer: Answer): void {
  expect([answer.status, answer.headers['www-authenticate']]).toEqual([401, 'Bearer']);
  expect(answer.body).toMatch(
    /^bad-ticket: the ticket is unknown, used before, or older than 30 s\n/,
  );
}

describe('a ticket', () => {
  test('lets a page in, which can send no token, and the link is one like any other', async () => {
    const arrival = host.nextLink();
    const url = `ws://127.0.0.1:${host.port}${pathWith(issued())}`;
    const peer = new RawPeer(new WebSocket(url, [SUBPROTOCOL], { origin: ORIGIN }));
    const heard = await arrival;
    peer.socket.on('open', () => peer.socket.send(encode([Op.status, 1])));
    await heard.until(1);
    expect(heard.messages).toEqual([[Op.status, 1]]);
    expect(host.counters.get('tickets_issued')).toBe(1);
    expect(host.counters.get('tickets_redeemed')).toBe(1);
    peer.socket.terminate();
  });

  test('lets in once: the second time it gets 401 before the handshake', async () => {
    const ticket = issued();
    expect((await upgrade(ticket)).status).toBe(101);
    expectBad(await upgrade(ticket));
    expect(host.counters.get('bad-ticket')).toBe(1);
    expect(host.links).toHaveLength(1);
  });

  test('lets in for 30 s', async () => {
    const [early, late] = [issued(), issued()];
    clock.advanceBy(TICKET_VALID_MS - 1);
    expect((await upgrade(early)).status).toBe(101);
    clock.advanceBy(1);
    expectBad(await upgrade(late));
    expect(TICKET_VALID_MS).toBe(30_000);
  });

  test.each([
    ['an empty one', ''],
    ['one that was never there', 'A'.repeat(43)],
    ['the token', TOKEN],
    ['a long one', 'x'.repeat(5000)],
    ['one with an escape', '%41'],
  ])('%s gets 401', async (_name, ticket) => {
    issued();
    expectBad(await upgrade(ticket));
    expect(host.counters.get('bad-ticket')).toBe(1);
    expect(host.links).toEqual([]);
  });

  test('part of one, one with more behind it, or in other letters gets 401', async () => {
    const ticket = issued();
    const other = ticket === ticket.toLowerCase() ? ticket.toUpperCase() : ticket.toLowerCase();
    for (const near of [ticket.slice(0, -1), `${ticket}=`, `${ticket}&x=1`, other]) {
      expectBad(await upgrade(near));
    }
    expect((await upgrade(ticket)).status).toBe(101);
  });

  test('is used up by the first upgrade that brings it, whatever else is wrong', async () => {
    const ticket = issued();
    const answer = await upgrade(ticket, { Origin: 'https://other.example' });
    expect([answer.status, answer.body.split(':')[0]]).toEqual([403, 'forbidden-origin']);
    expectBad(await upgrade(ticket, { Origin: ORIGIN }));
  });

  test('does not help a wrong one that the right token came with', async () => {
    expectBad(await upgrade('wrong', { Authorization: `Bearer ${TOKEN}` }));
  });

  test('is for upgrades at the endpoint alone, and not used up elsewhere', async () => {
    const ticket = issued();
    const plain = { Upgrade: undefined, Connection: 'close' };
    for (const [path, headers] of [
      [pathWith(ticket), plain],
      [`/health?ticket=${ticket}`, plain],
      [`/elsewhere?ticket=${ticket}`, {}],
      [`${ENDPOINT_PATH}?x=1&ticket=${ticket}`, {}],
    ] as const) {
      const answer = await ask(host.port, { path, headers });
      expect([answer.status, answer.body.split(':')[0]]).toEqual([401, 'unauthorized']);
      expect(answer.body).not.toContain(ticket);
    }
    expect((await upgrade(ticket)).status).toBe(101);
  });

  test('means nothing to a host that wants no token', async () => {
    await host.server.close();
    host = await new TestServer(clock).start();
    const answer = await upgrade('A'.repeat(43));
    expect([answer.status, answer.body.split(':')[0]]).toEqual([404, 'bad-path']);
  });
});

describe('a host', () => {
  test('has MAX_TICKETS of them outstanding, no more until one is used or too old', async () => {
    const all = Array.from({ length: MAX_TICKETS }, issued);
    expect(new Set(all).size).toBe(MAX_TICKETS);
    expect(tickets.issue()).toBeUndefined();
    expect(host.counters.get('MAX_TICKETS')).toBe(1);
    expect((await upgrade(all[7])).status).toBe(101);
    expect(issued()).toMatch(/^[\w-]{43}$/);
    expect(tickets.issue()).toBeUndefined();
    clock.advanceBy(TICKET_VALID_MS);
    expect(Array.from({ length: MAX_TICKETS }, issued)).toHaveLength(MAX_TICKETS);
  });

  test('keeps digests alone: nothing that is printed of it shows a ticket', () => {
    const ticket = issued();
    const shown = inspect(tickets, { depth: 9, showHidden: true }) + JSON.stringify(tickets);
    expect(shown).not.toContain(ticket);
    expect(shown).not.toContain(Buffer.from(ticket, 'base64url').toString('hex'));
    expect(tickets.redeem(ticket)).toBe(true);
  });
});

test('a guest of Puff takes none: its URL has no query, and 401 is final', () => {
  expect(() => endpointUrl(`ws://127.0.0.1:1${pathWith('x')}`)).toThrow(/a token is given apart/);
  const end = { code: 1006, reason: 'HTTP 401 bad-ticket', byPeer: true, httpStatus: 401 };
  expect(judgeEnd(end)).toBe('final');
});
