import type { IncomingMessage } from 'node:http';
import { MAX_HTTP_HEADERS } from '../limits.ts';
import type { HttpErrorName } from '../protocol/errors.ts';
import { HTTP_ERRORS } from '../protocol/errors.ts';
import { ENDPOINT_PATH, SUBPROTOCOL } from '../protocol/messages.ts';
import type { Tickets, TokenCheck } from './credentials.ts';

/** What of a request is looked at before there is a connection. */
export type RequestHead = Pick<IncomingMessage, 'url' | 'method' | 'headers' | 'rawHeaders'>;

/** Who may come in by the headers of their request. */
export interface RequestPolicy {
  readonly allowedOrigins: readonly string[];
  /** Undefined lets everyone in who reaches the port. */
  readonly token: TokenCheck | undefined;
  /** What an upgrade may bring in the place of the token, where there is one. */
  readonly tickets: Tickets | undefined;
}

/** What the URL of an upgrade begins with that brings a ticket; all that follows is the ticket. */
const TICKET_URL = `${ENDPOINT_PATH}?ticket=`;

/** What is wrong with a plain request: too many headers, or the token. */
export function checkRequest(
  { headers, rawHeaders }: RequestHead,
  { token }: RequestPolicy,
): HttpErrorName | undefined {
  if (rawHeaders.length / 2 > MAX_HTTP_HEADERS) return 'MAX_HTTP_HEADERS';
  if (token !== undefined && !token.accepts(headers.authorization)) return 'unauthorized';
  return undefined;
}

/**
 * Whether an HTTP upgrade may become a link: its headers and token or ticket, exact path, GET,
 * WebSocket version 13, no page of another origin, our subprotocol among those offered. Returns the
 * first thing wrong. The subprotocol of another version is refused here, before there is a
 * connection to be closed. A ticket is used up by this, whatever else is wrong.
 */
export function checkUpgrade(
  request: RequestHead,
  policy: RequestPolicy,
): HttpErrorName | undefined {
  const { method, headers, rawHeaders } = request;
  const { tickets } = policy;
  let { url = '' } = request;
  if (tickets !== undefined && url.startsWith(TICKET_URL)) {
    if (rawHeaders.length / 2 > MAX_HTTP_HEADERS) return 'MAX_HTTP_HEADERS';
    if (!tickets.redeem(url.slice(TICKET_URL.length))) return 'bad-ticket';
    url = ENDPOINT_PATH;
  } else {
    const wrong = checkRequest(request, policy);
    if (wrong !== undefined) return wrong;
  }
  if (url !== ENDPOINT_PATH) return 'bad-path';
  if (method !== 'GET') return 'bad-method';
  if (headers.upgrade?.toLowerCase() !== 'websocket') return 'bad-upgrade';
  if (headers['sec-websocket-version'] !== '13') return 'bad-websocket-version';
  const { origin } = headers;
  if (origin !== undefined && !policy.allowedOrigins.includes(origin)) return 'forbidden-origin';
  const offered = headers['sec-websocket-protocol']?.split(',') ?? [];
  return offered.some((name) => name.trim() === SUBPROTOCOL) ? undefined : 'bad-subprotocol';
}

/** Headers that an answer needs beside its length and type. */
const EXTRA_HEADERS: Partial<Record<HttpErrorName, Readonly<Record<string, string>>>> = {
  unauthorized: { 'WWW-Authenticate': 'Bearer' },
  'bad-ticket': { 'WWW-Authenticate': 'Bearer' },
  'upgrade-required': { Upgrade: 'websocket' },
  'bad-method': { Allow: 'GET' },
  'bad-websocket-version': { Upgrade: 'websocket', 'Sec-WebSocket-Version': '13' },
};

const SERVICE_UNAVAILABLE = 503;
const RETRY_AFTER_SECONDS = '1';

export interface HttpRefusal {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** The answer to a refused request; its body starts with the name and a colon. */
export function httpRefusal(name: HttpErrorName): HttpRefusal {
  const { status, text } = HTTP_ERRORS[name];
  const hint = `Puff virtio-balloon host: WebSocket ${SUBPROTOCOL} at ${ENDPOINT_PATH}.`;
  const body = `${name}: ${text}\n${hint}\n`;
  const headers = {
    'Content-Type': 'text/plain; charset=utf-8',
    'Content-Length': String(Buffer.byteLength(body)),
    Connection: 'close',
    ...(status === SERVICE_UNAVAILABLE ? { 'Retry-After': RETRY_AFTER_SECONDS } : {}),
    ...EXTRA_HEADERS[name],
  };
  return { status, headers, body };
}
