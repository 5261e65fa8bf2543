import {
  closeSync,
  existsSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { z } from 'zod';
import { MAX_GUESTS, MAX_STORE_LINES } from '../../shared/limits.ts';
import { isGuestId } from '../../shared/protocol/codec.ts';
import { regionsFault } from '../../shared/transport/hello.ts';
import { type GuestKeeper, KeepError, type KeptGuest } from '../vmm/guest-keeper.ts';

/**
 * The guests of a host in an append-only file of JSON lines: one a change, the last one of a guest
 * counts. A line is on the disk before `put` returns. Loading drops a torn last line and writes the
 * file anew, one line a guest; so does a file that has grown. Impure: a file.
 *
 * Not done here: keeping a second host away from the file (store-lock.ts).
 */
const UINT32_MAX = 0xffff_ffff;
const uint32 = z.int().nonnegative().max(UINT32_MAX);
const recordSchema = z.strictObject({
  guest: z.string().refine(isGuestId),
  epoch: z.int().nonnegative(),
  regions: z
    .array(z.strictObject({ start: uint32, count: uint32.min(1) }))
    .refine((regions) => regionsFault(regions) === undefined),
  targetBytes: z.int().positive().exactOptional(),
  pollingIntervalSeconds: uint32,
  qomId: z.string(),
  properties: z.strictObject({
    'deflate-on-oom': z.boolean(),
    'free-page-hint': z.boolean(),
    'free-page-reporting': z.boolean(),
    'page-poison': z.boolean(),
    'qemu-4-0-config-size': z.boolean(),
  }),
  unplugged: z.literal(true).exactOptional(),
  departure: z.enum(['power-off', 'guest-gone']).exactOptional(),
}) satisfies z.ZodType<KeptGuest>;

/** The store's file cannot be used; one line for the operator. */
export class StoreError extends Error {
  override readonly name = 'StoreError';
}

export class GuestStore implements GuestKeeper {
  readonly #path: string;
  readonly #maxLines: number;
  /** The last line of each guest; of those that departed, the latest are last. */
  readonly #known = new Map<string, { readonly record: KeptGuest; readonly line: string }>();
  /** Undefined once it was closed: its number may be another file's by then. */
  #file: number | undefined;
  #lineCount = 0;
  /** Where the next line goes: the end of the last whole one. */
  #sizeBytes = 0;

  /** Opens or creates the file and loads it. Throws StoreError. A smaller limit is for tests. */
  constructor(path: string, maxLines = MAX_STORE_LINES) {
    this.#path = path;
    this.#maxLines = maxLines;
    try {
      this.#load();
      this.#file = this.#rewrite();
    } catch (error) {
      if (error instanceof StoreError) throw error;
      throw new StoreError(`cannot use the store ${path}: ${(error as Error).message}`);
    }
  }

  list(): readonly KeptGuest[] {
    return Array.from(this.#known.values(), ({ record }) => record);
  }

  /** Writes nothing when the guest's last record says the same. */
  put(record: KeptGuest): void {
    const line = `${JSON.stringify(record)}\n`;
    if (this.#known.get(record.guest)?.line === line) return;
    this.#append(line);
    this.#remember(record, line);
    if (++this.#lineCount >= this.#maxLines) this.#shorten();
  }

  /** Nothing can be put any more. May be called again. */
  close(): void {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }

  get #temporary(): string {
    return `${this.#path}.new`;
  }

  /** The record is safe already: where there is no room for a new file the old one goes on. */
  #shorten(): void {
    this.#lineCount = 0;
    try {
      const anew = this.#rewrite();
      this.close();
      this.#file = anew;
    } catch {
      return;
    }
  }

  #remember(record: KeptGuest, line: string): void {
    if (record.departure !== undefined) this.#known.delete(record.guest);
    this.#known.set(record.guest, { record, line });
  }

  /** A part of a line, left by a full disk, must not stand before the next one. */
  #append(line: string): void {
    const bytes = Buffer.from(line);
    this.#kept(() => {
      if (this.#file === undefined) throw new Error('it is closed');
      ftruncateSync(this.#file, this.#sizeBytes);
      for (let at = 0; at < bytes.length; ) {
        at += writeSync(this.#file, bytes, at, bytes.length - at, this.#sizeBytes + at);
      }
      fsyncSync(this.#file);
    });
    this.#sizeBytes += bytes.length;
  }

  #kept<Result>(action: () => Result): Result {
    try {
      return action();
    } catch (error) {
      throw new KeepError(`cannot write the store ${this.#path}: ${(error as Error).message}`);
    }
  }

  #load(): void {
    if (!existsSync(this.#path)) return;
    const lines = readFileSync(this.#path, 'utf8').split('\n');
    for (const [index, line] of lines.entries()) {
      if (line === '') continue;
      const record = parseLine(line);
      // A kill in the middle of a write tears the last line only; elsewhere the file is damaged.
      const mayBeTorn = index === lines.length - 1 && (index > 0 || beginsRecord(line));
      if (record !== undefined) this.#remember(record, `${line}\n`);
      else if (!mayBeTorn) {
        throw new StoreError(`${this.#path}: line ${index + 1} is no record; move the file away`);
      }
    }
  }

  /** One line a guest, in a new file that takes the old one's place at once. */
  #rewrite(): number {
    this.#forgetLongGone();
    const text = Array.from(this.#known.values(), ({ line }) => line).join('');
    const bytes = Buffer.from(text);
    const file = openSync(this.#temporary, 'w', 0o600);
    try {
      for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at);
      fsyncSync(file);
      renameSync(this.#temporary, this.#path);
    } catch (error) {
      closeSync(file);
      rmSync(this.#temporary);
      throw error;
    }
    syncFolder(dirname(this.#path));
    this.#lineCount = this.#known.size;
    this.#sizeBytes = bytes.length;
    return file;
  }

  /** Of guests that departed the newest MAX_GUESTS are kept, as in the host's memory. */
  #forgetLongGone(): void {
    const departed = this.list().filter(({ departure }) => departure !== undefined);
    const tooMany = Math.max(0, departed.length - MAX_GUESTS);
    for (const { guest } of departed.slice(0, tooMany)) this.#known.delete(guest);
  }
}

/** Makes a rename last over a crash of the machine, where the system can do that for a folder. */
function syncFolder(path: string): void {
  try {
    const folder = openSync(path, 'r');
    fsyncSync(folder);
    closeSync(folder);
  } catch {
    return;
  }
}

const RECORD_START = '{"guest":';

/** Whether the only line of a file can be a torn record; else the file is someone else's. */
function beginsRecord(line: string): boolean {
  return line.startsWith(RECORD_START.slice(0, line.length));
}

function parseLine(line: string): KeptGuest | undefined {
  try {
    return recordSchema.parse(JSON.parse(line));
  } catch {
    return undefined;
  }
}
