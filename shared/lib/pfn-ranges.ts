/** A run of page frames: `start` is the first PFN, `count` how many follow on. */
export interface PfnRange {
  readonly start: number;
  readonly count: number;
}

/** Sorts PFNs, drops repeats and merges neighbours: cost then follows ranges and not pages. */
export function toRanges(pfns: Iterable<number>): PfnRange[] {
  const sorted = Uint32Array.from(pfns).sort();
  const ranges: { start: number; count: number }[] = [];
  let last: { start: number; count: number } | undefined;
  for (const pfn of sorted) {
    if (last !== undefined && pfn < last.start + last.count) continue;
    if (last !== undefined && pfn === last.start + last.count) last.count++;
    else {
      last = { start: pfn, count: 1 };
      ranges.push(last);
    }
  }
  return ranges;
}

/** The inverse of toRanges, for tests and dumps. */
export function fromRanges(ranges: Iterable<PfnRange>): number[] {
  const pfns: number[] = [];
  for (const { start, count } of ranges) {
    for (let index = 0; index < count; index++) pfns.push(start + index);
  }
  return pfns;
}
