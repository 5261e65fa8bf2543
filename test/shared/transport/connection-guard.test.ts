import { expect, test } from 'vitest';
import { VirtualClock } from '../../../shared/lib/clock.ts';
import {
  ConnectionGuard,
  type ConnectionLimits,
  isLoopback,
} from '../../../shared/transport/connection-guard.ts';
import { DEFAULT_SERVER_LIMITS } from '../../../shared/transport/server-limits.ts';

const LIMITS: ConnectionLimits = {
  connections: 10,
  connectionsPerAddress: 2,
  limitLoopback: false,
  acceptsPerSecond: Number.POSITIVE_INFINITY,
};

const guardWith = (limits: Partial<ConnectionLimits> = {}, clock = new VirtualClock()) =>
  new ConnectionGuard({ ...LIMITS, ...limits }, clock);

test('each address has its own count, which falls when a connection ends', () => {
  const guard = guardWith();
  const enter = (address: string) => guard.entered(address);
  expect([enter('192.0.2.1'), enter('192.0.2.1')]).toEqual([undefined, undefined]);
  expect(enter('192.0.2.1')).toBe('MAX_CONNECTIONS_PER_ADDRESS');
  expect(enter('192.0.2.2')).toBeUndefined();
  guard.left('192.0.2.1');
  guard.left('192.0.2.1');
  expect(enter('192.0.2.1')).toBeUndefined();
  expect(guard.count).toBe(3);
});

test('an IPv4 address counts as itself however it is written', () => {
  const guard = guardWith();
  guard.entered('192.0.2.1');
  guard.entered('::ffff:192.0.2.1');
  expect(guard.entered('192.0.2.1')).toBe('MAX_CONNECTIONS_PER_ADDRESS');
});

test('addresses of IPv6 that share their first 64 bits count as one', () => {
  const guard = guardWith();
  guard.entered('2001:db8:0:1::1');
  guard.entered('2001:db8:0:1:ffff:ffff:ffff:ffff');
  expect(guard.entered('2001:db8:0:1:1::2')).toBe('MAX_CONNECTIONS_PER_ADDRESS');
  expect(guard.entered('2001:db8:0:2::1')).toBeUndefined();
  expect(guard.entered('2001:db8::1')).toBeUndefined();
});

test('loopback is exempt from the count by address unless asked for, not from others', () => {
  const guard = guardWith({ connections: 3 });
  for (const address of ['127.0.0.1', '127.0.0.1', '127.0.0.1']) {
    expect(guard.entered(address)).toBeUndefined();
  }
  expect(guard.entered('127.0.0.1')).toBe('MAX_CONNECTIONS');
  const strict = guardWith({ limitLoopback: true });
  strict.entered('127.0.0.1');
  strict.entered('127.0.0.1');
  expect(strict.entered('127.0.0.1')).toBe('MAX_CONNECTIONS_PER_ADDRESS');
});

test('in service an address has 1,024 connections, loopback more, and all together 10,000', () => {
  const { POSITIVE_INFINITY: acceptsPerSecond } = Number;
  const guard = guardWith({ ...DEFAULT_SERVER_LIMITS, acceptsPerSecond });
  const enter = (address: string, count: number): Set<string | undefined> =>
    new Set(Array.from({ length: count }, () => guard.entered(address)));
  expect(enter('192.0.2.1', 1024)).toEqual(new Set([undefined]));
  expect(guard.entered('192.0.2.1')).toBe('MAX_CONNECTIONS_PER_ADDRESS');
  guard.left('192.0.2.1');
  expect(enter('127.0.0.1', 10_000 - 1024)).toEqual(new Set([undefined]));
  expect(guard.count).toBe(10_000);
  expect(guard.entered('127.0.0.1')).toBe('MAX_CONNECTIONS');
});

test('twice the rate may come at once, then as many as time has earned', () => {
  const clock = new VirtualClock();
  const guard = guardWith({ acceptsPerSecond: 2, connections: 100 }, clock);
  const accepted = (tries: number): number => {
    let count = 0;
    for (let done = 0; done < tries; done++) if (guard.entered('::1') === undefined) count++;
    return count;
  };
  expect(accepted(10)).toBe(4);
  clock.advanceBy(499);
  expect(accepted(3)).toBe(0);
  clock.advanceBy(1);
  expect(accepted(3)).toBe(1);
  clock.advanceBy(60_000);
  expect(accepted(10)).toBe(4);
});

test.each(['127.0.0.1', '127.255.0.3', '::1', '::ffff:127.0.0.1'])('%s is loopback', (address) => {
  expect(isLoopback(address)).toBe(true);
});

test.each(['0.0.0.0', '::', '10.0.0.1', '128.0.0.1', '::ffff:10.0.0.1', 'fe80::1', '::2'])(
  '%s is not loopback',
  (address) => {
    expect(isLoopback(address)).toBe(false);
  },
);
