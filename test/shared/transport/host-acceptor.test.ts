import { beforeEach, describe, expect, test } from 'vitest';
import {
  HELLO_TIMEOUT_MS,
  MAX_GUEST_PAGES,
  MAX_RAM_REGIONS,
  MAX_RETAINED_MESSAGES,
} from '../../../shared/limits.ts';
import { writePairs } from '../../../shared/protocol/bodies.ts';
import type { ProtocolErrorName } from '../../../shared/protocol/errors.ts';
import { PROTOCOL_ERRORS, ProtocolError } from '../../../shared/protocol/errors.ts';
import type { Hello, Message } from '../../../shared/protocol/messages.ts';
import { Op } from '../../../shared/protocol/messages.ts';
import { makeHello } from '../../../shared/transport/hello.ts';
import type { Link, LinkEnd } from '../../../shared/transport/link.ts';
import { REGIONS, spell, TestGuest, TestWorld } from './harness.ts';

let world: TestWorld;

/** A guest that sends what the test says. */
class RawGuest {
  readonly link: Link;
  readonly heard: Message[] = [];
  readonly ends: LinkEnd[] = [];

  constructor() {
    this.link = world.dial();
    this.link.start({
      onMessage: (message) => this.heard.push([...message]),
      onEnd: (end) => this.ends.push(end),
    });
  }

  send(...messages: Message[]): this {
    for (const message of messages) this.link.send(message);
    world.clock.advanceBy(0);
    return this;
  }

  /** The host closed with this error: message, close code, reason and counter by one name. */
  expectRefused(error: ProtocolErrorName): void {
    const { close } = PROTOCOL_ERRORS[error];
    expect(this.heard.at(-1)?.slice(0, 3)).toEqual([Op.error, close, error]);
    expect(this.ends).toEqual([{ code: close, reason: error, byPeer: true }]);
    expect(world.hostCounters.get(error)).toBe(1);
  }
}

const hello = (overrides: Partial<Parameters<typeof makeHello>[0]> = {}): Hello =>
  makeHello({ guestId: 'vm', epoch: 1, session: '', received: 0, regions: REGIONS, ...overrides });
const status = (value: number): Message => [Op.status, value];
const region = (start: number, count: number): { start: number; count: number } => ({
  start,
  count,
});

beforeEach(() => {
  world = new TestWorld();
});

describe('session', () => {
  test('a hello is welcomed, the owner gets the connection', () => {
    const raw = new RawGuest().send(hello());
    expect(raw.heard).toEqual([[Op.welcome, 1, 's1', false, 0]]);
    const connection = world.owner.connection('vm');
    expect(connection.state).toBe('open');
    expect(connection.hello).toEqual({
      guestId: 'vm',
      epoch: 1,
      session: '',
      received: 0,
      regions: [region(0, 65_536)],
    });
    expect(world.acceptor.pendingCount).toBe(0);
  });

  test('a silent peer is closed with HELLO_TIMEOUT_MS', () => {
    const raw = new RawGuest();
    world.clock.advanceBy(HELLO_TIMEOUT_MS - 1);
    expect([raw.ends, world.acceptor.pendingCount]).toEqual([[], 1]);
    world.clock.advanceBy(1);
    raw.expectRefused('HELLO_TIMEOUT_MS');
    expect(world.acceptor.pendingCount).toBe(0);
  });

  test.each<[string, Message, ProtocolErrorName]>([
    ['something else first', status(1), 'bad-hello'],
    ['an acknowledgement first', [Op.ack, 0], 'bad-hello'],
    ['a hello of version 2', [...hello().with(1, 2)] as unknown as Hello, 'unsupported-version'],
    ['an epoch above 2^53', [...hello().with(3, 0x20_0000)] as unknown as Hello, 'bad-hello'],
    ['no RAM', hello({ regions: new Uint8Array() }), 'bad-ram'],
    ['half a region', hello({ regions: new Uint8Array(12) }), 'bad-ram'],
    ['an empty region', hello({ regions: writePairs([region(0, 0)]) }), 'bad-ram'],
    ['overlapping', hello({ regions: writePairs([region(0, 2), region(1, 2)]) }), 'bad-ram'],
    ['not sorted', hello({ regions: writePairs([region(8, 2), region(1, 2)]) }), 'bad-ram'],
    [
      'too many pages',
      hello({ regions: writePairs([region(0, MAX_GUEST_PAGES), region(2 ** 30, 1)]) }),
      'bad-ram',
    ],
    [
      'too many regions',
      hello({
        regions: writePairs(
          Array.from({ length: MAX_RAM_REGIONS + 1 }, (_, i) => region(2 * i, 1)),
        ),
      }),
      'bad-ram',
    ],
  ])('%s is refused', (_name, message, error) => {
    new RawGuest().send(message).expectRefused(error);
    expect(world.owner.events).toEqual([]);
  });

  test('as much RAM in as many regions as allowed is admitted', () => {
    const each = MAX_GUEST_PAGES / MAX_RAM_REGIONS;
    const regions = Array.from({ length: MAX_RAM_REGIONS }, (_, i) => region(i * each, each));
    const raw = new RawGuest().send(hello({ regions: writePairs(regions) }));
    expect(raw.ends).toEqual([]);
  });

  test('a frame before the hello that breaks the schema is no hello', () => {
    const raw = new RawGuest().send([Op.pause]);
    expect(raw.ends).toEqual([{ code: 4000, reason: 'bad-hello', byPeer: true }]);
  });

  test('a second hello closes', () => {
    const raw = new RawGuest().send(hello());
    raw.send(hello()).expectRefused('bad-hello');
    expect(world.owner.events).toEqual(['power-on vm s1', 'end vm 4000 bad-hello']);
  });

  test('a guest that sends before its welcome is served in order', () => {
    new RawGuest().send(hello(), status(1), status(3));
    expect(world.owner.received).toEqual([status(1), status(3)].map(spell));
  });
});

describe('resume', () => {
  test('the welcome tells what the host has, then comes what the guest lacks', () => {
    const first = new RawGuest().send(hello(), status(1), status(3));
    for (const value of [1, 3]) world.owner.session('vm').send([Op.statusValue, value, true]);
    first.link.terminate();
    world.clock.advanceBy(0);
    const second = new RawGuest().send(hello({ session: 's1', received: 1 }));
    expect(second.heard).toEqual([
      [Op.welcome, 1, 's1', true, 2],
      [Op.statusValue, 3, true],
    ]);
  });

  test('over a live link: the older one ends with replaced, its late messages do not count', () => {
    const first = new RawGuest().send(hello(), status(1));
    first.link.send(status(2));
    const second = new RawGuest();
    second.link.send(hello({ session: 's1', received: 0 }));
    world.clock.advanceBy(0);
    expect(first.ends.at(-1)?.reason).toBe('replaced');
    expect(world.owner.events).toEqual(['power-on vm s1', 'end vm 4005 replaced', 'resume vm s1']);
    const [welcome] = second.heard;
    expect(welcome[4]).toBe(world.owner.received.length);
  });

  test('counts beyond what was sent are session-mismatch, the session survives', () => {
    const first = new RawGuest().send(hello());
    first.link.terminate();
    world.clock.advanceBy(0);
    new RawGuest().send(hello({ session: 's1', received: 7 })).expectRefused('session-mismatch');
    const again = new RawGuest().send(hello({ session: 's1', received: 0 }));
    expect(again.heard).toEqual([[Op.welcome, 1, 's1', true, 0]]);
  });

  test('an impossible acknowledgement closes with session-mismatch', () => {
    new RawGuest().send(hello(), [Op.ack, 1]).expectRefused('session-mismatch');
  });
});

describe('while open', () => {
  test('an error of the device closes with its name, the session is detached', () => {
    world.owner.onMessage = () => {
      throw new ProtocolError('QUEUE_CREDIT', 'queue 0');
    };
    new RawGuest().send(hello(), [Op.avail, 0, 0, REGIONS, REGIONS]).expectRefused('QUEUE_CREDIT');
    expect(world.owner.session('vm').attached).toBe(false);
    expect(world.owner.events.at(-1)).toBe('end vm 4008 QUEUE_CREDIT');
  });

  test('errors that are not the peer’s are not hidden', () => {
    world.owner.onMessage = () => {
      throw new Error('our own bug');
    };
    expect(() => new RawGuest().send(hello(), status(1))).toThrow('our own bug');
  });

  test('a frame that was dropped counts, so both sides agree after a reconnect', () => {
    const first = new RawGuest().send(hello(), [Op.pause], status(1));
    expect(world.owner.session('vm').received).toBe(2);
    expect(first.heard.map(([op]) => op)).toEqual([Op.welcome, Op.error]);
  });

  test('close tells the owner at once and the guest in order; both ends only once', () => {
    const raw = new RawGuest().send(hello());
    const connection = world.owner.connection('vm');
    world.owner.session('vm').send([Op.powerOff, 'quit']);
    connection.close('power-off', 'as asked');
    connection.close('replaced');
    connection.terminate();
    expect(world.owner.events).toEqual(['power-on vm s1', 'end vm 4015 power-off']);
    world.clock.advanceBy(0);
    expect(raw.heard.map(([op]) => op)).toEqual([Op.welcome, Op.powerOff, Op.error]);
    raw.expectRefused('power-off');
    expect(world.owner.events).toHaveLength(2);
  });

  test('pause holds the guest’s messages back', () => {
    const raw = new RawGuest().send(hello());
    world.owner.connection('vm').pause();
    raw.send(status(1));
    expect(world.owner.received).toEqual([]);
    world.owner.connection('vm').resume();
    world.clock.advanceBy(0);
    expect(world.owner.received).toEqual([spell(status(1))]);
  });

  test('a session that overflowed cannot be resumed: the guest is told to begin anew', () => {
    const guest = new TestGuest(world);
    guest.connection.start();
    world.clock.advanceBy(0);
    world.links[0].terminate();
    world.clock.advanceBy(0);
    const session = world.owner.session('vm');
    for (let count = 0; count <= MAX_RETAINED_MESSAGES; count++) session.send([Op.run]);
    world.clock.advanceBy(30_000);
    expect(world.owner.events).toContain('failed s1 MAX_RETAINED_MESSAGES');
    expect(guest.events).toEqual([
      'power-on',
      'lost terminated',
      'lost MAX_RETAINED_MESSAGES',
      'power-on',
    ]);
  });

  test('closing the acceptor tells every link, those without a hello too', () => {
    const pending = new RawGuest();
    const open = new RawGuest().send(hello());
    world.acceptor.close('host-going');
    world.clock.advanceBy(0);
    for (const raw of [pending, open]) {
      expect(raw.ends).toEqual([{ code: 1001, reason: 'host-going', byPeer: true }]);
    }
    expect(world.owner.events).toEqual(['power-on vm s1', 'end vm 1001 host-going']);
    expect(world.clock.nextDueMs()).toBeUndefined();
  });
});
