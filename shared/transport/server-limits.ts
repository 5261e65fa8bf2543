import {
  FLOOD_CLOSE_MS,
  HTTP_HEADERS_TIMEOUT_MS,
  HTTP_REQUEST_TIMEOUT_MS,
  MAX_ACCEPTS_PER_SECOND,
  MAX_BYTES_PER_SECOND,
  MAX_CONNECTIONS,
  MAX_CONNECTIONS_PER_ADDRESS,
  MAX_MESSAGES_PER_SECOND,
  MAX_PENDING_HANDSHAKES,
} from '../limits.ts';
import type { ConnectionLimits } from './connection-guard.ts';
import type { Rate } from './rate-limit.ts';

/** The limits of a guest port that an operator or a test may change. */
export interface ServerLimits extends ConnectionLimits, Rate {
  readonly pendingHandshakes: number;
  readonly headersTimeoutMs: number;
  readonly requestTimeoutMs: number;
  /** How often connections are looked at for the two timeouts. */
  readonly checkIntervalMs: number;
  /** How long a guest may send faster than its rate. */
  readonly floodMs: number;
}

export const DEFAULT_SERVER_LIMITS: ServerLimits = {
  connections: MAX_CONNECTIONS,
  connectionsPerAddress: MAX_CONNECTIONS_PER_ADDRESS,
  limitLoopback: false,
  acceptsPerSecond: MAX_ACCEPTS_PER_SECOND,
  pendingHandshakes: MAX_PENDING_HANDSHAKES,
  headersTimeoutMs: HTTP_HEADERS_TIMEOUT_MS,
  requestTimeoutMs: HTTP_REQUEST_TIMEOUT_MS,
  checkIntervalMs: 1000,
  messagesPerSecond: MAX_MESSAGES_PER_SECOND,
  bytesPerSecond: MAX_BYTES_PER_SECOND,
  floodMs: FLOOD_CLOSE_MS,
};

/** Nothing is too fast: for operators who trust their guests more than their arithmetic. */
export const NO_RATE_LIMITS = {
  acceptsPerSecond: Number.POSITIVE_INFINITY,
  messagesPerSecond: Number.POSITIVE_INFINITY,
  bytesPerSecond: Number.POSITIVE_INFINITY,
} as const satisfies Partial<ServerLimits>;
