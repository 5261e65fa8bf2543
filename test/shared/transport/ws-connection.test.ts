import { afterEach, beforeEach, expect, test } from 'vitest';
import { Prng } from '../../../shared/lib/prng.ts';
import { RealClock } from '../../../shared/lib/real-clock.ts';
import type { GuestToHost, HostToGuest } from '../../../shared/protocol/messages.ts';
import { Op } from '../../../shared/protocol/messages.ts';
import { GuestConnection } from '../../../shared/transport/guest-connection.ts';
import { HostAcceptor } from '../../../shared/transport/host-acceptor.ts';
import type { Link } from '../../../shared/transport/link.ts';
import { transportCounters } from '../../../shared/transport/transport-counters.ts';
import { dial, endpointUrl } from '../../../shared/transport/ws-client.ts';
import { WsServer } from '../../../shared/transport/ws-server.ts';
import { unusedPort } from '../../support/ports.ts';
import { REGIONS, spell, TestOwner } from './harness.ts';

/** Guest connection, acceptor and sessions over real sockets, on the machine's clock. */
const clock = new RealClock();

class Host {
  readonly owner = new TestOwner(clock);
  readonly counters = transportCounters();
  readonly acceptor = new HostAcceptor({ clock, owner: this.owner, counters: this.counters });
  readonly server = new WsServer({
    clock,
    counters: this.counters,
    onLink: (link) => this.acceptor.accept(link),
  });
}

class Guest {
  readonly events: string[] = [];
  readonly received: string[] = [];
  readonly links: Link[] = [];
  readonly connection: GuestConnection;

  constructor(url: string) {
    const options = { clock, counters: transportCounters() };
    this.connection = new GuestConnection({
      clock,
      prng: new Prng(3),
      dial: () => {
        const link = dial(url, options);
        this.links.push(link);
        return link;
      },
      guestId: 'vm',
      epoch: 1,
      regions: REGIONS,
      handlers: {
        onPowerOn: () => this.events.push('power-on'),
        onResumed: () => this.events.push('resumed'),
        onMessage: (message) => this.received.push(spell(message)),
        onLost: () => this.events.push('lost'),
        onRefused: ({ error, text }) => this.events.push(`refused ${error ?? text}`),
        onClosed: () => this.events.push('closed'),
      },
    });
  }

  /** Resolves once the guest was told `event` last. */
  async told(...events: string[]): Promise<void> {
    await expect.poll(() => this.events, { interval: 2 }).toEqual(events);
  }
}

let host: Host;
let port: number;
let guest: Guest;

beforeEach(async () => {
  host = new Host();
  port = await host.server.listen('127.0.0.1', await unusedPort());
  guest = new Guest(endpointUrl(`ws://127.0.0.1:${port}`));
});
afterEach(async () => {
  guest.connection.close('');
  await host.server.close();
});

const avail = (id: number): GuestToHost => [
  Op.avail,
  0,
  id,
  new Uint8Array(1024).fill(id),
  new Uint8Array(),
];

test('cables cut at random moments: every message once and in order, both ways', async () => {
  guest.connection.start();
  await guest.told('power-on');
  host.owner.onMessage = (message, session) => {
    if (message[0] === Op.avail) session.send([Op.used, 0, message[2], 0]);
  };
  const count = 2000;
  const cuts = new Prng(11);
  for (let id = 0; id < count; id++) {
    guest.connection.send(avail(id));
    if (id % 20 === 0) await new Promise((resolve) => setImmediate(resolve));
    if (cuts.below(200) === 0) guest.links.at(-1)?.terminate();
  }
  const used = (id: number): HostToGuest => [Op.used, 0, id, 0];
  await expect.poll(() => guest.received.length).toBe(count);
  expect(guest.received).toEqual(Array.from({ length: count }, (_, id) => spell(used(id))));
  expect(host.owner.received).toEqual(Array.from({ length: count }, (_, id) => spell(avail(id))));
  expect(guest.events.filter((event) => event === 'power-on')).toHaveLength(1);
  expect(guest.events.filter((event) => event === 'resumed').length).toBeGreaterThan(0);
});

test('the host dies and another one takes its port: the guest waits and powers on', async () => {
  guest.connection.start();
  await guest.told('power-on');
  host.acceptor.close('host-going');
  await host.server.close();
  await guest.told('power-on', 'lost');
  host = new Host();
  expect(await host.server.listen('127.0.0.1', port)).toBe(port);
  await expect.poll(() => guest.events.at(-1)).toBe('power-on');
  expect(host.owner.events).toEqual(['power-on vm s1']);
});

test('a guest that starts before its host gets through once there is one', async () => {
  await host.server.close();
  guest.connection.start();
  await guest.told('lost');
  host = new Host();
  await host.server.listen('127.0.0.1', port);
  await expect.poll(() => guest.events.at(-1)).toBe('power-on');
});

test('a refusal is final, over HTTP too', async () => {
  guest.connection.start();
  await guest.told('power-on');
  guest.connection.send([Op.status, 0]);
  await expect.poll(() => host.owner.received.length).toBe(1);
  const second = new Guest(endpointUrl(`ws://127.0.0.1:${port}`));
  second.connection.start();
  await second.told('refused duplicate-guest', 'closed');
  const lost = new Guest(`ws://127.0.0.1:${port}/elsewhere`);
  lost.connection.start();
  await lost.told('refused HTTP 404 bad-path: the path is not the endpoint', 'closed');
});

test('close: the bye arrives and the host sees an orderly end', async () => {
  guest.connection.start();
  await guest.told('power-on');
  guest.connection.close('powering down');
  await guest.told('power-on', 'closed');
  await expect.poll(() => host.owner.events.at(-1)).toBe('end vm 1000 guest-gone');
  expect(host.owner.received).toEqual([spell([Op.bye, 'powering down'])]);
});
