import { PAGE_SIZE } from '../../shared/lib/units.ts';
import { MAX_REPORT_PAGES } from '../../shared/limits.ts';
import { readWritable } from '../../shared/protocol/bodies.ts';
import { RangeList } from '../ram/range-list.ts';
import { announceDiscard, type BufferContext } from './pfn-buffers.ts';

/** Shared by all devices of the process: nothing here outlives one buffer. */
const RANGES = new RangeList();

/**
 * A free page report: the content of its ranges is thrown away before it is returned (N64). Ranges
 * that QEMU skips are skipped: not page aligned or not wholly in one RAM region. With a poison
 * value other than zero nothing is thrown away, because what comes back would be zero (N65).
 * Returns false when the policy refuses the buffer. Throws `bad-schema` for a cut range.
 */
export function takeReport(
  writable: Uint8Array,
  poisonVal: number,
  context: BufferContext,
): boolean {
  const { ledger, checks, counters } = context;
  counters.add('reporting_buffers');
  const ranges = readWritable(writable);
  if (poisonVal !== 0) {
    counters.add('poisoned_reports');
    return true;
  }
  RANGES.clear();
  let unaligned = 0;
  let outside = 0;
  let inBalloon = 0;
  let excess = 0;
  for (const { address, lengthBytes } of ranges) {
    const pageCount = lengthBytes / PAGE_SIZE;
    if (address % PAGE_SIZE !== 0 || lengthBytes % PAGE_SIZE !== 0 || pageCount === 0) {
      unaligned++;
    } else if (RANGES.pageCount + pageCount > MAX_REPORT_PAGES) {
      excess++;
    } else {
      const outcome = ledger.report(address / PAGE_SIZE, pageCount, RANGES);
      counters.add('reported_pages', outcome.changed);
      inBalloon += outcome.unexpected;
      if (outcome.outOfRange > 0) outside++;
    }
  }
  const refused = [
    checks.violatedBy('report-unaligned', unaligned),
    checks.violatedBy('report-out-of-ram', outside),
    checks.violatedBy('report-in-balloon', inBalloon),
    checks.violatedBy('MAX_REPORT_PAGES', excess),
  ];
  if (refused.includes(true)) return false;
  announceDiscard(RANGES, context);
  return true;
}
