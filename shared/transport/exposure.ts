import { isLoopback } from './connection-guard.ts';

/** A port or a token would be open to others than its owner means; one line with the remedy. */
export class ExposureError extends Error {
  override readonly name = 'ExposureError';
}

/** How a port or a connection is protected. */
export interface Protection {
  readonly hasToken: boolean;
  readonly hasTls: boolean;
  /** The operator accepts that everyone on the way can read and change what is sent. */
  readonly insecure: boolean;
}

/**
 * Other machines may reach a port only with a token, and only over TLS unless that is waived.
 * `address` is the IP address that is listened on. Throws ExposureError.
 */
export function requireSafeListen(address: string, protection: Protection): void {
  if (isLoopback(address)) return;
  const { hasToken, hasTls, insecure } = protection;
  const reach = `other machines could reach ${address}`;
  if (!hasToken) {
    throw new ExposureError(
      `${reach}: that needs a token, from --token-file or the variable PUFF_TOKEN`,
    );
  }
  if (hasTls || insecure) return;
  throw new ExposureError(
    `${reach}: that needs --tls-cert and --tls-key, or --insecure to send the token in the clear`,
  );
}

/** A token leaves this machine over TLS only, unless that is waived. Throws ExposureError. */
export function requireSafeDial(url: string, { hasToken, insecure }: Protection): void {
  const { protocol, hostname, host } = new URL(url);
  const name = hostname.replace(/^\[(.*)\]$/, '$1');
  if (!hasToken || insecure || protocol === 'wss:') return;
  if (name === 'localhost' || isLoopback(name)) return;
  throw new ExposureError(`the token would go to ${host} in the clear: use wss:// or --insecure`);
}
