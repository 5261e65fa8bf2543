import { beforeEach, describe, expect, test } from 'vitest';
import { VirtualClock } from '../../../shared/lib/clock.ts';
import { MAX_SCHEMA_ERRORS } from '../../../shared/limits.ts';
import { encode } from '../../../shared/protocol/codec.ts';
import type { Message } from '../../../shared/protocol/messages.ts';
import { Op } from '../../../shared/protocol/messages.ts';
import type { Link, LinkEnd } from '../../../shared/transport/link.ts';
import type { MemoryLinkOptions } from '../../../shared/transport/memory-link.ts';
import { memoryLinkPair } from '../../../shared/transport/memory-link.ts';
import { OUTBOUND_CUT_BYTES } from '../../../shared/transport/outbound.ts';
import { transportCounters } from '../../../shared/transport/transport-counters.ts';

const clock = { current: new VirtualClock() };

/** One end and what it was told. */
class End {
  readonly log: string[] = [];
  readonly ends: LinkEnd[] = [];
  onMessage: (message: Message) => void = () => {};

  constructor(link: Link) {
    link.start({
      onOpen: () => this.log.push('open'),
      onMessage: (message) => {
        this.log.push(String(message[1] ?? message[0]));
        this.onMessage(message);
      },
      onDropped: (op) => this.log.push(`dropped ${op}`),
      onEnd: (end) => {
        this.log.push('end');
        this.ends.push(end);
      },
    });
  }
}

let guestLink: Link;
let hostLink: Link;
let guest: End;
let host: End;

function connect(options: MemoryLinkOptions = {}): void {
  clock.current = new VirtualClock();
  [guestLink, hostLink] = memoryLinkPair(clock.current, options);
  guest = new End(guestLink);
  host = new End(hostLink);
}

const run = (): void => clock.current.advanceBy(0);
const status = (value: number): Message => [Op.status, value];
const statusValue = (value: number): Message => [Op.statusValue, value, true];

beforeEach(() => connect());

describe('delivery', () => {
  test('is never inside send, and in order after open', () => {
    guestLink.send(status(1));
    guestLink.send(status(2));
    expect(host.log).toEqual([]);
    run();
    expect(host.log).toEqual(['open', '1', '2']);
    expect(guest.log).toEqual(['open']);
  });

  test('waits until the receiver has started', () => {
    const [early, late] = memoryLinkPair(clock.current);
    new End(early);
    early.send(status(7));
    run();
    const receiver = new End(late);
    run();
    expect(receiver.log).toEqual(['open', '7']);
  });

  test('what a handler answers comes in a later turn of the same time', () => {
    host.onMessage = (message) => hostLink.send(statusValue(message[1] as number));
    guestLink.send(status(3));
    run();
    expect(guest.log).toEqual(['open', '3']);
  });

  test('bufferedBytes counts what was sent and not delivered', () => {
    guestLink.send(status(1));
    expect(guestLink.bufferedBytes).toBe(encode(status(1)).length);
    run();
    expect(guestLink.bufferedBytes).toBe(0);
  });

  test('pause keeps messages back, in the middle of a turn too; resume goes on', () => {
    host.onMessage = () => hostLink.pause();
    guestLink.send(status(1));
    guestLink.send(status(2));
    run();
    expect(host.log).toEqual(['open', '1']);
    host.onMessage = () => {};
    hostLink.resume();
    expect(host.log).toEqual(['open', '1']);
    run();
    expect(host.log).toEqual(['open', '1', '2']);
  });

  test('messages pass the checks of the receiving side', () => {
    const hostCounters = transportCounters();
    connect({ hostCounters });
    for (let count = 0; count < MAX_SCHEMA_ERRORS; count++) guestLink.send([Op.pause]);
    guestLink.send(status(1));
    run();
    expect(host.log).toEqual(['open', 'dropped 26', 'dropped 26', 'end']);
    expect(guest.log).toEqual(['open', '1008', '1008', '1008', 'end']);
    expect(guest.ends).toEqual([{ code: 1008, reason: 'wrong-direction', byPeer: true }]);
    expect(hostCounters.get('wrong-direction')).toBe(MAX_SCHEMA_ERRORS);
    expect(hostCounters.get('messages_dropped')).toBe(MAX_SCHEMA_ERRORS - 1);
  });
});

describe('ends', () => {
  test('close delivers what was sent before, then the end, to both sides once', () => {
    run();
    hostLink.send(statusValue(5));
    hostLink.close(4005, 'replaced');
    hostLink.close(1000, 'again');
    expect(host.ends).toEqual([]);
    run();
    expect(guest.log).toEqual(['open', '5', 'end']);
    expect(guest.ends).toEqual([{ code: 4005, reason: 'replaced', byPeer: true }]);
    expect(host.ends).toEqual([{ code: 4005, reason: 'replaced', byPeer: false }]);
  });

  test('after close nothing is delivered to the side that closed', () => {
    run();
    guestLink.send(status(1));
    hostLink.close(1001, 'host-going');
    guestLink.send(status(2));
    run();
    expect(host.log).toEqual(['open', 'end']);
  });

  test('terminate loses what is in flight in both directions', () => {
    run();
    guestLink.send(status(1));
    hostLink.send(statusValue(2));
    guestLink.terminate();
    run();
    expect(host.log).toEqual(['open', 'end']);
    expect(guest.log).toEqual(['open', 'end']);
    expect(host.ends).toEqual([{ code: 1006, reason: 'the link was cut', byPeer: true }]);
    expect(guest.ends).toEqual([{ code: 1006, reason: 'terminated', byPeer: false }]);
  });

  test('an end waits behind messages of a paused receiver', () => {
    run();
    hostLink.pause();
    guestLink.send(status(1));
    guestLink.close(1000, 'guest-gone');
    run();
    expect(host.log).toEqual(['open']);
    hostLink.resume();
    run();
    expect(host.log).toEqual(['open', '1', 'end']);
  });

  test('a link that ended before its peer started still tells it', () => {
    const [first, second] = memoryLinkPair(clock.current);
    const closer = new End(first);
    first.close(1000, 'guest-gone');
    run();
    const late = new End(second);
    run();
    expect([closer.log, late.log]).toEqual([['end'], ['open', 'end']]);
  });

  test('OUTBOUND_HARD_BYTES: a link whose peer does not read is cut and counted', () => {
    const guestCounters = transportCounters();
    connect({ guestCounters });
    run();
    hostLink.pause();
    const message: Message = [Op.avail, 0, 0, new Uint8Array(60 * 1024), new Uint8Array()];
    const needed = Math.ceil(OUTBOUND_CUT_BYTES / encode(message).length);
    for (let count = 0; count < needed; count++) guestLink.send(message);
    run();
    expect(guest.ends).toEqual([{ code: 4011, reason: 'OUTBOUND_HARD_BYTES', byPeer: false }]);
    expect(guestCounters.get('OUTBOUND_HARD_BYTES')).toBe(1);
    expect(guestLink.bufferedBytes).toBe(0);
  });
});

describe('tap', () => {
  test('a delayed message delays those behind it, and only its own direction', () => {
    connect({
      tap: (direction, message) =>
        direction === 'guest-to-host' && message[1] === 1 ? { delayUntilMs: 50 } : 'pass',
    });
    guestLink.send(status(1));
    guestLink.send(status(2));
    hostLink.send(statusValue(3));
    clock.current.advanceTo(49);
    expect([host.log, guest.log]).toEqual([['open'], ['open', '3']]);
    clock.current.advanceTo(50);
    expect(host.log).toEqual(['open', '1', '2']);
  });

  test('cut ends the link with that message lost', () => {
    connect({ tap: (_direction, message) => (message[1] === 2 ? 'cut' : 'pass') });
    run();
    guestLink.send(status(1));
    run();
    guestLink.send(status(2));
    run();
    expect(host.log).toEqual(['open', '1', 'end']);
  });

  test('a cut ends a link that waits for a delayed message at once', () => {
    connect({ tap: () => ({ delayUntilMs: 1000 }) });
    run();
    guestLink.send(status(1));
    guestLink.terminate();
    run();
    expect(host.log).toEqual(['open', 'end']);
  });
});
