import type { IncomingMessage } from 'node:http';
import { STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import type { HttpErrorName } from '../protocol/errors.ts';
import { ENDPOINT_PATH } from '../protocol/messages.ts';
import { httpRefusal } from './upgrade-check.ts';

/** What is wrong with a request that is no upgrade; nothing only for the health of the host. */
export function plainError(
  { url, method }: IncomingMessage,
  isHealth: boolean,
): HttpErrorName | undefined {
  if (isHealth) return method === 'GET' ? undefined : 'bad-method';
  return url === '/' || url === ENDPOINT_PATH ? 'upgrade-required' : 'bad-path';
}

/** The name for an error of Node's HTTP parser or its timeouts; none for a broken connection. */
export function requestError(code = ''): HttpErrorName | undefined {
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return 'HTTP_HEADERS_TIMEOUT_MS';
  if (code === 'HPE_HEADER_OVERFLOW') return 'MAX_HTTP_HEADER_BYTES';
  return code.startsWith('HPE_') ? 'bad-http' : undefined;
}

/** Answers on a socket that has no response object and lets go of it. */
export function answerBare(socket: Duplex, name: HttpErrorName): void {
  socket.on('error', () => socket.destroy());
  if (!socket.writable) {
    socket.destroy();
    return;
  }
  const { status, headers, body } = httpRefusal(name);
  const lines = Object.entries(headers).map(([header, value]) => `${header}: ${value}\r\n`);
  socket.once('finish', () => socket.destroy());
  socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${lines.join('')}\r\n${body}`);
}

/** Why a port is not to be had and what to change, in one line. */
export function listenFailure(
  error: Error & { code?: string },
  host: string,
  port: number,
): string {
  const address = `${host}:${port}`;
  switch (error.code) {
    case 'EADDRINUSE':
      return `cannot listen on ${address}: the port is in use; choose another or 0 for any`;
    case 'EADDRNOTAVAIL':
      return `cannot listen on ${address}: this machine does not have that address`;
    case 'EACCES':
      return `cannot listen on ${address}: not allowed; ports below 1024 need privileges`;
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return `cannot listen on ${address}: the host name is not known`;
    default:
      return `cannot listen on ${address}: ${error.message}`;
  }
}
