import { Counters } from '../lib/counters.ts';
import { HTTP_ERROR_NAMES, PROTOCOL_ERROR_NAMES } from '../protocol/errors.ts';

/** Traffic, then limits that only slow a peer down; errors have the names of errors.ts. */
const TRAFFIC = [
  'links_opened',
  'links_ended',
  'messages_in',
  'messages_out',
  'bytes_in',
  'bytes_out',
  'writes_out',
  'messages_dropped',
  'sessions_resumed',
  'sessions_started',
  'connections_opened',
  'connections_ended',
  'connections_dropped',
  'tls_failed',
  'tickets_issued',
  'tickets_redeemed',
  'MAX_TICKETS',
  'rate_held',
  'MAX_INBOUND_MESSAGES',
  'MAX_INBOUND_BYTES',
  'OUTBOUND_SOFT_BYTES',
  'MAX_LOG_LINES_PER_SECOND',
] as const;

const NAMES = [...TRAFFIC, ...PROTOCOL_ERROR_NAMES, ...HTTP_ERROR_NAMES] as const;
export type TransportCounter = (typeof NAMES)[number];

/** One set per process or per side of a simulated link; every refusal is counted by its name. */
export function transportCounters(): Counters<TransportCounter> {
  return new Counters<TransportCounter>(NAMES);
}
