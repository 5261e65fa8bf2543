import { createServer } from 'node:net';
import { ListenError, listen } from '../../shared/control/listen.ts';
import { StoreError } from './guest-store.ts';

/**
 * Keeps a second host away from a store: a unix socket PATH.lock that only one process listens on.
 * The system frees it when that process dies, however it dies, and the file that is left is taken
 * over. Resolves to the function that frees it. Throws StoreError. Impure: a socket.
 */
export async function lockStore(path: string): Promise<() => Promise<void>> {
  const server = createServer((socket) => socket.destroy());
  try {
    await listen(server, `${path}.lock`);
  } catch (error) {
    if (!(error instanceof ListenError)) throw error;
    const text =
      error.code === 'address-in-use'
        ? `the store ${path} is in use by another host`
        : `cannot lock the store ${path}: ${error.message}`;
    throw new StoreError(text);
  }
  server.unref();
  return () => new Promise((resolve) => server.close(() => resolve()));
}
