import type { PfnRange } from '../../shared/lib/pfn-ranges.ts';

interface HintedRegion {
  readonly start: number;
  readonly end: number;
  /** A bit a frame, made with the first hint. */
  words: Uint32Array | undefined;
}

/**
 * The frames that a migration under way would leave out because the guest hinted them (QEMU: their
 * bits in the dirty bitmap are cleared). Unlike a reported frame a hinted one keeps its content
 * and its place in the ledger: it is the guest's, only its content is of no use to the guest.
 *
 * Not emulated: a write of the guest to a hinted frame, which cancels its hint (D6): a host
 * without the guest's memory cannot see it, so nothing that depends on the content may be done.
 */
export class HintedFrames {
  readonly #regions: readonly HintedRegion[];
  #pageCount = 0;

  constructor(regions: readonly PfnRange[]) {
    this.#regions = regions.map(({ start, count }) => {
      return { start, end: start + count, words: undefined };
    });
  }

  get pageCount(): number {
    return this.#pageCount;
  }

  /** Bytes held. */
  get bytes(): number {
    return this.#regions.reduce((sum, { words }) => sum + (words?.byteLength ?? 0), 0);
  }

  has(pfn: number): boolean {
    const region = this.#regionOf(pfn);
    if (region?.words === undefined) return false;
    const index = pfn - region.start;
    return ((region.words[index >>> 5] >>> (index & 31)) & 1) === 1;
  }

  /** Marks `count` frames from `start`; returns how many are new, -1 where not all are RAM. */
  add(start: number, count: number): number {
    const region = this.#regionOf(start);
    if (region === undefined || start + count > region.end) return -1;
    region.words ??= new Uint32Array(Math.ceil((region.end - region.start) / 32));
    const added = mark(region.words, start - region.start, count);
    this.#pageCount += added;
    return added;
  }

  clear(): void {
    for (const region of this.#regions) region.words = undefined;
    this.#pageCount = 0;
  }

  #regionOf(pfn: number): HintedRegion | undefined {
    return this.#regions.find(({ start, end }) => pfn >= start && pfn < end);
  }
}

/** Sets `count` bits from bit `from` on; returns how many were not set. */
function mark(words: Uint32Array, from: number, count: number): number {
  let added = 0;
  for (let at = from; at < from + count; ) {
    const bit = at & 31;
    const length = Math.min(32 - bit, from + count - at);
    const mask = ((length === 32 ? 0xffff_ffff : (1 << length) - 1) << bit) >>> 0;
    const before = words[at >>> 5];
    words[at >>> 5] = before | mask;
    added += popcount(mask & ~before);
    at += length;
  }
  return added;
}

function popcount(word: number): number {
  let bits = word - ((word >>> 1) & 0x5555_5555);
  bits = (bits & 0x3333_3333) + ((bits >>> 2) & 0x3333_3333);
  return Math.imul((bits + (bits >>> 4)) & 0x0f0f_0f0f, 0x0101_0101) >>> 24;
}
