import type { PfnRange } from '../lib/pfn-ranges.ts';
import { MAX_GUEST_PAGES, MAX_RAM_REGIONS } from '../limits.ts';
import { readPairs } from '../protocol/bodies.ts';
import { ProtocolError } from '../protocol/errors.ts';
import type { Hello } from '../protocol/messages.ts';
import { Op, PROTOCOL_VERSION } from '../protocol/messages.ts';

/** A hello whose version, id, epoch and RAM regions were checked. */
export interface GuestHello {
  readonly guestId: string;
  readonly epoch: number;
  /** Name of the session the guest wants to go on with; empty for a power-on. */
  readonly session: string;
  /** Sequenced messages of that session the guest has, modulo 2^32. */
  readonly received: number;
  /** Sorted, not overlapping, 1 to MAX_RAM_REGIONS, at most MAX_GUEST_PAGES in all. */
  readonly regions: readonly PfnRange[];
}

/** The parts of a hello as the guest has them: its RAM regions are encoded once (writePairs). */
export interface HelloFields {
  readonly guestId: string;
  readonly epoch: number;
  readonly session: string;
  readonly received: number;
  readonly regions: Uint8Array;
}

export function makeHello(fields: HelloFields): Hello {
  const { guestId, epoch, session, received, regions } = fields;
  const epochHigh = Math.floor(epoch / 2 ** 32);
  const epochLow = epoch % 2 ** 32;
  return [Op.hello, PROTOCOL_VERSION, guestId, epochHigh, epochLow, session, received, regions];
}

/** Throws `unsupported-version`, `bad-hello` (epoch above 2^53 - 1) or `bad-ram`. */
export function parseHello(hello: Hello): GuestHello {
  const [, version, guestId, epochHigh, epochLow, session, received, regionBytes] = hello;
  if (version !== PROTOCOL_VERSION) {
    throw new ProtocolError(
      'unsupported-version',
      `${version}, this host speaks ${PROTOCOL_VERSION}`,
    );
  }
  const epoch = epochHigh * 2 ** 32 + epochLow;
  if (!Number.isSafeInteger(epoch)) throw new ProtocolError('bad-hello', 'epoch above 2^53 - 1');
  return { guestId, epoch, session, received, regions: parseRegions(regionBytes) };
}

/** RAM regions: whole pairs, ascending by first PFN, not overlapping. Throws `bad-ram`. */
function parseRegions(bytes: Uint8Array): readonly PfnRange[] {
  let regions: PfnRange[];
  try {
    regions = readPairs(bytes);
  } catch (error) {
    if (error instanceof ProtocolError) throw new ProtocolError('bad-ram', error.message);
    throw error;
  }
  const fault = regionsFault(regions);
  if (fault !== undefined) throw new ProtocolError('bad-ram', fault);
  return regions;
}

/** Why no guest can have these RAM regions, none of which is empty; undefined where one can. */
export function regionsFault(regions: readonly PfnRange[]): string | undefined {
  if (regions.length === 0 || regions.length > MAX_RAM_REGIONS) {
    return `${regions.length} regions, MAX_RAM_REGIONS`;
  }
  let end = 0;
  let pageCount = 0;
  for (const { start, count } of regions) {
    if (start < end) return `PFN ${start} after ${end}`;
    end = start + count;
    pageCount += count;
  }
  return pageCount > MAX_GUEST_PAGES ? `${pageCount} pages, MAX_GUEST_PAGES` : undefined;
}
