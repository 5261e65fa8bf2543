import type { Clock } from '../lib/clock.ts';
import type { HttpErrorName } from '../protocol/errors.ts';

/** How many connections a port takes. */
export interface ConnectionLimits {
  readonly connections: number;
  readonly connectionsPerAddress: number;
  /** Whether connections of this machine count as one address like any other. */
  readonly limitLoopback: boolean;
  /** Twice as many are taken after a quiet second; Infinity for no limit. */
  readonly acceptsPerSecond: number;
}

/**
 * Counts the connections of a port and says which are too many: in all, of one address, or too
 * fast one after the other. An address of IPv6 is its first 64 bits, for a machine has as many
 * addresses below them as it likes.
 */
export class ConnectionGuard {
  readonly #limits: ConnectionLimits;
  readonly #clock: Clock;
  readonly #byAddress = new Map<string, number>();
  #count = 0;
  #allowance: number;
  #refilledMs: number;

  constructor(limits: ConnectionLimits, clock: Clock) {
    this.#limits = limits;
    this.#clock = clock;
    this.#allowance = 2 * limits.acceptsPerSecond;
    this.#refilledMs = clock.now();
  }

  get count(): number {
    return this.#count;
  }

  /** Counts a connection until `left`; returns the limit that it is beyond, if any. */
  entered(address: string): HttpErrorName | undefined {
    const key = addressKey(address);
    const ofAddress = (this.#byAddress.get(key) ?? 0) + 1;
    this.#byAddress.set(key, ofAddress);
    this.#count++;
    const { connections, connectionsPerAddress, limitLoopback } = this.#limits;
    const isLimited = limitLoopback || !isLoopback(address);
    if (isLimited && ofAddress > connectionsPerAddress) return 'MAX_CONNECTIONS_PER_ADDRESS';
    if (this.#count > connections) return 'MAX_CONNECTIONS';
    return this.#isTooFast() ? 'MAX_ACCEPTS_PER_SECOND' : undefined;
  }

  /** A connection that was counted ended. */
  left(address: string): void {
    const key = addressKey(address);
    const others = (this.#byAddress.get(key) ?? 1) - 1;
    if (others === 0) this.#byAddress.delete(key);
    else this.#byAddress.set(key, others);
    this.#count--;
  }

  #isTooFast(): boolean {
    const { acceptsPerSecond } = this.#limits;
    if (acceptsPerSecond === Number.POSITIVE_INFINITY) return false;
    const nowMs = this.#clock.now();
    const earned = ((nowMs - this.#refilledMs) / 1000) * acceptsPerSecond;
    this.#refilledMs = nowMs;
    this.#allowance = Math.min(this.#allowance + earned, 2 * acceptsPerSecond);
    if (this.#allowance < 1) return true;
    this.#allowance--;
    return false;
  }
}

const MAPPED = /^::ffff:(?=\d+\.)/i;

/** Whether an IP address is one of this machine that no other can reach: 127.0.0.0/8 or ::1. */
export function isLoopback(address: string): boolean {
  return address === '::1' || /^127\.\d+\.\d+\.\d+$/.test(address.replace(MAPPED, ''));
}

/** What counts as one peer. */
function addressKey(address: string): string {
  const plain = address.replace(MAPPED, '');
  return plain.includes(':') ? networkOf(plain) : plain;
}

/** The first four groups of an IPv6 address. */
function networkOf(address: string): string {
  const [head = '', tail] = address.split('::') as [string, string | undefined];
  const groups = head === '' ? [] : head.split(':');
  if (tail !== undefined) {
    const behind = tail === '' ? 0 : tail.split(':').length;
    while (groups.length + behind < 8) groups.push('0');
  }
  return groups.slice(0, 4).join(':');
}
