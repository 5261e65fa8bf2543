import { beforeEach, describe, expect, it } from 'vitest';
import { fsync, readFile, writeFile } from '../../../../guest/mm/calls/files.ts';
import { fork } from '../../../../guest/mm/calls/fork.ts';
import { madviseDontneed } from '../../../../guest/mm/calls/madvise.ts';
import { mlock } from '../../../../guest/mm/calls/mlock.ts';
import { mmap } from '../../../../guest/mm/calls/mmap.ts';
import {
  __GFP_KSWAPD_RECLAIM,
  __GFP_RETRY_MAYFAIL,
  GFP_HIGHUSER,
  GFP_KERNEL,
  GFP_TRANSHUGE,
  GFP_USER,
  MIGRATETYPE,
} from '../../../../guest/mm/page/gfp.ts';
import type { PageRange } from '../../../../guest/mm/page/page-isolation.ts';
import { PAGE_STATE } from '../../../../guest/mm/page/page-lifecycle.ts';
import type { KmemTrace } from '../../../../guest/mm/page/tracepoints.ts';
import { HPAGE_PMD_NR } from '../../../../guest/mm/space/frames.ts';
import { TestProcess } from '../space/support.ts';
import { GuestWorld } from '../verify-world.ts';

const MIB = 192;
/** An address that a huge page can begin at. */
const AT = HPAGE_PMD_NR * 1000;

let guest: GuestWorld;
let migrated: string[];

beforeEach(() => {
  guest = new GuestWorld({
    mib: MIB,
    guest: { programs: [], spaces: { thp: 'madvise', checks: true } },
  });
  migrated = [];
  guest.guest.kernel.compaction.trace.sink = (event) => {
    if (event.startsWith('mm_migrate_pages')) migrated.push(event);
  };
});

/** The range of the largest blocks that a frame lies in. */
function around(pfn: number): PageRange {
  const start = pfn - (pfn % 1024);
  return { start, end: start + 1024 };
}

function take(range: PageRange): boolean {
  return guest.run(guest.guest.kernel.contig.allocRange(range, GFP_HIGHUSER));
}

/** Ends with all of the range free, as it was found but for what has moved. */
function release(range: PageRange): void {
  guest.guest.kernel.contig.freeRange(range);
  guest.spaces.lru.drain();
  guest.verify();
}

/** Huge pages of a process; the one at `at` and another of them fill a range. */
const HUGE_PAGES = 8;

interface InUse {
  readonly process: TestProcess;
  /** Page number of a huge page, its first frame, and the range that it and another fill. */
  readonly at: number;
  readonly head: number;
  readonly range: PageRange;
}

/** A process with huge pages whose frames hold 1, 2, 3 and so on. */
function withHugePages(): InUse {
  const process = guest.newProcess();
  const pageCount = HUGE_PAGES * HPAGE_PMD_NR;
  guest.run(mmap(guest.spaces, process.mm, { pageCount, at: AT, huge: 'yes' }));
  for (let page = 0; page < pageCount; page++) process.write(AT + page, 1 + (page % HPAGE_PMD_NR));
  const starts = Array.from({ length: HUGE_PAGES }, (_, page) => AT + page * HPAGE_PMD_NR);
  const ranges = starts.map((at) => around(process.frame(at, false)).start);
  const index = ranges.findIndex((start, at) => ranges.indexOf(start, at + 1) > 0);
  const at = starts[index];
  const head = process.frame(at, false);
  return { process, at, head, range: around(head) };
}

function contentOf({ process, at }: InUse): number[] {
  return Array.from({ length: HPAGE_PMD_NR }, (_, page) => process.read(at + page));
}

function isInside(pfn: number, { start, end }: PageRange): boolean {
  return pfn >= start && pfn < end;
}

const COUNTING = Array.from({ length: HPAGE_PMD_NR }, (_, page) => 1 + page);

/**
 * Fills memory until no block of order 9 can be had, nor made: a process holds every second page
 * and nobody may move it.
 */
function fragmentAll(): TestProcess {
  const process = guest.newProcess();
  const { allocator } = guest.memory;
  const pageCount = allocator.nrFree() - 4000;
  const start = guest.run(mmap(guest.spaces, process.mm, { pageCount, huge: 'no' }));
  for (let page = 0; page < pageCount; page++) process.write(start + page, 7);
  guest.spaces.lru.drain();
  for (let page = 0; page < pageCount; page++) {
    if (page % 2 === 0) madviseDontneed(guest.spaces, process.mm, start + page, 1);
    else pin(process.frame(start + page, false));
  }
  allocator.drainAllPages();
  for (const zone of allocator.zones) {
    for (const order of [9, 10]) {
      const type = MIGRATETYPE.movable;
      while (zone.nrFree[order] > 0 && allocator.alloc(order, GFP_KERNEL) >= 0);
      expect([zone.name, order, zone.nrFree[order], type]).toEqual([zone.name, order, 0, type]);
    }
  }
  return process;
}

/** All free pages but the reserve, without waiting for any. */
function fillAll(): number[] {
  const taken: number[] = [];
  const { allocator } = guest.memory;
  guest.pass(1000);
  for (let pfn = 0; pfn >= 0; ) {
    pfn = allocator.alloc(0, GFP_HIGHUSER);
    if (pfn >= 0) taken.push(pfn);
  }
  return taken;
}

function descending(a: number, b: number): number {
  return b - a;
}

/** Listens to some of the allocator's trace events until it is called. */
function traceKmem(some: Partial<KmemTrace>): () => void {
  guest.memory.allocator.traceSink = {
    mm_page_alloc: () => {},
    mm_page_free: () => {},
    mm_page_free_batched: () => {},
    mm_page_alloc_zone_locked: () => {},
    mm_page_pcpu_drain: () => {},
    mm_page_alloc_extfrag: () => {},
    ...some,
  };
  return () => {
    guest.memory.allocator.traceSink = undefined;
  };
}

function pin(pfn: number): void {
  guest.spaces.frames.get(pfn);
  guest.spaces.holds.add(pfn);
}

describe('a range that is wanted as a whole (alloc_contig_range)', () => {
  it('is taken where it is free', () => {
    const free = guest.freeFrames;
    const [start] = freeLargest();
    expect(take({ start, end: start + 1024 })).toBe(true);
    expect(guest.memory.pages.refcount(start)).toBe(1);
    expect(guest.memory.pages.refcount(start + 1023)).toBe(1);
    expect(free - guest.freeFrames).toBe(1024);
    release({ start, end: start + 1024 });
    expect(migrated).toEqual([
      'mm_migrate_pages: nr_succeeded=0 nr_failed=0 nr_thp_succeeded=0 nr_thp_failed=0 ' +
        'nr_thp_split=0 mode=MIGRATE_SYNC reason=contig_range',
    ]);
  });

  it('huge pages are moved out of it as a whole', () => {
    const used = withHugePages();
    const { process, at, range } = used;
    expect(take(range)).toBe(true);
    const moved = process.frame(at, false);
    expect(isInside(moved, range)).toBe(false);
    expect([moved % HPAGE_PMD_NR, process.frame(at + 511, false)]).toEqual([0, moved + 511]);
    expect(contentOf(used)).toEqual(COUNTING);
    expect(guest.vmstat.nr_anon_transparent_hugepages).toBe(HUGE_PAGES * HPAGE_PMD_NR);
    const faults = guest.vmstat.pgfault;
    process.write(at + 9, 10);
    expect(guest.vmstat.pgfault).toBe(faults);
    const { events } = guest.guest.kernel.compaction;
    expect(events).toMatchObject({ thp_migration_success: 2, thp_migration_split: 0 });
    const line =
      'mm_migrate_pages: nr_succeeded=512 nr_failed=0 nr_thp_succeeded=1 nr_thp_failed=0 ' +
      'nr_thp_split=0 mode=MIGRATE_SYNC reason=contig_range';
    expect(migrated).toEqual([line, line]);
    release(range);
  });

  it('a huge page is asked for as any new one is, without waking kswapd', () => {
    const { range } = withHugePages();
    const flags = new Set<number>();
    const stop = traceKmem({
      mm_page_alloc: (_pfn, order, _type, gfp) => {
        if (order === 9) flags.add(gfp);
      },
    });
    expect(take(range)).toBe(true);
    stop();
    const expected = (GFP_TRANSHUGE | GFP_USER | __GFP_RETRY_MAYFAIL) & ~__GFP_KSWAPD_RECLAIM;
    expect([...flags]).toEqual([expected]);
    release(range);
  });

  it('compaction goes on where it stood: what lies below was not looked at', () => {
    const range = around(freeLargest()[0]);
    const zone = guest.memory.allocator.zoneOf(range.start);
    zone.compact.cachedMigratePfn.fill(zone.startPfn);
    expect(take(range)).toBe(true);
    expect([...zone.compact.cachedMigratePfn]).toEqual([zone.startPfn, zone.startPfn]);
    release(range);
  });

  it('what was found in it is traced as the kernel does', () => {
    const { range } = withHugePages();
    const events: string[] = [];
    guest.guest.kernel.compaction.trace.sink = (event) => events.push(event);
    expect(take(range)).toBe(true);
    const [start, middle, end] = [range.start, range.start + 512, range.end].map((pfn) => {
      return `0x${pfn.toString(16)}`;
    });
    const scanned = (from: string, to: string): string =>
      `mm_compaction_isolate_migratepages: range=(${from} ~ ${to}) nr_scanned=512 nr_taken=512`;
    expect(events.filter((event) => event.includes('isolate_migratepages'))).toEqual([
      scanned(start, middle),
      scanned(middle, end),
    ]);
    expect(events.filter((event) => event.startsWith('test_pages'))).toEqual([
      `test_pages_isolated: start_pfn=${start} end_pfn=${end} fin_pfn=${end} ret=success`,
    ]);
    release(range);
  });

  it('a free page on a per-CPU list is found as well', () => {
    const [start] = freeLargest();
    const range = around(start);
    const { allocator } = guest.memory;
    const taken: number[] = [];
    while (!taken.some((pfn) => isInside(pfn, range))) taken.push(allocator.alloc(0, GFP_HIGHUSER));
    allocator.drainAllPages();
    for (const pfn of taken) allocator.free(pfn, 0);
    expect(guest.memory.pages.states.stateOf(taken.at(-1) as number)).toBe(PAGE_STATE.pcp);
    expect(take(around(taken.at(-1) as number))).toBe(true);
    release(around(taken.at(-1) as number));
  });

  it('huge pages that a parent and its child share stay shared', () => {
    const { process, at, range } = withHugePages();
    const child = new TestProcess(guest as never, guest.run(fork(guest.spaces, process.mm)));
    expect(take(range)).toBe(true);
    expect(child.frame(at + 3, false)).toBe(process.frame(at + 3, false));
    child.write(at + 3, 99);
    expect([process.read(at + 3), child.read(at + 3)]).toEqual([4, 99]);
    release(range);
  });

  it('a huge page that is locked in memory is so at its new place', () => {
    const used = withHugePages();
    const { process, at, range } = used;
    guest.run(mlock(guest.spaces, process.mm, { start: at, pageCount: 512 }, process.access));
    expect(guest.vmstat.nr_mlock).toBe(HPAGE_PMD_NR);
    expect(take(range)).toBe(true);
    expect(guest.vmstat.nr_mlock).toBe(HPAGE_PMD_NR);
    expect(guest.vmstat.nr_unevictable).toBe(HPAGE_PMD_NR);
    expect(contentOf(used)).toEqual(COUNTING);
    release(range);
  });

  it('a huge page of which a part is gone moves with its hole', () => {
    const { process, at, range } = withHugePages();
    madviseDontneed(guest.spaces, process.mm, at + 100, 50);
    expect(take(range)).toBe(true);
    expect(process.mm.residentPages).toBe(HUGE_PAGES * HPAGE_PMD_NR - 50);
    const moved = process.frame(at, false);
    expect(process.frame(at + 511, false)).toBe(moved + 511);
    expect([process.read(at + 99), process.read(at + 150)]).toEqual([100, 151]);
    guest.verify();
    expect(process.read(at + 120)).toBe(0);
    release(range);
  });

  it('huge pages are split where there is no block for them, and their frames move', () => {
    const used = withHugePages();
    const { process, at, range } = used;
    fragmentAll();
    const freed: number[] = [];
    const stop = traceKmem({ mm_page_free: (pfn) => isInside(pfn, range) && freed.push(pfn) });
    expect(take(range)).toBe(true);
    stop();
    // Of each the last frame is the first to go.
    expect(freed.slice(0, 512)).toEqual(
      [...freed.slice(0, 511)].sort(descending).concat(freed[511]),
    );
    expect(freed[511] % HPAGE_PMD_NR).toBe(0);
    expect(guest.guest.kernel.compaction.events).toMatchObject({
      thp_migration_success: 0,
      thp_migration_fail: 2,
      thp_migration_split: 2,
    });
    expect(migrated).toContain(
      'mm_migrate_pages: nr_succeeded=512 nr_failed=0 nr_thp_succeeded=0 nr_thp_failed=1 ' +
        'nr_thp_split=1 mode=MIGRATE_SYNC reason=contig_range',
    );
    expect(guest.vmstat.thp_split_page).toBe(2);
    expect(guest.vmstat.nr_anon_transparent_hugepages).toBe((HUGE_PAGES - 2) * HPAGE_PMD_NR);
    expect(contentOf(used)).toEqual(COUNTING);
    const frames = COUNTING.map((page) => process.frame(at + page - 1, false));
    expect(frames.filter((pfn) => isInside(pfn, range))).toEqual([]);
    release(range);
  });

  it('a huge page that somebody holds stays, and the range goes back to everybody', () => {
    const { process, at, head, range } = withHugePages();
    pin(head);
    const free = guest.freeFrames;
    expect(take(range)).toBe(false);
    expect(process.frame(at, false)).toBe(head);
    expect(guest.memory.pages.blockType(head)).toBe(MIGRATETYPE.movable);
    expect(guest.freeFrames).toBe(free);
    expect(guest.vmstat.nr_isolated_anon).toBe(0);
    guest.verify();
  });

  it('a page that is busy all the time is tried in five rounds, then the range is given up', () => {
    const tmpfs = guest.spaces.files.create('tmpfs');
    tmpfs.uses = 1;
    for (let index = 0; index < 4000; index++) {
      guest.run(writeFile(guest.spaces, tmpfs, { index, tag: 1 }));
    }
    guest.spaces.lru.drain();
    const places = Array.from({ length: 4000 }, (_, index) => tmpfs.page(index));
    const range = rangeOf(places);
    const busy = places.find((pfn) => isInside(pfn, range)) as number;
    pin(busy);
    expect(take(range)).toBe(false);
    expect(migrated.filter((line) => line.includes('nr_succeeded=0 nr_failed=1 '))).toHaveLength(4);
    expect(guest.vmstat.nr_isolated_anon).toBe(0);
    guest.verify();
  });

  it('where there is no memory to move to, everything stays as it is', () => {
    const used = withHugePages();
    fragmentAll();
    const hog = [fillAll(), fillAll(), fillAll()].flat();
    expect(take(used.range)).toBe(false);
    expect(contentOf(used)).toEqual(COUNTING);
    expect(guest.vmstat.nr_isolated_anon).toBe(0);
    expect(guest.guest.kernel.compaction.events.pgmigrate_fail).toBeGreaterThan(0);
    expect(hog.length).toBeGreaterThan(100);
    for (const pfn of hog) guest.memory.allocator.free(pfn, 0);
    guest.spaces.lru.drain();
    guest.verify();
  });

  it('pages of the balloon are moved out of it, and the host is told', () => {
    guest.setTarget(MIB - 100);
    guest.pass(2000);
    const { balloon } = guest.guest.kernel;
    const before = balloon.numPages;
    const range = rangeOf(balloonPages());
    expect(take(range)).toBe(true);
    expect(balloonPages().filter((pfn) => isInside(pfn, range))).toEqual([]);
    expect(balloon.numPages).toBe(before);
    const { balloon_migrate } = guest.memory.balloons.events;
    expect(balloon_migrate).toBeGreaterThan(500);
    const { ledger } = guest.session.vm('vm0');
    expect(ledger.compareBalloon(balloonPages())).toMatchObject({ missing: 0, surplus: 0 });
    release(range);
  });

  it('pages of files that are clean are forgotten, those of tmpfs move', () => {
    const pages = 4000;
    const disk = guest.spaces.files.create('disk');
    const tmpfs = guest.spaces.files.create('tmpfs');
    for (const file of [disk, tmpfs]) file.uses = 1;
    for (let index = 0; index < pages; index++) {
      guest.run(writeFile(guest.spaces, disk, { index, tag: 1 + index }));
      guest.run(writeFile(guest.spaces, tmpfs, { index, tag: 1 + index }));
    }
    guest.run(fsync(guest.spaces, disk));
    guest.spaces.lru.drain();
    const places = Array.from({ length: pages }, (_, index) => disk.page(index));
    const range = rangeOf(places);
    const inRange = places.filter((pfn) => isInside(pfn, range)).length;
    expect(take(range)).toBe(true);
    expect([disk.nrPages, tmpfs.nrPages]).toEqual([pages - inRange, pages]);
    for (let index = 0; index < pages; index++) {
      const tags = [disk, tmpfs].map((file) => guest.run(readFile(guest.spaces, file, index)));
      expect(tags).toEqual([1 + index, 1 + index]);
      expect(isInside(tmpfs.page(index), range)).toBe(false);
    }
    release(range);
  });

  it('is looked for from the lowest on, but not where a pageblock is of a pool', () => {
    const [, second] = freeLargest();
    const { contig } = guest.guest.kernel;
    expect(guest.run(contig.allocPages(1024, GFP_HIGHUSER, () => true))).toBe(-1);
    expect(migrated).toEqual([]);
    const isHugetlb = (block: number): boolean => block < second;
    expect(guest.run(contig.allocPages(1024, GFP_HIGHUSER, isHugetlb))).toBe(second);
    release({ start: second, end: second + 1024 });
  });

  it('is not to be had with memory of the kernel in it', () => {
    const pfn = guest.memory.allocator.alloc(0, GFP_KERNEL);
    expect(take(around(pfn))).toBe(false);
    expect(migrated).toEqual([]);
    guest.memory.allocator.free(pfn, 0);
    guest.verify();
  });
});

function balloonPages(): number[] {
  return [...(guest.guest.kernel.balloon.book?.pfns() ?? [])];
}

/** A range with one of these frames in which nothing is unmovable. */
function rangeOf(pfns: readonly number[]): PageRange {
  const { pages } = guest.memory;
  const movable = (pfn: number): boolean => pages.refcount(pfn) === 0 || pages.isMovable(pfn);
  const found = pfns.map(around).find(({ start, end }) => {
    for (let pfn = start; pfn < end; pfn++) {
      if (!movable(pfn) || pages.states.stateOf(pfn) === PAGE_STATE.reserved) return false;
    }
    return true;
  });
  if (found === undefined) throw new Error('no range can be emptied');
  return found;
}

function freeLargest(): number[] {
  const { pages } = guest.memory;
  const found: number[] = [];
  for (let pfn = 4096; pfn < pages.pageCount; pfn += 1024) {
    if (pages.blockOrder(pfn) === 10) found.push(pfn);
  }
  return found;
}
