import { beforeEach, describe, expect, test } from 'vitest';
import { Prng } from '../../../shared/lib/prng.ts';
import {
  HELLO_TIMEOUT_MS,
  RECONNECT_FIRST_MS,
  RECONNECT_MAX_MS,
  RESUME_WINDOW_MS,
} from '../../../shared/limits.ts';
import type { GuestToHost, HostToGuest, Message } from '../../../shared/protocol/messages.ts';
import { Op } from '../../../shared/protocol/messages.ts';
import { GuestConnection } from '../../../shared/transport/guest-connection.ts';
import type { Link } from '../../../shared/transport/link.ts';
import { REGIONS, spell, TestGuest, TestWorld } from './harness.ts';

let world: TestWorld;
let guest: TestGuest;

beforeEach(() => {
  world = new TestWorld();
  guest = new TestGuest(world);
});

const status = (value: number): GuestToHost => [Op.status, value];
const statusValue = (value: number): HostToGuest => [Op.statusValue, value, true];

/** A host that does what a test says: its ends of the links dialled, and what came in on them. */
function scriptedHost({ epoch = 1 } = {}): {
  guest: TestGuest;
  hosts: Link[];
  heard: Message[];
} {
  const heard: Message[] = [];
  const hosts: Link[] = [];
  const dial = (): Link => {
    const [guestSide, hostSide] = world.pair();
    hostSide.start({ onMessage: (message) => heard.push([...message]), onEnd: () => {} });
    hosts.push(hostSide);
    return guestSide;
  };
  return { guest: new TestGuest(world, { epoch, dial }), hosts, heard };
}

describe('handshake', () => {
  test('idle until started, then hello and a new session', () => {
    expect(guest.connection.state).toBe('idle');
    guest.connection.start();
    expect(guest.connection.state).toBe('connecting');
    world.clock.advanceBy(0);
    expect(guest.connection.state).toBe('open');
    expect(guest.events).toEqual(['power-on']);
    expect(world.owner.events).toEqual(['power-on vm s1']);
  });

  test('the hello carries version, id, both halves of the epoch and the regions', () => {
    const { guest: scripted, heard } = scriptedHost({ epoch: 0x1a * 2 ** 32 + 0xfffffffe });
    scripted.connection.start();
    world.clock.advanceBy(0);
    expect(heard).toEqual([[Op.hello, 1, 'vm', 0x1a, 0xfffffffe, '', 0, REGIONS]]);
  });

  test('messages flow both ways once open', () => {
    guest.connection.start();
    world.clock.advanceBy(0);
    guest.connection.send(status(1));
    world.owner.session('vm').send(statusValue(1));
    world.clock.advanceBy(0);
    expect(world.owner.received).toEqual([spell(status(1))]);
    expect(guest.received).toEqual([spell(statusValue(1))]);
  });

  test('no welcome in time: the link is cut and dialled again', () => {
    const { guest: silent, hosts } = scriptedHost();
    silent.connection.start();
    world.clock.advanceBy(0);
    expect(silent.connection.state).toBe('handshaking');
    world.clock.advanceBy(HELLO_TIMEOUT_MS);
    expect(silent.connection.state).toBe('waiting');
    expect(silent.events).toEqual(['lost HELLO_TIMEOUT_MS']);
    expect(hosts).toHaveLength(1);
    world.clock.advanceBy(RECONNECT_FIRST_MS);
    expect(silent.connection.state).toBe('handshaking');
  });

  test('a link that never opens is given up after the same time', () => {
    const never = new TestGuest(world, { dial: () => deadLink() });
    never.connection.start();
    world.clock.advanceBy(HELLO_TIMEOUT_MS);
    expect(never.connection.state).toBe('waiting');
  });

  test.each([
    ['a message before the welcome', [Op.statusValue, 1, true], 'bad-schema'],
    ['a welcome of another version', [Op.welcome, 2, 's', false, 0], 'unsupported-version'],
  ] as const)('%s ends the connection for good', (_name, message, error) => {
    const { guest: scripted, hosts } = scriptedHost();
    scripted.connection.start();
    hosts[0].send(message);
    world.clock.advanceBy(0);
    expect(scripted.events).toEqual([`refused ${error}`, 'closed']);
  });

  test('a host that resumes what was not asked for is taken for confused: power-on next', () => {
    const { guest: scripted, hosts } = scriptedHost();
    scripted.connection.start();
    hosts[0].send([Op.welcome, 1, 'other', true, 0]);
    world.clock.advanceBy(0);
    expect(scripted.events).toEqual(['lost session-mismatch']);
  });
});

function deadLink(): Link {
  return {
    start: () => {},
    send: () => {},
    sendFrame: () => {},
    close: () => {},
    terminate: () => {},
    bufferedBytes: 0,
    pause: () => {},
    resume: () => {},
  };
}

describe('the link is lost', () => {
  beforeEach(() => {
    guest.connection.start();
    world.clock.advanceBy(0);
  });

  test('resume: what was sent meanwhile arrives, no power-on', () => {
    world.links[0].terminate();
    world.clock.advanceBy(0);
    guest.connection.send(status(1));
    world.owner.session('vm').send(statusValue(2));
    expect(guest.connection.state).toBe('waiting');
    world.clock.advanceBy(RECONNECT_FIRST_MS);
    expect(guest.events).toEqual(['power-on', 'lost terminated', 'resumed']);
    expect(world.owner.received).toEqual([spell(status(1))]);
    expect(guest.received).toEqual([spell(statusValue(2))]);
    expect(world.owner.events.at(-1)).toBe('resume vm s1');
  });

  test('bufferedBytes tells producers to stop while there is no link', () => {
    world.links[0].terminate();
    world.clock.advanceBy(0);
    guest.connection.send(status(1));
    expect(guest.connection.bufferedBytes).toBe(3);
  });

  test('a host that forgot the session: power-on, what was sent before is void', () => {
    world.links[0].terminate();
    world.clock.advanceBy(0);
    guest.connection.send(status(1));
    world.owner.known.clear();
    world.clock.advanceBy(RECONNECT_FIRST_MS);
    expect(guest.events).toEqual(['power-on', 'lost terminated', 'power-on']);
    expect(world.owner.received).toEqual([]);
    guest.connection.send(status(2));
    world.clock.advanceBy(0);
    expect(world.owner.received).toEqual([spell(status(2))]);
  });

  test('counts that do not fit: session-mismatch, then a power-on', () => {
    world.links[0].terminate();
    world.clock.advanceBy(0);
    const known = world.owner.known.get('vm');
    if (known?.session === undefined) throw new Error('no session');
    // A host restored from an older snapshot: it lacks messages that it had acknowledged.
    known.session.attach({ sendFrame: () => {}, bufferedBytes: 0 }, 0);
    for (let count = 0; count < 3; count++) known.session.receive(status(1));
    known.session.detach();
    world.clock.advanceBy(2 * RECONNECT_MAX_MS);
    expect(guest.events).toEqual([
      'power-on',
      'lost terminated',
      'lost session-mismatch',
      'power-on',
    ]);
  });

  test('a frame the guest had to drop counts: the host does not send it again', () => {
    const { guest: scripted, hosts, heard } = scriptedHost();
    scripted.connection.start();
    hosts[0].send([Op.welcome, 1, 's', false, 0]);
    hosts[0].send(statusValue(1));
    hosts[0].sendFrame(Uint8Array.of(0x91, Op.statusValue));
    world.clock.advanceBy(0);
    hosts[0].terminate();
    world.clock.advanceBy(RECONNECT_FIRST_MS);
    const hellos = heard.filter(([op]) => op === Op.hello);
    expect(hellos.at(-1)).toEqual([Op.hello, 1, 'vm', 0, 1, 's', 2, REGIONS]);
  });

  test('a pause outlives the link and does not stop the handshake', () => {
    guest.connection.pause();
    world.links[0].terminate();
    world.clock.advanceBy(RECONNECT_FIRST_MS);
    expect(guest.connection.state).toBe('open');
    world.owner.session('vm').send(statusValue(1));
    world.clock.advanceBy(10);
    expect(guest.received).toEqual([]);
    guest.connection.resume();
    world.clock.advanceBy(0);
    expect(guest.received).toEqual([spell(statusValue(1))]);
  });
});

describe('back-off', () => {
  /** Times between a loss and the next dial, of a host that is not there. */
  function waits(seed: number, count: number): number[] {
    const dialled: number[] = [];
    const lost: number[] = [];
    const connection = new GuestConnection({
      clock: world.clock,
      prng: new Prng(seed),
      dial: () => {
        dialled.push(world.clock.now());
        const [guestSide, hostSide] = world.pair();
        hostSide.terminate();
        return guestSide;
      },
      guestId: 'vm',
      epoch: 1,
      regions: REGIONS,
      handlers: {
        onPowerOn: () => {},
        onResumed: () => {},
        onMessage: () => {},
        onLost: (_end, retryMs) => lost.push(retryMs),
        onRefused: () => {},
        onClosed: () => {},
      },
    });
    connection.start();
    world.clock.advanceBy((count + 1) * RECONNECT_MAX_MS);
    const between = dialled.slice(1).map((atMs, index) => atMs - dialled[index]);
    expect(between.slice(0, count)).toEqual(lost.slice(0, count));
    return between.slice(0, count);
  }

  test('doubles from 100 ms to 5 s, each between half and all of it', () => {
    const fullMs = [100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000];
    for (const [index, waitMs] of waits(1, fullMs.length).entries()) {
      expect(waitMs).toBeGreaterThanOrEqual(fullMs[index] / 2);
      expect(waitMs).toBeLessThan(fullMs[index]);
    }
  });

  test('differs with the seed and not without', () => {
    expect(waits(1, 5)).toEqual(waits(1, 5));
    expect(waits(1, 5)).not.toEqual(waits(2, 5));
  });

  test('starts again at the first wait after a connection was open', () => {
    guest.connection.start();
    for (let round = 0; round < 8; round++) {
      world.clock.advanceBy(RECONNECT_FIRST_MS);
      expect(guest.connection.state).toBe('open');
      world.links.at(-1)?.terminate();
      world.clock.advanceBy(0);
    }
  });
});

describe('final answers', () => {
  test('a second guest of the same id and epoch is refused with the reason', () => {
    guest.connection.start();
    world.clock.advanceBy(0);
    guest.connection.send(status(0));
    world.clock.advanceBy(0);
    const second = new TestGuest(world);
    second.connection.start();
    world.clock.advanceBy(RESUME_WINDOW_MS);
    expect(second.events).toEqual(['refused duplicate-guest', 'closed']);
    expect(second.refusals).toEqual([
      { error: 'duplicate-guest', code: 4003, text: 'a guest of this id and epoch is connected' },
    ]);
    expect(guest.events).toEqual(['power-on']);
  });

  test('a later guest of the same id takes over, the older one stops', () => {
    guest.connection.start();
    world.clock.advanceBy(0);
    const later = new TestGuest(world, { epoch: 2 });
    later.connection.start();
    world.clock.advanceBy(0);
    expect(later.events).toEqual(['power-on']);
    expect(guest.events).toEqual(['power-on', 'refused replaced', 'closed']);
    const stale = new TestGuest(world, { epoch: 1 });
    stale.connection.start();
    world.clock.advanceBy(0);
    expect(stale.events).toEqual(['refused stale-epoch', 'closed']);
  });

  test('powered off by the host', () => {
    guest.connection.start();
    world.clock.advanceBy(0);
    world.owner.session('vm').send([Op.powerOff, 'host-qmp-quit']);
    world.owner.connection('vm').close('power-off');
    world.clock.advanceBy(0);
    expect(guest.received).toEqual([spell([Op.powerOff, 'host-qmp-quit'])]);
    expect(guest.events).toEqual(['power-on', 'refused power-off', 'closed']);
  });
});

describe('close', () => {
  test('says bye, ends the link in order, and is final', () => {
    guest.connection.start();
    world.clock.advanceBy(0);
    guest.connection.close('powering down');
    guest.connection.close('twice');
    expect(guest.connection.state).toBe('closing');
    world.clock.advanceBy(RESUME_WINDOW_MS);
    expect(guest.connection.state).toBe('closed');
    guest.connection.close('after the end');
    expect(guest.events).toEqual(['power-on', 'closed']);
    expect(world.owner.received).toEqual([spell([Op.bye, 'powering down'])]);
    expect(world.owner.events.at(-1)).toBe('end vm 1000 guest-gone');
  });

  test.each(['idle', 'connecting', 'waiting'])('in %s there is no one to say bye to', (state) => {
    if (state !== 'idle') guest.connection.start();
    if (state === 'waiting') {
      world.clock.advanceBy(0);
      world.links[0].terminate();
      world.clock.advanceBy(0);
    }
    expect(guest.connection.state).toBe(state);
    guest.connection.close('');
    world.clock.advanceBy(RESUME_WINDOW_MS);
    expect(guest.connection.state).toBe('closed');
    expect(guest.events.filter((event) => event === 'closed')).toHaveLength(1);
    expect(world.owner.received).toEqual([]);
  });

  test('a reason longer than a text may be is cut at a character', () => {
    guest.connection.start();
    world.clock.advanceBy(0);
    guest.connection.close('é'.repeat(200));
    world.clock.advanceBy(0);
    expect(world.owner.received).toEqual([spell([Op.bye, 'é'.repeat(128)])]);
  });
});

test('a guest sends only once it was powered on', () => {
  expect(() => guest.connection.send(status(1))).toThrow(/powered on/);
  guest.connection.start();
  expect(() => guest.connection.start()).toThrow(/started once/);
});
