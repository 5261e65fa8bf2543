import { chmodSync, lstatSync, statSync, unlinkSync } from 'node:fs';
import { createConnection, type ListenOptions, type Server } from 'node:net';
import { dirname } from 'node:path';
import { MAX_SOCKET_PATH_BYTES } from '../limits.ts';

/** Where a control interface listens: a unix socket's path, or an address and port (0: any). */
export type ListenTarget = string | { readonly host: string; readonly port: number };

export type ListenErrorCode =
  | 'MAX_SOCKET_PATH_BYTES'
  | 'address-in-use'
  | 'not-a-socket'
  | 'cannot-listen';

/** Why nothing listens; `message` is one line for the operator: the address and what to do. */
export class ListenError extends Error {
  override readonly name = 'ListenError';
  readonly code: ListenErrorCode;

  constructor(code: ListenErrorCode, message: string, cause?: unknown) {
    super(message, { cause });
    this.code = code;
  }
}

const OWNER_ONLY = 0o600;

/**
 * Listens at `target`. A unix socket is the owner's alone (mode 0600); one that a killed process
 * left behind is removed, one that answers is not. Throws ListenError. Impure: opens a socket.
 */
export async function listen(server: Server, target: ListenTarget): Promise<void> {
  if (typeof target !== 'string') {
    await tryListen(server, { host: target.host, port: target.port });
    return;
  }
  requireUsablePath(target);
  try {
    await tryListen(server, { path: target });
  } catch (error) {
    if (!(error instanceof ListenError) || error.code !== 'address-in-use') throw error;
    await removeStaleSocket(target);
    await tryListen(server, { path: target });
  }
}

/** The system's own errors do not say whether the length, the folder or the file is at fault. */
function requireUsablePath(path: string): void {
  const length = Buffer.byteLength(path);
  if (length > MAX_SOCKET_PATH_BYTES) {
    throw new ListenError(
      'MAX_SOCKET_PATH_BYTES',
      `a unix socket's path has at most ${MAX_SOCKET_PATH_BYTES} bytes, this has ${length}; ` +
        `use a shorter directory: ${path}`,
    );
  }
  const folder = dirname(path);
  const found = lookAt(folder);
  if (found === 'nothing') {
    throw new ListenError('cannot-listen', `${path}: no folder ${folder}; create it first`);
  }
  if (found === 'a file') {
    throw new ListenError('cannot-listen', `${path}: ${folder} is no folder; use another path`);
  }
}

/** 'unknown' where looking is not allowed: listening tells then. */
function lookAt(path: string): 'a folder' | 'a file' | 'nothing' | 'unknown' {
  try {
    const stats = statSync(path, { throwIfNoEntry: false });
    if (stats === undefined) return 'nothing';
    return stats.isDirectory() ? 'a folder' : 'a file';
  } catch {
    return 'unknown';
  }
}

function tryListen(server: Server, options: ListenOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    const onError = (error: NodeJS.ErrnoException): void => {
      server.off('listening', onListening);
      const name = options.path ?? `${options.host}:${options.port}`;
      const code = error.code === 'EADDRINUSE' ? 'address-in-use' : 'cannot-listen';
      reject(new ListenError(code, `cannot listen at ${name}: ${whatToDo(error)}`, error));
    };
    const onListening = (): void => {
      server.off('error', onError);
      resolve();
    };
    server.once('error', onError);
    server.once('listening', onListening);
    server.listen(options);
    // The socket file exists once listen() returns; nobody has had a turn to connect to it.
    if (options.path !== undefined && server.listening) chmodSync(options.path, OWNER_ONLY);
  });
}

function whatToDo({ code, message }: NodeJS.ErrnoException): string {
  switch (code) {
    case 'EADDRINUSE':
      return 'it is in use; stop the other process or choose another';
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return 'not allowed there; choose another';
    default:
      return message;
  }
}

/** Unlinks a socket nobody answers on; connecting is the only test that tells. */
async function removeStaleSocket(path: string): Promise<void> {
  const stats = lstatSync(path, { throwIfNoEntry: false });
  if (stats === undefined) return;
  if (!stats.isSocket()) {
    const text = `${path} exists and is no socket; remove it or use another path`;
    throw new ListenError('not-a-socket', text);
  }
  const refusal = await connectionError(path);
  if (refusal === 'ENOENT') return;
  if (refusal !== 'ECONNREFUSED') {
    const found = refusal === undefined ? 'a process answers on it' : refusal;
    const text = `cannot listen at ${path}: ${found}; stop that process or use another path`;
    throw new ListenError('address-in-use', text);
  }
  unlinkSync(path);
}

/** The code of the error with which a connection fails, or undefined when it is taken. */
function connectionError(path: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = createConnection(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(undefined);
    });
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
  });
}
