import fc from 'fast-check';
import { expect, test } from 'vitest';
import { RECONNECT_MAX_MS } from '../../../shared/limits.ts';
import { writePfns } from '../../../shared/protocol/bodies.ts';
import type { GuestToHost } from '../../../shared/protocol/messages.ts';
import { Op } from '../../../shared/protocol/messages.ts';
import { spell, TestGuest, TestWorld } from './harness.ts';

/**
 * Three ways to lose a peer; this is the first: the link is lost, and then nothing is lost or
 * repeated. The exchange is an inflation: `avail` with a reused buffer, answered by `discard` and
 * `used`; each answer lets the guest send the next one.
 */
const EMPTY = new Uint8Array();

interface Run {
  readonly world: TestWorld;
  readonly guest: TestGuest;
  readonly expectedAtHost: string[];
  readonly expectedAtGuest: string[];
}

/** Runs `rounds` rounds with links cut at the frames whose numbers are in `cuts`. */
function inflate(rounds: number, inFlight: number, cuts: ReadonlySet<number>): Run {
  const world = new TestWorld();
  const guest = new TestGuest(world);
  const expectedAtHost: string[] = [];
  const expectedAtGuest: string[] = [];
  let frames = 0;
  world.tap = () => (cuts.has(frames++) ? 'cut' : 'pass');
  const scratch = new Uint8Array(8);
  let sent = 0;
  const sendNext = (): void => {
    if (sent === rounds) return;
    scratch.set(writePfns([sent, sent + 1000]));
    const message: GuestToHost = [Op.avail, 0, sent % 128, scratch, EMPTY];
    expectedAtHost.push(spell(message));
    guest.connection.send(message);
    sent++;
  };
  world.owner.onMessage = (message, session) => {
    if (message[0] !== Op.avail) return;
    const [, queue, id, readable] = message;
    for (const answer of [[Op.discard, readable] as const, [Op.used, queue, id, 0] as const]) {
      expectedAtGuest.push(spell(answer));
      session.send(answer);
    }
  };
  guest.onMessage = (message) => {
    if (message[0] === Op.used) sendNext();
  };
  guest.connection.start();
  world.clock.advanceBy(60_000);
  for (let index = 0; index < inFlight; index++) sendNext();
  world.clock.advanceBy(600_000);
  // A guest says something now and then: the last frame that was cut may be a late one.
  world.tap = () => 'pass';
  world.clock.advanceBy(RECONNECT_MAX_MS);
  return { world, guest, expectedAtHost, expectedAtGuest };
}

function expectExactlyOnce({ world, guest, expectedAtHost, expectedAtGuest }: Run): void {
  expect(world.owner.received).toEqual(expectedAtHost);
  expect(guest.received).toEqual(expectedAtGuest);
  expect(guest.connection.state).toBe('open');
  expect(guest.events.filter((event) => event === 'power-on')).toHaveLength(1);
}

const ROUNDS = 40;

/** How many frames the exchange takes when nothing is cut. */
function framesOfQuietRun(): number {
  const { world } = inflate(ROUNDS, 3, new Set());
  return world.guestCounters.get('messages_out') + world.hostCounters.get('messages_out');
}

test('without a cut the exchange takes hello, welcome, three messages a round, and acks', () => {
  const run = inflate(ROUNDS, 3, new Set());
  expectExactlyOnce(run);
  expect(run.expectedAtHost).toHaveLength(ROUNDS);
  expect(framesOfQuietRun()).toBeGreaterThan(2 + 3 * ROUNDS);
  expect(run.guest.events).toEqual(['power-on']);
  expect(run.world.owner.session('vm').retainedCount).toBe(0);
});

test('the link cut at every single frame after the welcome: resumed, exactly once', () => {
  const frames = framesOfQuietRun();
  for (let cut = 2; cut < frames; cut++) {
    const run = inflate(ROUNDS, 3, new Set([cut]));
    expectExactlyOnce(run);
    expect(run.guest.events).toEqual(['power-on', 'lost terminated', 'resumed'].map(anyLoss));
    expect(run.world.hostCounters.get('sessions_resumed')).toBe(1);
  }
});

/** The side at which the tap cut the link calls it `terminated`, the other one a cut. */
function anyLoss(event: string): unknown {
  return event.startsWith('lost')
    ? expect.stringMatching(/^lost (terminated|the link was cut)$/)
    : event;
}

test('the hello or the welcome lost: the guest powers on with the next one', () => {
  for (const cut of [0, 1]) {
    const run = inflate(ROUNDS, 3, new Set([cut]));
    expectExactlyOnce(run);
    expect(run.guest.events.at(-1)).toBe('power-on');
  }
});

test('cuts at any set of frames, in hellos of resumes too', () => {
  const cuts = fc.uniqueArray(fc.integer({ min: 2, max: 200 }), { maxLength: 30 });
  fc.assert(
    fc.property(cuts, fc.integer({ min: 1, max: 20 }), (frames, inFlight) => {
      expectExactlyOnce(inflate(ROUNDS, inFlight, new Set(frames)));
    }),
    { numRuns: 200 },
  );
});

test('bursts of cuts at consecutive frames', () => {
  for (let start = 2; start < 100; start += 7) {
    const cuts = Array.from({ length: 12 }, (_, index) => start + index);
    expectExactlyOnce(inflate(ROUNDS, 5, new Set(cuts)));
  }
});
