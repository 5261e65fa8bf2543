import { createHash, timingSafeEqual } from 'node:crypto';
import type { Clock } from '../lib/clock.ts';
import type { Counters } from '../lib/counters.ts';
import { MAX_TICKETS, TICKET_VALID_MS } from '../limits.ts';
import type { TransportCounter } from './transport-counters.ts';

/**
 * Compares `Authorization: Bearer TOKEN` in a time that does not depend on what is equal. Of the
 * token only a digest is kept, so that no dump of this object shows it.
 */
export class TokenCheck {
  readonly #digest: Buffer;

  constructor(token: string) {
    this.#digest = digestOf(token);
  }

  accepts(authorization: string | undefined): boolean {
    const given = /^Bearer +(\S+)$/i.exec(authorization ?? '')?.[1] ?? '';
    return timingSafeEqual(digestOf(given), this.#digest);
  }
}

export interface TicketsOptions {
  readonly clock: Clock;
  readonly counters: Counters<TransportCounter>;
  /** TICKET_BYTES bytes that nobody can guess. */
  newSecret(): Uint8Array;
}

interface Ticket {
  readonly digest: Buffer;
  readonly endMs: number;
}

/**
 * Tickets stand for a host's token where a header cannot be sent: a page's WebSocket has no other
 * place for a secret than its URL, which proxies log and browsers remember. So each is good for one
 * connection and for TICKET_VALID_MS. Only digests are kept, as of the token; which of them is
 * meant is found out in a time that does not depend on what is equal.
 */
export class Tickets {
  readonly #options: TicketsOptions;
  /** Oldest first. */
  #tickets: Ticket[] = [];

  constructor(options: TicketsOptions) {
    this.#options = options;
  }

  /** A new ticket, 43 characters that need no escape in a URL; undefined beyond MAX_TICKETS. */
  issue(): string | undefined {
    const { clock, counters, newSecret } = this.#options;
    this.#forgetOld();
    if (this.#tickets.length >= MAX_TICKETS) {
      counters.add('MAX_TICKETS');
      return undefined;
    }
    const ticket = Buffer.from(newSecret()).toString('base64url');
    this.#tickets.push({ digest: digestOf(ticket), endMs: clock.now() + TICKET_VALID_MS });
    counters.add('tickets_issued');
    return ticket;
  }

  /** Whether a ticket lets in now; if so it never does again. */
  redeem(ticket: string): boolean {
    this.#forgetOld();
    const digest = digestOf(ticket);
    const others = this.#tickets.filter((kept) => !timingSafeEqual(kept.digest, digest));
    if (others.length === this.#tickets.length) return false;
    this.#tickets = others;
    this.#options.counters.add('tickets_redeemed');
    return true;
  }

  #forgetOld(): void {
    const nowMs = this.#options.clock.now();
    this.#tickets = this.#tickets.filter(({ endMs }) => nowMs < endMs);
  }
}

function digestOf(secret: string): Buffer {
  return createHash('sha256').update(secret).digest();
}
