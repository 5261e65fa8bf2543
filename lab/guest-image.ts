import { type FreeListDump, freeListDumpSchema } from '../guest/mm/page/image.ts';
import { ImageError, imageMemoryBytes, requireBootable } from '../guest/mm/page/image-check.ts';
import { type KmemEvent, parseKmemTrace, UnusableTrace } from '../guest/workload/kmem-trace.ts';
import { issueText } from '../shared/control/issues.ts';
import { formatSize } from '../shared/lib/units.ts';
import { readPackedText } from './packed-file.ts';

/** A recorded guest's allocator to boot from, and the RAM that guest had. */
export interface GuestImage {
  readonly image: FreeListDump;
  readonly memoryBytes: number;
}

/**
 * Reads a `freelists-*.json.gz`. `memoryBytes` is the RAM that was asked for, if any: a guest that
 * boots from an image has the image's. Throws PackedFileError, or ImageError with the file's name.
 */
export function readGuestImage(path: string, memoryBytes?: number): GuestImage {
  const text = readPackedText(path);
  const image = parseImage(text, path);
  const ownBytes = named(path, () => {
    requireBootable(image);
    return imageMemoryBytes(image);
  });
  if (memoryBytes !== undefined && memoryBytes !== ownBytes) {
    const [asked, own] = [memoryBytes, ownBytes].map(formatSize);
    throw new ImageError(`${path}: is of a guest of ${own}, not ${asked}; use ${own} or none`);
  }
  return { image, memoryBytes: ownBytes };
}

/**
 * Reads the requests of a `kmem-trace.txt.gz` between its two dumps. Throws PackedFileError, or
 * UnusableTrace with the file's name.
 */
export function readKmemTrace(path: string): KmemEvent[] {
  try {
    const events = parseKmemTrace(readPackedText(path));
    if (events.length > 0) return events;
    throw new UnusableTrace('has no requests between DUMP-before and DUMP-after');
  } catch (error) {
    if (!(error instanceof UnusableTrace)) throw error;
    throw new UnusableTrace(`${path}: ${error.message}`);
  }
}

function parseImage(text: string, path: string): FreeListDump {
  const result = freeListDumpSchema.safeParse(parseJson(text, path));
  if (result.success) return result.data;
  throw new ImageError(`${path}: ${issueText(result.error)}`);
}

function parseJson(text: string, path: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new ImageError(`${path}: is not JSON`);
  }
}

function named<Value>(path: string, check: () => Value): Value {
  try {
    return check();
  } catch (error) {
    if (!(error instanceof ImageError)) throw error;
    throw new ImageError(`${path}: ${error.message}`);
  }
}
