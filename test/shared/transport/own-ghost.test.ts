import { beforeEach, describe, expect, test } from 'vitest';
import {
  DUPLICATE_RETRY_MS,
  HELLO_TIMEOUT_MS,
  MAX_RETAINED_MESSAGES,
  RECONNECT_FIRST_MS,
  RECONNECT_MAX_MS,
} from '../../../shared/limits.ts';
import { Op } from '../../../shared/protocol/messages.ts';
import type { Link } from '../../../shared/transport/link.ts';
import { TestGuest, TestWorld } from './harness.ts';

/**
 * The host has a live link of this guest that the guest itself knows nothing of any more: the news
 * that the guest has given the link up was lost. To the host that looks like a second guest of the
 * same id and epoch.
 */
let world: TestWorld;
beforeEach(() => {
  world = new TestWorld();
});

/** A link over which the guest hears nothing once `dead` says so, and whose end the host misses. */
function halfDead(link: Link, dead: () => boolean): Link {
  return {
    start: (handlers) =>
      link.start({
        ...handlers,
        onMessage: (message) => {
          if (!dead()) handlers.onMessage(message);
        },
      }),
    send: (message) => link.send(message),
    sendFrame: (frame) => {
      if (!dead()) link.sendFrame(frame);
    },
    close: () => {},
    terminate: () => {},
    bufferedBytes: 0,
    pause: () => {},
    resume: () => {},
  };
}

describe('the welcome was lost', () => {
  test('the host gives up the link over which it never heard the guest, and lets it in', () => {
    let dials = 0;
    const dial = (): Link => {
      return dials++ === 0 ? halfDead(world.dial(), () => true) : world.dial();
    };
    const guest = new TestGuest(world, { dial });
    guest.connection.start();
    world.clock.advanceBy(HELLO_TIMEOUT_MS + RECONNECT_FIRST_MS);
    expect(guest.events).toEqual(['lost HELLO_TIMEOUT_MS', 'power-on']);
    expect(world.owner.events).toEqual([
      'power-on vm s1',
      'end vm 4005 replaced',
      'power-on vm s2',
    ]);
  });

  test('so it is when the guest names the session of an earlier host', () => {
    let dead = false;
    const dial = (): Link => halfDead(world.dial(), () => dead);
    const guest = new TestGuest(world, { dial });
    guest.connection.start();
    world.clock.advanceBy(0);
    guest.connection.send([Op.status, 1]);
    world.clock.advanceBy(0);
    const earlier = world.owner.connection('vm');
    world.owner.known.clear();
    dead = true;
    earlier.terminate();
    world.clock.advanceBy(RECONNECT_FIRST_MS);
    expect(world.owner.events.at(-1)).toBe('power-on vm s2');
    dead = false;
    world.clock.advanceBy(HELLO_TIMEOUT_MS + RECONNECT_MAX_MS);
    expect(guest.events.at(-1)).toBe('power-on');
    expect(world.owner.events.at(-1)).toBe('power-on vm s3');
  });
});

describe('the host has heard the guest over the link', () => {
  /** A guest that was let in, then cut off, and whose session then failed. */
  function cutOff(): TestGuest {
    let dead = false;
    let dials = 0;
    const dial = (): Link => {
      return dials++ === 0 ? halfDead(world.dial(), () => dead) : world.dial();
    };
    const guest = new TestGuest(world, { dial });
    guest.connection.start();
    world.clock.advanceBy(0);
    guest.connection.send([Op.status, 1]);
    world.clock.advanceBy(1_000);
    dead = true;
    for (let count = 0; count <= MAX_RETAINED_MESSAGES; count++) {
      guest.connection.send([Op.status, 1]);
    }
    world.clock.advanceBy(RECONNECT_MAX_MS);
    return guest;
  }

  test('the guest tries again until the host has noticed', () => {
    const guest = cutOff();
    expect(guest.events.slice(0, 3)).toEqual([
      'power-on',
      'lost MAX_RETAINED_MESSAGES',
      'lost duplicate-guest',
    ]);
    // The host's pings have not been answered.
    world.owner.connection('vm').terminate();
    world.clock.advanceBy(RECONNECT_MAX_MS);
    expect(guest.events.at(-1)).toBe('power-on');
  });

  test('once the host must have noticed, there is another guest: the answer is final', () => {
    const guest = cutOff();
    world.clock.advanceBy(DUPLICATE_RETRY_MS - 2 * RECONNECT_MAX_MS);
    expect(guest.connection.state).toBe('waiting');
    world.clock.advanceBy(3 * RECONNECT_MAX_MS);
    expect(guest.events.slice(-2)).toEqual(['refused duplicate-guest', 'closed']);
  });
});

describe('another guest of the same id and epoch is there', () => {
  beforeEach(() => {
    const first = new TestGuest(world);
    first.connection.start();
    world.clock.advanceBy(0);
    first.connection.send([Op.status, 1]);
    world.clock.advanceBy(0);
  });

  test('a guest that says hello for the first time gets a final answer', () => {
    const second = new TestGuest(world);
    second.connection.start();
    world.clock.advanceBy(60_000);
    expect(second.events).toEqual(['refused duplicate-guest', 'closed']);
  });

  test('so it is when the host was not there at first: no hello was said', () => {
    let dials = 0;
    const dial = (): Link => {
      const link = dials++ === 0 ? world.pair()[0] : world.dial();
      if (dials === 1) link.terminate();
      return link;
    };
    const second = new TestGuest(world, { dial });
    second.connection.start();
    world.clock.advanceBy(60_000);
    expect(second.events).toEqual(['lost terminated', 'refused duplicate-guest', 'closed']);
  });
});
