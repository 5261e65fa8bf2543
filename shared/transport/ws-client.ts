import type { IncomingMessage } from 'node:http';
import type { Clock } from '../lib/clock.ts';
import type { Counters } from '../lib/counters.ts';
import { HTTP_HEADERS_TIMEOUT_MS } from '../limits.ts';
import { ENDPOINT_PATH, SUBPROTOCOL } from '../protocol/messages.ts';
import type { Link } from './link.ts';
import type { TransportCounter } from './transport-counters.ts';
import { WsLink } from './ws-link.ts';
import { PuffWebSocket, WEBSOCKET_LIMITS } from './ws-socket.ts';

export interface DialOptions {
  readonly clock: Clock;
  readonly counters: Counters<TransportCounter>;
  /** Sent with the request; see requireSafeDial. */
  readonly token?: string | undefined;
  /** Certificates, as PEM, that are trusted in the place of the system's. */
  readonly ca?: string | undefined;
}

/** Bytes of an HTTP refusal that are read: its name stands first. */
const REFUSAL_BYTES = 128;

/**
 * The address of a host's endpoint: `ws://HOST:PORT` gets the standard path. Throws TypeError for
 * what is no ws or wss URL, and for one with a password or a query, which would be shown and
 * logged as the rest of it is: a mistyped address is told before the first attempt.
 */
export function endpointUrl(address: string): string {
  const url = new URL(address);
  if (url.protocol !== 'ws:' && url.protocol !== 'wss:') {
    throw new TypeError(`'${address}' is no ws:// or wss:// address`);
  }
  if (url.username !== '' || url.password !== '' || url.search !== '') {
    throw new TypeError('a host address has no user, password or query; a token is given apart');
  }
  if (url.pathname === '/') url.pathname = ENDPOINT_PATH;
  url.hash = '';
  return url.href;
}

/**
 * Starts to connect and returns the link at once; `onOpen` or `onEnd` tells the outcome. An HTTP
 * refusal ends it with `HTTP nnn NAME` and the status, a failed connection with code 1006 and
 * the system's text. `url` comes from `endpointUrl`. Impure: opens a socket.
 */
export function dial(url: string, { clock, counters, token, ca }: DialOptions): Link {
  const socket = new PuffWebSocket(url, [SUBPROTOCOL], {
    ...WEBSOCKET_LIMITS,
    handshakeTimeout: HTTP_HEADERS_TIMEOUT_MS,
    followRedirects: false,
    ...(token === undefined ? {} : { headers: { Authorization: `Bearer ${token}` } }),
    ...(ca === undefined ? {} : { ca }),
  });
  const link = new WsLink({ socket, side: 'guest', clock, counters });
  socket.on('upgrade', (response) => link.cork(response.socket));
  socket.on('unexpected-response', (_request, response) => readRefusal(link, response));
  return link;
}

/** The body's first word is the error's name when the answer comes from a Puff host. */
function readRefusal(link: WsLink, response: IncomingMessage): void {
  let body = '';
  const done = (): void => {
    const name = /^[A-Za-z0-9_-]+(?=:)/.exec(body)?.[0] ?? response.statusMessage ?? '';
    link.refusedByHttp(response.statusCode ?? 0, name);
  };
  response.setEncoding('latin1');
  response.on('data', (text: string) => {
    body += text;
    if (body.length >= REFUSAL_BYTES) done();
  });
  response.on('end', done);
  response.on('error', done);
}
