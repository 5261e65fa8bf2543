import { expect, test } from 'vitest';
import { VirtualClock } from '../../../shared/lib/clock.ts';
import { RateLimit } from '../../../shared/transport/rate-limit.ts';

/** How many messages of a size pass now. */
function passing(limit: RateLimit, sizeBytes: number, tries = 1000): number {
  let count = 0;
  while (count < tries && limit.take(sizeBytes)) count++;
  return count;
}

test('two seconds of messages pass at once, then as many as time has earned', () => {
  const clock = new VirtualClock();
  const limit = new RateLimit({ messagesPerSecond: 10, bytesPerSecond: 1e9 }, clock);
  expect(passing(limit, 1)).toBe(20);
  expect(limit.lacking).toBe('messages');
  expect(limit.waitMs).toBeCloseTo(100);
  clock.advanceBy(limit.waitMs);
  expect(passing(limit, 1)).toBe(1);
  clock.advanceBy(1_000);
  expect(passing(limit, 1)).toBe(10);
  clock.advanceBy(3_600_000);
  expect(passing(limit, 1)).toBe(20);
});

test('bytes are counted beside messages; one larger than what is left passes and is owed', () => {
  const clock = new VirtualClock();
  const limit = new RateLimit({ messagesPerSecond: 1e6, bytesPerSecond: 100 }, clock);
  expect(passing(limit, 60)).toBe(4);
  expect(limit.lacking).toBe('bytes');
  clock.advanceBy(400);
  expect(passing(limit, 60)).toBe(0);
  clock.advanceBy(limit.waitMs);
  expect(passing(limit, 60)).toBe(1);
});

test('a limit of Infinity is none', () => {
  const clock = new VirtualClock();
  const { POSITIVE_INFINITY } = Number;
  const free = { messagesPerSecond: POSITIVE_INFINITY, bytesPerSecond: POSITIVE_INFINITY };
  expect(passing(new RateLimit(free, clock), 65_536, 100_000)).toBe(100_000);
  const limit = new RateLimit({ ...free, messagesPerSecond: 5 }, clock);
  expect(passing(limit, 65_536)).toBe(10);
  clock.advanceBy(1_000);
  expect(passing(limit, 65_536)).toBe(5);
});
