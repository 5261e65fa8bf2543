import { X509Certificate } from 'node:crypto';
import type { Server, ServerOptions } from 'node:http';
import { createServer } from 'node:https';
import { createSecureContext } from 'node:tls';

/** A port's certificate chain and its private key, as PEM. */
export interface TlsIdentity {
  readonly cert: string;
  readonly key: string;
}

/** Certificates or a key that TLS cannot use; one line that never shows what was in them. */
export class TlsError extends Error {
  override readonly name = 'TlsError';
}

const LEAST_VERSION = 'TLSv1.2';

/** An HTTP server behind TLS; a handshake has as long as the headers. Throws TlsError. */
export function createTlsServer(identity: TlsIdentity, options: ServerOptions): Server {
  const { cert, key } = identity;
  requireUsable(identity);
  return createServer({
    ...options,
    cert,
    key,
    minVersion: LEAST_VERSION,
    ...(options.headersTimeout === undefined ? {} : { handshakeTimeout: options.headersTimeout }),
  });
}

const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]*(?:-----END CERTIFICATE-----)?/g;

/** Throws TlsError when `ca` holds no certificate, or one that is broken. */
export function requireCertificates(ca: string): void {
  const blocks = ca.match(PEM_CERTIFICATE) ?? [];
  if (blocks.length === 0) throw new TlsError('the CA file holds no certificate in PEM form');
  for (const block of blocks) {
    try {
      new X509Certificate(block);
    } catch (error) {
      throw new TlsError(`a certificate of the CA file is broken: ${reasonOf(error)}`);
    }
  }
}

function requireUsable({ cert, key }: TlsIdentity): void {
  try {
    createSecureContext({ cert, key });
  } catch (error) {
    const reason = reasonOf(error);
    throw new TlsError(`the TLS certificate and key cannot be used together: ${reason}`);
  }
}

/** OpenSSL says `error:NUMBER:LIBRARY::REASON`. */
function reasonOf(error: unknown): string {
  const { message } = error as Error;
  return message.slice(message.lastIndexOf(':') + 1).trim();
}
