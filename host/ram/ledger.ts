import { fail } from '../../shared/lib/assert.ts';
import type { PfnRange } from '../../shared/lib/pfn-ranges.ts';
import { FRAME_EVENT, FRAME_STATE, type FrameState, frameTable } from './frame-lifecycle.ts';
import { HintedFrames } from './hinted-frames.ts';
import type { RangeList } from './range-list.ts';
import { RegionFrames } from './region-frames.ts';

/**
 * What one buffer did to the ledger, in page frames. The ledger judges nothing: the device gives
 * what is odd here its name, counts it and follows the guest's policy.
 */
export interface LedgerOutcome {
  /** Frames whose state changed as asked. */
  readonly changed: number;
  /**
   * Frames in a state that does not allow it: inflated while in the balloon (also twice in one
   * buffer), deflated while not in it (also twice in one buffer), reported while in the balloon.
   */
  readonly unexpected: number;
  /** Frames in no RAM region. */
  readonly outOfRange: number;
}

/** How the ledger's balloon differs from the list a guest keeps of it. */
export interface BalloonDifference {
  /** Frames in the ledger's balloon that the guest does not list. */
  readonly missing: number;
  /** Frames the guest lists that are not in the ledger's balloon. */
  readonly surplus: number;
  /** Entries of the guest's list that repeat another one. */
  readonly repeated: number;
  /** The lowest PFN of each kind, for a message. */
  readonly firstMissing: number | undefined;
  readonly firstSurplus: number | undefined;
}

/** PFNs of a part of a report; nothing here outlives one call. */
const RUN = new Uint32Array(1024);

const IN_BALLOON = frameTable.tagMask('inBalloon');

function isInBalloon(state: number): boolean {
  return ((IN_BALLOON >>> state) & 1) === 1;
}

/**
 * The ledger of one guest: every page frame of its RAM regions is in exactly one state of
 * frame-lifecycle.ts. No VMM keeps one (H1), so only here can a frame that is inflated twice or
 * deflated without inflation be seen. A byte a frame, only where a frame was ever taken.
 *
 * Not emulated: host memory behind the frames, faults that make a discarded or reported frame
 * resident again, host pages larger than 4096 bytes.
 */
export class RamLedger {
  readonly pageCount: number;
  /** Ascending. */
  readonly regions: readonly PfnRange[];
  /** Beside their state: what a migration would leave out. */
  readonly hinted: HintedFrames;
  readonly #frames: readonly RegionFrames[];
  /** The region found last: buffers stay within one for long. */
  #recent: RegionFrames;

  /** `regions` do not overlap and none is empty; the connection's hello was checked for it. */
  constructor(regions: readonly PfnRange[]) {
    this.regions = [...regions].sort((a, b) => a.start - b.start);
    this.hinted = new HintedFrames(this.regions);
    this.#frames = this.regions.map((range) => new RegionFrames(range));
    this.#recent = this.#frames[0] ?? fail('a ledger covers at least one region');
    this.pageCount = this.regions.reduce((sum, { count }) => sum + count, 0);
  }

  /** Frames in the balloon: ballooned and discarded ones. */
  get balloonPages(): number {
    return this.count('ballooned') + this.count('discarded');
  }

  count(state: FrameState): number {
    return this.#frames.reduce((sum, region) => sum + region.count(FRAME_STATE[state]), 0);
  }

  /** Memory it takes now, in bytes: at most a byte and a bit a frame, and a chunk a region. */
  get bytes(): number {
    return this.#frames.reduce((sum, region) => sum + region.bytes, this.hinted.bytes);
  }

  /** The state of a frame, undefined where there is no RAM. */
  stateOf(pfn: number): FrameState | undefined {
    const region = this.#regionOf(pfn);
    return region && frameTable.stateNames[region.stateOf(pfn)];
  }

  /** An inflate buffer was seen: its frames are the host's from here on (N20, N21). */
  inflate(pfns: Uint32Array): LedgerOutcome {
    return this.#stepEach(pfns, FRAME_EVENT.inflate);
  }

  /** A deflate buffer was seen: its frames are the guest's again. */
  deflate(pfns: Uint32Array): LedgerOutcome {
    return this.#stepEach(pfns, FRAME_EVENT.deflate);
  }

  /**
   * Throws away the content of an inflate buffer's frames and adds them to `out`. A frame that
   * was in the balloon already is thrown away once more, as QEMU does: whoever inflates it twice
   * may have written to it in between. Frames outside RAM are left out.
   */
  discard(pfns: Uint32Array, out: RangeList): void {
    for (let at = 0; at < pfns.length; ) {
      const region = this.#regionOf(pfns[at]);
      if (region === undefined) {
        at++;
        continue;
      }
      const end = region.endOfRun(pfns, at);
      region.tryStepEach(pfns, at, end, FRAME_EVENT.discard);
      out.addPages(pfns, at, end);
      at = end;
    }
  }

  /**
   * A free page report names `count` frames from `start`. They are added to `out` for discarding,
   * those in the balloon as well: their content is gone already. A range that does not lie in one
   * region is left alone, as QEMU leaves one that overruns a RAM block.
   */
  report(start: number, count: number, out: RangeList): LedgerOutcome {
    const region = this.#regionOf(start);
    if (region === undefined || start + count > region.end) {
      return { changed: 0, unexpected: 0, outOfRange: count };
    }
    out.addRange(start, count);
    let changed = 0;
    for (let pfn = start; pfn < start + count; pfn += RUN.length) {
      const length = Math.min(RUN.length, start + count - pfn);
      for (let index = 0; index < length; index++) RUN[index] = pfn + index;
      changed += region.tryStepEach(RUN, 0, length, FRAME_EVENT.report);
    }
    return { changed, unexpected: count - changed, outOfRange: 0 };
  }

  /**
   * Every frame is resident again and none hinted, as after a reset or a power-on. Returns how
   * many were in the balloon until now.
   */
  reset(): number {
    const { balloonPages } = this;
    this.hinted.clear();
    for (const region of this.#frames) region.clear();
    return balloonPages;
  }

  /** Calls `visit` with each frame in the balloon, ascending. */
  forEachBalloonPage(visit: (pfn: number) => void): void {
    for (const region of this.#frames) {
      region.forEachTaken((pfn, state) => {
        if (isInBalloon(state)) visit(pfn);
      });
    }
  }

  /** Holds the balloon against the guest's own list, in any order. */
  compareBalloon(guestPfns: Iterable<number>): BalloonDifference {
    const listed = Uint32Array.from(guestPfns).sort();
    let repeated = 0;
    let surplus = 0;
    let firstSurplus: number | undefined;
    let found = 0;
    for (let index = 0; index < listed.length; index++) {
      const pfn = listed[index];
      if (index > 0 && listed[index - 1] === pfn) {
        repeated++;
      } else if (this.#inBalloon(pfn)) {
        found++;
      } else {
        surplus++;
        firstSurplus ??= pfn;
      }
    }
    const missing = this.balloonPages - found;
    const firstMissing = missing === 0 ? undefined : this.#firstNotIn(listed);
    return { missing, surplus, repeated, firstMissing, firstSurplus };
  }

  #firstNotIn(sorted: Uint32Array): number | undefined {
    let first: number | undefined;
    let at = 0;
    this.forEachBalloonPage((pfn) => {
      if (first !== undefined) return;
      while (at < sorted.length && sorted[at] < pfn) at++;
      if (sorted[at] !== pfn) first = pfn;
    });
    return first;
  }

  #inBalloon(pfn: number): boolean {
    const region = this.#regionOf(pfn);
    return region !== undefined && isInBalloon(region.stateOf(pfn));
  }

  #stepEach(pfns: Uint32Array, event: number): LedgerOutcome {
    let changed = 0;
    let outOfRange = 0;
    for (let at = 0; at < pfns.length; ) {
      const region = this.#regionOf(pfns[at]);
      if (region === undefined) {
        outOfRange++;
        at++;
        continue;
      }
      const end = region.endOfRun(pfns, at);
      changed += region.tryStepEach(pfns, at, end, event);
      at = end;
    }
    return { changed, unexpected: pfns.length - outOfRange - changed, outOfRange };
  }

  #regionOf(pfn: number): RegionFrames | undefined {
    if (pfn >= this.#recent.start && pfn < this.#recent.end) return this.#recent;
    for (const region of this.#frames) {
      if (pfn < region.start || pfn >= region.end) continue;
      this.#recent = region;
      return region;
    }
    return undefined;
  }
}
