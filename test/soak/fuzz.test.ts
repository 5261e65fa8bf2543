import { expect, it } from 'vitest';
import { fuzzGuest, fuzzHost } from './fuzz.ts';
import { fuzzGuestPort, fuzzHostPort, fuzzQmpSocket } from './fuzz-sockets.ts';

/** A small part of `npm run soak -- fuzz`, always the same. */
const SEED = 20_261_120;
const FRAMES = 10_000;
const SOCKET_FRAMES = 400;

it('ten thousand hostile frames for a host: nothing escapes, each refusal has a name', async () => {
  const { refusals } = await fuzzHost({ frames: FRAMES, seed: SEED });
  const named = refusals.join(', ');
  for (const name of [
    'malformed-frame',
    'forbidden-type',
    'bad-schema',
    'wrong-direction',
    'unknown-op',
    'bad-hello',
    'session-mismatch',
    'bad-queue',
    'QUEUE_CREDIT',
    'replaced',
    'stale-epoch',
    'sessions_resumed',
    'guest-gone',
  ]) {
    expect(named).toContain(name);
  }
}, 300_000);

it('ten thousand hostile frames for guests: nothing escapes, memory holds together', async () => {
  const { refusals } = await fuzzGuest({ frames: FRAMES, seed: SEED });
  const named = refusals.join(', ');
  for (const name of ['malformed-frame', 'forbidden-type', 'bad-schema', 'wrong-direction']) {
    expect(named).toContain(name);
  }
}, 300_000);

it('hostile guests at a real port: an honest one is served afterwards', async () => {
  const { connections } = await fuzzHostPort({ frames: SOCKET_FRAMES, seed: SEED });
  expect(connections).toBeGreaterThan(3);
}, 300_000);

it('guests that dial a hostile host: each of them ends', async () => {
  const { connections } = await fuzzGuestPort({ frames: SOCKET_FRAMES, seed: SEED });
  expect(connections).toBeGreaterThan(3);
}, 300_000);

it('hostile clients at a QMP socket: an honest one is served afterwards', async () => {
  const { connections } = await fuzzQmpSocket({ frames: SOCKET_FRAMES, seed: SEED });
  expect(connections).toBeGreaterThan(3);
}, 300_000);
