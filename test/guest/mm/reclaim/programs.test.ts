import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { closeFile } from '../../../../guest/mm/calls/files.ts';
import { mlock, munlock } from '../../../../guest/mm/calls/mlock.ts';
import { GFP_HIGHUSER_MOVABLE, GFP_KERNEL } from '../../../../guest/mm/page/gfp.ts';
import { SLOT_STATE } from '../../../../guest/mm/reclaim/swap-slots.ts';
import { programs } from '../calls/commands.ts';
import { Model } from '../calls/model.ts';
import { ReclaimWorld } from './reclaim-world.ts';

/**
 * Frames that are left to the programs above all watermarks, boosted as far as they go: page tables
 * and what is locked in memory have to fit even where nothing can be reclaimed any more.
 */
const KEPT_FREE = 700;
const MOST_BOOST = 1.5;

/** A guest that is short of memory, and the frames that somebody else holds in it. */
class Pressed {
  readonly world: ReclaimWorld;
  readonly model: Model;
  readonly #taken: number[] = [];

  constructor(thp: 'never' | 'always') {
    this.world = new ReclaimWorld(96, { swapMib: 256, thp, diskMs: 1 });
    this.model = new Model(this.world, this.world.freeFrames);
    this.world.killWorst = () => expect.fail('swap has room for all that cannot stay');
    this.squeeze(Number.POSITIVE_INFINITY);
  }

  /** Frames go to the kernel, as long as some are free. */
  squeeze(count: number): void {
    const { allocator } = this.world.memory;
    const marks = allocator.zones.reduce((sum, zone) => sum + zone.highMark, 0);
    const kept = KEPT_FREE + marks * (1 + MOST_BOOST);
    for (let taken = 0; taken < count; taken++) {
      const pfn = allocator.nrFree() > kept ? allocator.alloc(0, GFP_KERNEL) : -1;
      if (pfn < 0) return;
      this.#taken.push(pfn);
    }
  }

  relax(): void {
    for (const pfn of this.#taken.splice(0)) this.world.memory.allocator.free(pfn, 0);
  }

  /** Writes every page of a segment. */
  fill(model: Model, who: number, where: number): void {
    const process = model.process(who);
    const page = model.page(process, where);
    const segment = page === undefined ? undefined : process.segmentOf(page);
    if (segment === undefined) return;
    for (let vpn = segment.start; vpn < segment.end; vpn++) {
      if (process.expected(vpn) === undefined) continue;
      const tag = model.newTag();
      process.real.write(vpn, tag);
      process.write(vpn, tag);
    }
  }

  /** Locks or unlocks what is small: it cannot go to swap. */
  lock(model: Model, who: number, where: number): void {
    const process = model.process(who);
    const page = model.page(process, where);
    const segment = page === undefined ? undefined : process.segmentOf(page);
    if (segment === undefined || segment.file !== undefined) return;
    const { mm, access } = process.real;
    const range = { start: segment.start, pageCount: segment.end - segment.start };
    if (range.pageCount > 100) return;
    const { spaces } = this.world;
    if (segment.locked) munlock(spaces, mm, range.start, range.pageCount);
    else this.world.run(mlock(spaces, mm, range, access));
    const toggled = { ...segment, locked: !segment.locked };
    process.segments[process.segments.indexOf(segment)] = toggled;
  }

  /** Reads every page of everything a process has mapped. */
  readAll(model: Model, who: number): void {
    const process = model.process(who);
    for (const { start, end } of process.segments) {
      for (let vpn = start; vpn < end; vpn++) model.checkPage(process, vpn);
    }
  }

  /** Somebody reclaims; what is written meanwhile is not waited for. */
  begin(): void {
    const request = { order: 0, gfp: GFP_HIGHUSER_MOVABLE, asking: { killed: false } };
    const { scheduler, reclaim } = this.world;
    const body = function* () {
      yield* reclaim.tryToFreePages(request);
    };
    scheduler.spawn('reclaims', body());
    for (let step = 0; step < 3; step++) {
      scheduler.run();
      this.world.clock.advanceBy(0);
    }
    this.world.verify();
  }

  finish(): void {
    const { world, model } = this;
    this.relax();
    model.finish();
    for (const { real } of model.files.splice(0)) {
      while (real.uses > 0) world.run(closeFile(world.spaces, real));
    }
    world.settle();
    this.#dropUnneeded();
    world.verify();
  }

  /**
   * A page that was being written when its last entry went stays in the swap cache, with its slot,
   * until somebody reclaims it (__try_to_reclaim_swap).
   */
  #dropUnneeded(): void {
    const states = this.world.reclaim.swap?.slots.states;
    for (let round = 0; (states?.countOf(SLOT_STATE.cached) ?? 0) > 0; round++) {
      expect(round).toBeLessThan(200);
      this.world.directReclaim();
      this.world.settle();
    }
  }
}

/**
 * Whatever processes do while memory is short: every page reads what was written to it last, be
 * it in memory, on its way or in swap; and in the end all memory and all of swap is back.
 */
describe('random programs of system calls under pressure', () => {
  for (const thp of ['never', 'always'] as const) {
    it(`lose and leak nothing, transparent huge pages ${thp}`, () => {
      let swappedOut = 0;
      let current = new Pressed(thp);
      const more = {
        squeeze: (_model: Model, [count]: readonly number[]) => current.squeeze(count % 3000),
        relax: () => current.relax(),
        fill: (model: Model, [who, where]: readonly number[]) => current.fill(model, who, where),
        mlock: (model: Model, [who, where]: readonly number[]) => current.lock(model, who, where),
        readAll: (model: Model, [who]: readonly number[]) => current.readAll(model, who),
        beginReclaim: () => current.begin(),
        reclaim: (_model: Model, [times]: readonly number[]) => {
          for (let time = times % 50; time >= 0; time--) current.world.directReclaim();
        },
      };
      const often = ['reclaim', 'beginReclaim', 'squeeze', 'fill', 'fill', 'fill', 'readAll'];
      const property = fc.property(programs(40, more, often), (commands) => {
        current = new Pressed(thp);
        const { model, world } = current;
        fc.modelRun(() => ({ model, real: world }), commands);
        current.finish();
        swappedOut += world.vmstat.pswpout;
        const { swap } = world.reclaim;
        // The RAM disk of boot is a file of tmpfs: what of it was swapped out stays there.
        const kept = [...world.spaces.files].flatMap((file) => [...file.swapOffsets()]).length;
        expect(swap?.freePages).toBe((swap?.totalPages ?? 0) - kept);
        expect(world.vmstat.nr_anon_pages).toBe(0);
        expect(world.spaces.tables.tableCount).toBe(0);
      });
      fc.assert(property, { numRuns: 20 });
      expect(swappedOut).toBeGreaterThan(0);
      // Most take 5 s; some random programs swap far more than others.
    }, 60_000);
  }
});
