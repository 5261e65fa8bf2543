import type { Counters } from '../../shared/lib/counters.ts';
import { MAX_BODY_BYTES, MAX_BUFFER_PFNS } from '../../shared/limits.ts';
import { bytesOfWords, WordScratch } from '../../shared/protocol/bodies.ts';
import { Op } from '../../shared/protocol/messages.ts';
import type { RamLedger } from '../ram/ledger.ts';
import { RangeList } from '../ram/range-list.ts';
import type { DeviceCounter } from './device-counters.ts';
import type { DevicePort } from './device-port.ts';
import type { Checks } from './violations.ts';

/** Shared by all devices of the process: nothing here outlives one buffer. */
const SCRATCH = new WordScratch();
const RANGES = new RangeList();

/** A pair of le32 first PFN and le32 count takes 8 bytes of a `discard` body. */
const PAIRS_PER_BODY = Math.floor(MAX_BODY_BYTES / 8);

export interface BufferContext {
  readonly ledger: RamLedger;
  readonly checks: Checks;
  readonly counters: Counters<DeviceCounter>;
  readonly port: DevicePort;
}

/**
 * An inflate buffer: its frames go to the balloon and their content is thrown away, which the
 * guest is told before the buffer is returned (N20). Returns false when the policy refuses the
 * buffer; its frames then stay in the ledger's balloon, not discarded, until the reset.
 */
export function takeInflateBuffer(readable: Uint8Array, context: BufferContext): boolean {
  const { ledger, checks, counters } = context;
  const pfns = readPfnList(readable, checks);
  if (pfns === undefined) return false;
  counters.add('inflate_buffers');
  const outcome = ledger.inflate(pfns);
  counters.add('inflated_pages', outcome.changed);
  const outside = checks.violatedBy('pfn-out-of-ram', outcome.outOfRange);
  const twice = checks.violatedBy('inflated-twice', outcome.unexpected);
  if (outside || twice) return false;
  RANGES.clear();
  ledger.discard(pfns, RANGES);
  announceDiscard(RANGES, context);
  return true;
}

/** A deflate buffer: its frames are the guest's again. Their content stays as it is. */
export function takeDeflateBuffer(readable: Uint8Array, context: BufferContext): boolean {
  const { ledger, checks, counters } = context;
  const pfns = readPfnList(readable, checks);
  if (pfns === undefined) return false;
  counters.add('deflate_buffers');
  const outcome = ledger.deflate(pfns);
  counters.add('deflated_pages', outcome.changed);
  const outside = checks.violatedBy('pfn-out-of-ram', outcome.outOfRange);
  const stray = checks.violatedBy('deflated-without-inflation', outcome.unexpected);
  return !outside && !stray;
}

/**
 * Tells the guest which frames lost their content, in as many messages as it takes; `ranges` may
 * be reused afterwards.
 */
export function announceDiscard(
  ranges: RangeList,
  { counters, port }: Pick<BufferContext, 'counters' | 'port'>,
): void {
  counters.add('discarded_pages', ranges.pageCount);
  for (let from = 0; from < ranges.length; from += PAIRS_PER_BODY) {
    const pairs = ranges.pairs(from, Math.min(PAIRS_PER_BODY, ranges.length - from));
    port.send([Op.discard, bytesOfWords(pairs, pairs.length)]);
  }
}

/** The PFNs of a body (D2), valid until the next buffer; undefined when it is refused. */
function readPfnList(readable: Uint8Array, checks: Checks): Uint32Array | undefined {
  const count = SCRATCH.load(readable);
  const empty = checks.violatedBy('pfn-list-empty', Number(readable.length === 0));
  const cut = checks.violatedBy('pfn-list-cut', Number(readable.length % 4 !== 0));
  const long = checks.violatedBy('MAX_BUFFER_PFNS', Number(count > MAX_BUFFER_PFNS));
  return empty || cut || long ? undefined : SCRATCH.words.subarray(0, count);
}
