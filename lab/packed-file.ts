import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { formatSize } from '../shared/lib/units.ts';
import { MAX_PACKED_FILE_BYTES, MAX_UNPACKED_FILE_BYTES } from '../shared/limits.ts';

/** A `.gz` file that cannot be read; one line that names the file. */
export class PackedFileError extends Error {
  override readonly name = 'PackedFileError';
}

export interface PackedFileLimits {
  readonly packedBytes: number;
  readonly unpackedBytes: number;
}

const LIMITS: PackedFileLimits = {
  packedBytes: MAX_PACKED_FILE_BYTES,
  unpackedBytes: MAX_UNPACKED_FILE_BYTES,
};

/**
 * The text of a gzip file of bounded size, read and unpacked at once: whoever asks has nothing
 * else to do meanwhile. Throws PackedFileError.
 */
export function readPackedText(path: string, limits: PackedFileLimits = LIMITS): string {
  const packed = readBounded(path, limits.packedBytes);
  if (packed[0] !== 0x1f || packed[1] !== 0x8b) throw new PackedFileError(`${path}: is not gzip`);
  try {
    return gunzipSync(packed, { maxOutputLength: limits.unpackedBytes }).toString('utf8');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const tooLarge = `unpacked it is larger than ${formatSize(limits.unpackedBytes)}`;
    const text = code === 'ERR_BUFFER_TOO_LARGE' ? tooLarge : `is not whole gzip: ${message}`;
    throw new PackedFileError(`${path}: ${text}`);
  }
}

/** The bytes of a plain file; of one that grows meanwhile, those that it had. */
function readBounded(path: string, mostBytes: number): Buffer {
  const file = openFile(path);
  try {
    const stats = fstatSync(file);
    if (!stats.isFile()) throw new PackedFileError(`${path}: is no plain file`);
    if (stats.size > mostBytes) {
      throw new PackedFileError(`${path}: is larger than ${formatSize(mostBytes)}`);
    }
    const bytes = Buffer.alloc(stats.size);
    let read = 0;
    for (let more = -1; more !== 0 && read < bytes.length; read += more) {
      more = readSync(file, bytes, read, bytes.length - read, null);
    }
    return bytes.subarray(0, read);
  } finally {
    closeSync(file);
  }
}

function openFile(path: string): number {
  try {
    // Without O_NONBLOCK opening a FIFO waits for somebody to write to it.
    return openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new PackedFileError(`${path}: ${code === 'ENOENT' ? 'no such file' : message}`);
  }
}
