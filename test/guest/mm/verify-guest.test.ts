import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { truncateFile } from '../../../guest/mm/calls/files.ts';
import type { ContigAllocator } from '../../../guest/mm/move/alloc-contig.ts';
import { GFP_HIGHUSER } from '../../../guest/mm/page/gfp.ts';
import { type PageRange, RANGE_ALIGN_PAGES } from '../../../guest/mm/page/page-isolation.ts';
import { PAGEBLOCK_PAGES } from '../../../guest/mm/page/page-map.ts';
import type { Waiting } from '../../../guest/sched/scheduler.ts';
import { type Program, programSchema } from '../../../guest/workload/programs.ts';
import { readGuestImage } from '../../../lab/guest-image.ts';
import { MIB } from '../../../shared/lib/units.ts';
import { ROOT } from '../../support/puff.ts';
import { type Act, programs } from './calls/commands.ts';
import { Model } from './calls/model.ts';
import { GuestWorld, type GuestWorldOptions } from './verify-world.ts';

const IMAGE = 'lab/recordings/exact-inflate-512m/freelists-before.json.gz';
const DEFLATE_ON_OOM = 1n << 2n;

/** The balloon at its largest leaves more than the processes of a random program can use. */
const MOST_BALLOON_MIB = 112;

/** Programs that come to an end within two seconds; the large one is there to be killed. */
const WORKLOADS: readonly unknown[] = [
  { name: 'hog', mib: 6, seconds: 1, lock: true },
  { name: 'hog', mib: 48, seconds: 2 },
  { name: 'frag', mib: 6, keepEvery: 3, seconds: 2 },
  { name: 'huge', mib: 6, seconds: 1 },
  { name: 'huge', mib: 16, seconds: 2 },
  { name: 'forkserver', mib: 3, children: 3, seconds: 1 },
  { name: 'tmpfs', mib: 4, files: 3, seconds: 1 },
  { name: 'writer', mib: 3, seconds: 1 },
];

/** Free frames, and those of the files of the boot, which may go to swap. */
function availableFrames({ freeFrames, vmstat }: GuestWorld): number {
  return freeFrames + vmstat.get('nr_file_pages');
}

/** A model whose world is a whole guest; everything is checked after every step. */
class GuestModel extends Model {
  readonly guest: GuestWorld;
  readonly #bootTotal: number;

  constructor(guest: GuestWorld) {
    super(guest, availableFrames(guest));
    this.guest = guest;
    this.#bootTotal = guest.memory.allocator.memInfo().memTotal;
  }

  override step(): void {
    this.guest.verify();
    this.#checkMemTotal();
  }

  /** Pages of the balloon are not managed, unless the balloon deflates on OOM. */
  #checkMemTotal(): void {
    const { balloon, device } = this.guest.guest.kernel;
    if (balloon.resizing || this.guest.holding) return;
    const { memTotal } = this.guest.memory.allocator.memInfo();
    const deflatesOnOom = (device.negotiated & DEFLATE_ON_OOM) !== 0n;
    expect(memTotal + (deflatesOnOom ? 0 : balloon.numPages)).toBe(this.#bootTotal);
  }
}

const guestAct = (act: (guest: GuestWorld, numbers: readonly number[]) => void): Act => {
  return (model, numbers) => act((model as GuestModel).guest, numbers);
};

/** First frames of the huge pages of processes. */
function hugePages({ memory }: GuestWorld): number[] {
  const heads: number[] = [];
  for (let pfn = 0; pfn < memory.pages.pageCount; pfn += PAGEBLOCK_PAGES) {
    if (memory.pages.compoundOrder(pfn) === 9 && memory.pages.isMovable(pfn)) heads.push(pfn);
  }
  return heads;
}

function* borrow(contig: ContigAllocator, range: PageRange): Waiting {
  const taken = yield* contig.allocRange(range, GFP_HIGHUSER);
  if (!taken) return;
  yield 5;
  contig.freeRange(range);
}

const GUEST_ACTS: Readonly<Record<string, Act>> = {
  inflate: guestAct((guest, [size]) => guest.setTarget(guest.mib - MOST_BALLOON_MIB + (size % 60))),
  deflate: guestAct((guest, [size]) => guest.setTarget(guest.mib - (size % 30))),
  hold: guestAct((guest) => {
    guest.holding = true;
  }),
  release: guestAct((guest) => guest.release()),
  pass: guestAct((guest, [ms]) => guest.pass(ms % 2500)),
  compact: guestAct((guest) => {
    guest.guest.kernel.compactMemory();
    guest.pass(3);
  }),
  hugePages: guestAct((guest, [count]) => {
    guest.guest.kernel.setNrHugepages(count % 6);
    guest.pass(3);
  }),
  /** Has a range of 4 MiB for a while, if it can be emptied; rather one with a huge page in it. */
  range: guestAct((guest, [which]) => {
    const { kernel } = guest.guest;
    const huge = hugePages(guest);
    const ranges = Math.floor(guest.memory.pages.pageCount / RANGE_ALIGN_PAGES);
    const pfn = huge[which % huge.length] ?? (1 + (which % (ranges - 1))) * RANGE_ALIGN_PAGES;
    const start = pfn - (pfn % RANGE_ALIGN_PAGES);
    const range = { start, end: start + RANGE_ALIGN_PAGES };
    const zone = guest.memory.allocator.zoneOf(start);
    if (start < zone.startPfn || range.end > zone.endPfn) return;
    kernel.scheduler.spawn('range', borrow(kernel.contig, range));
    guest.pass(3);
  }),
  unbind: guestAct((guest) => {
    const { core } = guest.guest.kernel;
    if (core.state === 'bound') guest.guest.verb('unbind');
    else if (core.state === 'unbound') guest.guest.verb('bind');
    guest.pass(1);
  }),
  /** Fills memory; where none is left it is the one to be killed. */
  squeeze: guestAct((guest) => {
    if (guest.guest.kernel.processes.list().length >= 3) return;
    guest.guest.run({ name: 'hog', mib: 40, seconds: 2 });
    guest.pass(20);
  }),
  run: guestAct((guest, [which]) => {
    if (guest.guest.kernel.processes.list().length >= 3) return;
    guest.guest.run(programSchema.parse(WORKLOADS[which % WORKLOADS.length]) as Program);
  }),
};

/** What makes the most of the rest: fragments, a balloon among them, and moving both. */
const OFTEN = ['inflate', 'inflate', 'run', 'run', 'compact', 'range', 'range', 'pass'];

/** Ends everything that was begun, and expects the memory of the beginning. */
function finish(model: GuestModel): void {
  const { guest } = model;
  const { kernel } = guest.guest;
  guest.release();
  guest.pass(10_000);
  model.finish();
  if (kernel.core.state === 'unbound') guest.guest.verb('bind');
  guest.setTarget(guest.mib);
  kernel.setNrHugepages(0);
  for (const { real } of model.files) guest.run(truncateFile(guest.spaces, real, 0));
  guest.pass(5000);
  guest.spaces.lru.drain();
  guest.verify();
  expect(kernel.processes.list()).toEqual([]);
  expect(kernel.balloon.numPages).toBe(0);
  expect(guest.spaces.tables.tableCount).toBe(0);
  expect(availableFrames(guest)).toBe(model.freeAtStart);
}

/**
 * Whatever processes do while the host inflates and deflates, acknowledges late, and compaction
 * and reports of free pages go on: every invariant holds after each step, every page reads what
 * was written to it last, and in the end all memory is back.
 */
describe('random programs in a whole guest', () => {
  const { image } = readGuestImage(join(ROOT, IMAGE));
  const guests: Readonly<Record<string, GuestWorldOptions & { readonly isSmall?: true }>> = {
    'that reports free pages': { mib: 256, properties: { 'free-page-reporting': true } },
    'with huge pages and a disk that takes time': {
      mib: 256,
      guest: { spaces: { thp: 'always', diskMs: 2, checks: true } },
    },
    'that deflates on OOM, with page_poison=1': {
      mib: 256,
      properties: { 'deflate-on-oom': true },
      guest: { pagePoison: true, spaces: { thp: 'madvise', checks: true } },
    },
    'that swaps': {
      mib: 224,
      isSmall: true,
      guest: { swapBytes: 512 * MIB, spaces: { thp: 'always', diskMs: 1, checks: true } },
    },
    'that booted from a recorded image': { mib: 512, guest: { image } },
  };
  for (const [name, { isSmall, ...options }] of Object.entries(guests)) {
    const moreOften = isSmall ? [...OFTEN, 'squeeze', 'squeeze', 'squeeze'] : OFTEN;
    it(name, () => {
      const property = fc.property(programs(60, GUEST_ACTS, moreOften), (commands) => {
        const model = new GuestModel(new GuestWorld(options));
        if (isSmall) model.guest.setTarget(model.guest.mib - MOST_BALLOON_MIB);
        fc.modelRun(() => ({ model, real: model.world }), commands);
        finish(model);
      });
      fc.assert(property, { numRuns: isSmall || options.mib > 256 ? 2 : 4 });
    }, 60_000);
  }
});
