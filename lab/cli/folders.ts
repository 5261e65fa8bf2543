import { mkdirSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { MAX_SOCKET_PATH_BYTES } from '../../shared/limits.ts';
import { UsageError } from './errors.ts';

/**
 * Makes sure the folder that `flag` names is there; parents are made as well. Throws UsageError
 * with the flag's name.
 */
export function makeFolder(flag: string, path: string | undefined): void {
  if (path === undefined) return;
  try {
    makeWithParents(resolve(path));
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const why = code === 'EEXIST' || code === 'ENOTDIR' ? 'it is a file or lies in one' : message;
    throw new UsageError(`${flag}: cannot use ${path} as a folder: ${why}`);
  }
}

/** The same for a folder of sockets, where at least an id of one letter must fit. */
export function makeSocketFolder(flag: string, path: string | undefined): void {
  if (path !== undefined && Buffer.byteLength(join(path, 'x.qmp')) > MAX_SOCKET_PATH_BYTES) {
    throw new UsageError(
      `${flag}: sockets in ${path} would have paths of more than ${MAX_SOCKET_PATH_BYTES} bytes` +
        ' (MAX_SOCKET_PATH_BYTES); use a shorter folder',
    );
  }
  makeFolder(flag, path);
}

/** Not by mkdir's `recursive`: Node 20 never returns from it below /proc. */
function makeWithParents(path: string): void {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats?.isDirectory()) return;
  if (stats === undefined) makeWithParents(dirname(path));
  mkdirSync(path, { mode: 0o700 });
}
