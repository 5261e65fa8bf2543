import { WebSocket } from 'ws';
import {
  CLOSE_TIMEOUT_MS,
  MAX_BUFFERED_CHUNKS,
  MAX_FRAGMENTS,
  MAX_PAYLOAD_BYTES,
} from '../limits.ts';
import type { ProtocolErrorName } from '../protocol/errors.ts';

/**
 * What both sides tell `ws` about limits. Compression would cost 10 to 100 times the work of a
 * small frame and 250 KB a connection, and lets a peer claim 1,000 times what it sends.
 */
export const WEBSOCKET_LIMITS = {
  maxPayload: MAX_PAYLOAD_BYTES,
  maxFragments: MAX_FRAGMENTS,
  maxBufferedChunks: MAX_BUFFERED_CHUNKS,
  closeTimeout: CLOSE_TIMEOUT_MS,
  perMessageDeflate: false,
  skipUTF8Validation: false,
} as const;

/** Close codes that `ws` uses by itself when the peer breaks the protocol or a limit. */
const REASON_BY_CODE: Readonly<Record<number, ProtocolErrorName>> = {
  1002: 'bad-websocket',
  1007: 'malformed-frame',
  1008: 'MAX_FRAGMENTS',
  1009: 'MAX_PAYLOAD_BYTES',
};

/** A WebSocket whose own closes carry the name of the limit that was hit as their reason. */
export class PuffWebSocket extends WebSocket {
  override close(code?: number, data?: string | Buffer): void {
    super.close(code, data ?? (code === undefined ? undefined : REASON_BY_CODE[code]));
  }
}

const UNTRUSTED =
  /^(?:CERT_|SELF_SIGNED_|DEPTH_ZERO_|UNABLE_TO_|INVALID_|HOSTNAME_MISMATCH|ERR_TLS_CERT_)/;

/** Why TLS did not let this side trust the other, or undefined when that was not the matter. */
export function distrustOf({ code = '', message }: Error & { code?: string }): string | undefined {
  if (UNTRUSTED.test(code)) return `the certificate is not trusted: ${message}`;
  // OpenSSL's words for what is no TLS record, with a code that depends on who noticed first.
  return message.includes('wrong version number') ? 'there is no TLS at this address' : undefined;
}

/** What is told of a failed connection; a bare "socket hang up" of Node's helps nobody. */
export function failureText(error: Error & { code?: string }, url: string): string {
  if (error.message === '') return error.code ?? error.name;
  if (error.message !== 'socket hang up') return error.message;
  const hint = url.startsWith('ws:') ? '; if it has TLS, dial wss://' : '';
  return `the host hung up without an answer${hint}`;
}

/** The limit behind an 'error' event of `ws`, or undefined when only the connection failed. */
export function limitOf(error: Error & { code?: string }): ProtocolErrorName | undefined {
  switch (error.code) {
    case 'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH':
    case 'WS_ERR_UNSUPPORTED_DATA_PAYLOAD_LENGTH':
      return 'MAX_PAYLOAD_BYTES';
    case 'WS_ERR_TOO_MANY_BUFFERED_PARTS':
      return 'MAX_FRAGMENTS';
    case 'WS_ERR_INVALID_UTF8':
      return 'malformed-frame';
    default:
      return error.code?.startsWith('WS_ERR_') ? 'bad-websocket' : undefined;
  }
}
