import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import type { z } from 'zod';
import { MAX_RECORDING_FILE_BYTES } from '../../shared/limits.ts';

/**
 * Files of a recording: whatever is wrong with one becomes an UnusableRecording that names it.
 * Reading is synchronous: verify has nothing else to do meanwhile.
 */

/** A folder that `puff verify` cannot use: one line that says which file, where and why. Exit 2. */
export class UnusableRecording extends Error {
  override readonly name = 'UnusableRecording';
}

export interface Line {
  readonly text: string;
  /** File and line number, for messages. */
  readonly where: string;
}

/** The lines of a text file, `.gz` unpacked; empty ones are left out. */
export function readLines(directory: string, file: string): Line[] {
  return linesOf(required(directory, file), directory, file);
}

/** The same for a file that a recording may have; none where it has not. */
export function readOptionalLines(directory: string, file: string): Line[] {
  const bytes = contents(directory, file);
  return bytes === undefined ? [] : linesOf(bytes, directory, file);
}

function linesOf(bytes: Buffer, directory: string, file: string): Line[] {
  const lines = bytes.toString('utf8').split('\n');
  return lines
    .map((text, index) => ({ text, where: `${directory}/${file}: line ${index + 1}` }))
    .filter((line) => line.text !== '');
}

/** The bytes of a file, `.gz` unpacked. */
export function readBytes(directory: string, file: string): Uint8Array {
  return required(directory, file);
}

/** The bytes of a file of records of one size, one for each of `frames` frames or more. */
export function readFrameRecords(
  directory: string,
  file: string,
  { frames, recordBytes }: { readonly frames: number; readonly recordBytes: number },
): Uint8Array {
  const bytes = required(directory, file);
  const records = bytes.byteLength / recordBytes;
  if (Number.isInteger(records) && records >= frames) return bytes;
  const wanted = `${recordBytes} for each of ${frames} frames`;
  throw new UnusableRecording(`${directory}/${file}: has ${bytes.byteLength} bytes, not ${wanted}`);
}

/** The whole text of a file, `.gz` unpacked. */
export function readText(directory: string, file: string): string {
  return required(directory, file).toString('utf8');
}

/** The parsed file; undefined only for an optional one that does not exist. */
export function readJson(directory: string, file: string, missing?: 'optional'): unknown {
  const bytes = missing === 'optional' ? contents(directory, file) : required(directory, file);
  return bytes && parse(bytes.toString('utf8'), `${directory}/${file}`);
}

export function parse(text: string, where: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new UnusableRecording(`${where}: is no JSON`);
  }
}

/** The value as the schema gives it; else the schema's first complaint, in one line. */
export function checked<Schema extends z.ZodType>(
  schema: Schema,
  value: unknown,
  where: string,
): z.output<Schema> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const path = issue.path.length === 0 ? '' : `${issue.path.join('.')}: `;
  throw new UnusableRecording(`${where}: ${path}${issue.message}`);
}

function required(directory: string, file: string): Buffer {
  const bytes = contents(directory, file);
  if (bytes === undefined) throw new UnusableRecording(`${directory}/${file}: no such file`);
  return bytes;
}

function contents(directory: string, file: string): Buffer | undefined {
  try {
    const bytes = readFileSync(join(directory, file));
    if (!file.endsWith('.gz')) return bytes;
    return gunzipSync(bytes, { maxOutputLength: MAX_RECORDING_FILE_BYTES });
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return undefined;
    throw new UnusableRecording(`${directory}/${file}: ${message}`);
  }
}
