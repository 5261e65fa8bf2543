import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ALLOC_NO_WATERMARKS, GFP_KERNEL } from '../../../guest/mm/page/gfp.ts';
import type { Task } from '../../../guest/sched/scheduler.ts';
import { ProcessTable } from '../../../guest/workload/processes.ts';
import { programSchema, startProgram } from '../../../guest/workload/programs.ts';
import { SILENT } from '../../../shared/lib/log.ts';
import { Prng } from '../../../shared/lib/prng.ts';
import { ReclaimWorld, type ReclaimWorldOptions } from '../mm/reclaim/reclaim-world.ts';

/** A guest that runs programs, with the OOM killer behind its allocations. */
class Guest extends ReclaimWorld {
  readonly processes: ProcessTable;

  constructor(mib = 128, options: ReclaimWorldOptions = {}) {
    super(mib, options);
    this.processes = new ProcessTable({ spaces: this.spaces, log: SILENT });
    this.killWorst = () => this.processes.killWorst();
  }

  start(program: unknown): Task {
    const parsed = programSchema.parse(program);
    const process = this.processes.create(parsed.name);
    const world = { processes: this.processes, prng: new Prng(process.pid) };
    return this.scheduler.spawn(parsed.name, startProgram(parsed, process, world));
  }

  /** Lets time pass, and everything that is due with it. */
  pass(ms: number): void {
    this.scheduler.run();
    this.clock.advanceBy(ms);
  }
}

/** Programs that come to an end by themselves, each with the memory it must hold half-way. */
const PROGRAMS = [
  { name: 'hog', mib: 20, seconds: 10 },
  { name: 'hog', mib: 10, seconds: 10, lock: true },
  { name: 'frag', mib: 20, keepEvery: 3, seconds: 10 },
  { name: 'pt', times: 50, seconds: 10 },
  { name: 'huge', mib: 20, seconds: 10 },
  { name: 'forkserver', mib: 8, children: 5, writePercent: 25, seconds: 10 },
  { name: 'reader', mib: 10, passes: 3, seconds: 10 },
  { name: 'writer', mib: 10, seconds: 10 },
  { name: 'tmpfs', mib: 16, files: 4, seconds: 10 },
  { name: 'slab', mib: 10, seconds: 10 },
  { name: 'slab', mib: 4, objectBytes: 192, reclaimable: true, seconds: 10 },
] as const;

describe('every program', () => {
  for (const program of PROGRAMS) {
    it(`${JSON.stringify(program)} reads what it wrote and gives all memory back`, () => {
      const guest = new Guest(128, { diskMs: 1, thp: 'madvise' });
      const before = guest.freeFrames;
      const task = guest.start(program);
      guest.pass(5000);
      expect(task.ended).toBe(false);
      expect(guest.freeFrames).toBeLessThan(before - 64);
      guest.verify();
      guest.settle();
      expect(task.ended).toBe(true);
      expect(guest.processes.canariesWrong).toBe(0);
      expect(guest.processes.list()).toEqual([]);
      guest.spaces.lru.drain();
      expect(guest.freeFrames).toBe(before);
      guest.verify();
    });
  }

  it('runs beside all the others', () => {
    const guest = new Guest(256, { diskMs: 1, thp: 'madvise' });
    const before = guest.freeFrames;
    for (const program of PROGRAMS) guest.start(program);
    guest.pass(5000);
    guest.verify();
    guest.settle();
    expect(guest.processes.canariesWrong).toBe(0);
    guest.spaces.lru.drain();
    expect(guest.freeFrames).toBe(before);
    guest.verify();
  });
});

describe('what programs leave to see while they hold', () => {
  it('hog: its pages; frag: every third; pt: a table for each page', () => {
    const guest = new Guest();
    guest.start({ name: 'hog', mib: 4, seconds: 10 });
    guest.start({ name: 'frag', mib: 6, keepEvery: 3, seconds: 10 });
    guest.start({ name: 'pt', times: 30, seconds: 10 });
    guest.pass(5000);
    expect(guest.processes.list().map(({ residentPages }) => residentPages)).toEqual([
      1024, 512, 30,
    ]);
    expect(guest.vmstat.nr_page_table_pages).toBeGreaterThanOrEqual(30);
  });

  it('hog with lock: pages that cannot be reclaimed', () => {
    const guest = new Guest();
    guest.start({ name: 'hog', mib: 4, seconds: 10, lock: true });
    guest.pass(5000);
    expect(guest.vmstat.nr_mlock).toBe(1024);
    expect(guest.vmstat.nr_unevictable).toBe(1024);
  });

  it('forkserver: children share what they do not write', () => {
    const guest = new Guest();
    const free = guest.freeFrames;
    guest.start({ name: 'forkserver', mib: 8, children: 4, writePercent: 25, seconds: 10 });
    guest.pass(5000);
    expect(guest.processes.list()).toHaveLength(5);
    const resident = guest.processes.list().map(({ residentPages }) => residentPages);
    expect(resident).toEqual([2048, 2048, 2048, 2048, 2048]);
    expect(free - guest.freeFrames).toBeLessThan(2048 + 4 * 512 + 100);
    guest.verify();
  });

  it('huge: huge pages, each second one cut; the rest stays until it is split', () => {
    const guest = new Guest(256, { thp: 'always' });
    guest.start({ name: 'huge', mib: 12, seconds: 10 });
    guest.pass(5000);
    expect(guest.vmstat.thp_fault_alloc).toBe(6);
    expect(guest.spaces.hugePages.deferredCount).toBe(3);
    guest.verify();
  });

  it('writer: clean pages in the cache after fsync; tmpfs: shared memory', () => {
    const guest = new Guest();
    const shmem = guest.vmstat.nr_shmem;
    guest.start({ name: 'writer', mib: 4, seconds: 10 });
    guest.start({ name: 'tmpfs', mib: 8, files: 4, seconds: 10 });
    guest.pass(5000);
    expect(guest.vmstat.nr_dirty).toBe(0);
    expect(guest.vmstat.pgpgout).toBe(4096);
    expect(guest.vmstat.nr_shmem).toBe(shmem + 1024);
    expect(guest.memory.allocator.levels.fileLru).toBeGreaterThan(1000);
  });

  it('take no time for what they do themselves', () => {
    const guest = new Guest();
    const task = guest.start({ name: 'hog', mib: 20, seconds: 1 });
    guest.pass(999);
    expect(task.ended).toBe(false);
    guest.pass(1);
    expect(task.ended).toBe(true);
  });

  it('daemon: never ends and moves the statistics', () => {
    const guest = new Guest();
    const task = guest.start({ name: 'daemon', mib: 4 });
    const seen = new Set<number>();
    for (let period = 0; period < 10; period++) {
      guest.pass(500);
      seen.add(guest.processes.list()[0]?.residentPages ?? 0);
    }
    expect(seen.size).toBeGreaterThan(3);
    expect(task.ended).toBe(false);
    expect(guest.vmstat.pgfault).toBeGreaterThan(1000);
    expect(guest.processes.canariesWrong).toBe(0);
  });
});

describe('out of memory', () => {
  it('kills the largest process, also one that sleeps, and the other goes on', () => {
    const guest = new Guest(128);
    const before = guest.freeFrames;
    const large = guest.start({ name: 'hog', mib: 60, seconds: 1000 });
    guest.pass(1000);
    const small = guest.start({ name: 'hog', mib: 50, seconds: 1 });
    guest.pass(3000);
    expect(guest.vmstat.oom_kill).toBe(1);
    expect(large.ended).toBe(true);
    expect(small.ended).toBe(true);
    expect(guest.processes.canariesWrong).toBe(0);
    guest.spaces.lru.drain();
    expect(guest.freeFrames).toBe(before);
    guest.verify();
  });

  it('kills the asking process where it is the largest', () => {
    const guest = new Guest(128);
    const before = guest.freeFrames;
    const task = guest.start({ name: 'hog', mib: 200, seconds: 1 });
    guest.pass(10);
    expect(task.ended).toBe(true);
    expect(guest.vmstat.oom_kill).toBe(1);
    guest.spaces.lru.drain();
    expect(guest.freeFrames).toBe(before);
    guest.verify();
  });

  it('ends a process that gets no memory and that nobody kills', () => {
    const guest = new Guest(128);
    const before = guest.freeFrames;
    guest.killWorst = () => false;
    const task = guest.start({ name: 'hog', mib: 200, seconds: 1 });
    guest.pass(10);
    expect(task.ended).toBe(true);
    guest.spaces.lru.drain();
    expect(guest.freeFrames).toBe(before);
  });

  it.each([
    ['goes on when a notifier frees some', 2000, 1],
    ['ends it otherwise', 0, 0],
  ])('before a process has any memory: %s', (_what, givenPages, faults) => {
    const guest = new Guest(128, { noKswapd: true });
    const { allocator } = guest.memory;
    const take = () => allocator.getPageFromFreelist(0, GFP_KERNEL, ALLOC_NO_WATERMARKS);
    const taken: number[] = [];
    for (let pfn = take(); pfn >= 0; pfn = take()) taken.push(pfn);
    guest.notifiers.register(0, function* () {
      yield 1;
      const given = taken.splice(0, givenPages);
      for (const pfn of given) allocator.free(pfn, 0);
      return given.length;
    });
    const task = guest.start({ name: 'pt', times: 1, seconds: 0 });
    guest.pass(5000);
    expect(task.ended).toBe(true);
    expect(guest.vmstat.pgfault).toBe(faults);
    expect(guest.processes.list()).toEqual([]);
  });

  it('asks the notifiers first: a balloon that gives back saves the process', () => {
    const guest = new Guest(128);
    const { allocator } = guest.memory;
    const balloon: number[] = [];
    const taken = guest.freeFrames - 8000;
    for (let page = 0; page < taken; page++) balloon.push(allocator.allocBalloonPage());
    guest.notifiers.register(0, function* () {
      yield 1;
      const given = balloon.splice(0, 256);
      for (const pfn of given) allocator.putPage(pfn);
      return given.length;
    });
    const task = guest.start({ name: 'hog', mib: 50, seconds: 1 });
    guest.pass(5000);
    expect(task.ended).toBe(true);
    expect(guest.vmstat.oom_kill).toBe(0);
    expect(balloon.length).toBeLessThan(taken);
    expect(guest.processes.canariesWrong).toBe(0);
  });

  it('ends a fork server and its children without a leak', () => {
    const guest = new Guest(128);
    const before = guest.freeFrames;
    guest.start({ name: 'forkserver', mib: 30, children: 20, writePercent: 50, seconds: 5 });
    guest.settle();
    expect(guest.vmstat.oom_kill).toBeGreaterThan(0);
    expect(guest.processes.canariesWrong).toBe(0);
    guest.spaces.lru.drain();
    expect(guest.freeFrames).toBe(before);
    guest.verify();
  });
});

describe('any mix of programs in a guest that is too small for them', () => {
  const mib = fc.integer({ min: 1, max: 40 });
  const seconds = fc.integer({ min: 0, max: 3 });
  const program = fc.oneof(
    fc.record({ name: fc.constant('hog'), mib, seconds }),
    fc.record({ name: fc.constant('frag'), mib, keepEvery: fc.constant(3), seconds }),
    fc.record({ name: fc.constant('huge'), mib, seconds }),
    fc.record({ name: fc.constant('forkserver'), mib, children: fc.constant(4), seconds }),
    fc.record({ name: fc.constant('reader'), mib, seconds }),
    fc.record({ name: fc.constant('writer'), mib, seconds }),
    fc.record({ name: fc.constant('tmpfs'), mib, seconds }),
    fc.record({ name: fc.constant('slab'), mib, seconds }),
  );

  it('keeps every invariant and every page of those that live', () => {
    const property = fc.property(fc.array(program, { minLength: 3, maxLength: 9 }), (programs) => {
      const guest = new Guest(80, { diskMs: 2, thp: 'always' });
      for (const each of programs) guest.start(each);
      for (let turn = 0; turn < 12; turn++) {
        guest.pass(turn < 6 ? 1 : 400);
        guest.verify();
      }
      guest.settle();
      expect(guest.processes.canariesWrong).toBe(0);
      expect(guest.processes.list()).toEqual([]);
      guest.verify();
    });
    fc.assert(property, { numRuns: 8 });
  });
});

describe('a process', () => {
  it('tells when a page does not hold what was written to it', () => {
    const guest = new Guest();
    guest.start({ name: 'hog', mib: 1, seconds: 10 });
    guest.pass(5000);
    const [process] = guest.processes.list();
    const [vma] = process?.mm?.vmas ?? [];
    const tables = guest.spaces.tables;
    const at = tables.pteAt(process?.mm?.pgdBase ?? 0, vma?.start ?? 0);
    guest.memory.discard([{ start: (tables.entries[at] ?? 0) >>> 5, count: 1 }]);
    guest.settle();
    expect(guest.processes.canariesWrong).toBe(1);
  });

  it.each([
    [{ name: 'hog', mib: 65_537, seconds: 0 }, 'mib'],
    [{ name: 'hog', mib: 1, seconds: 1e7 }, 'seconds'],
    [{ name: 'pt', times: 131_073, seconds: 0 }, 'times'],
    [{ name: 'reader', mib: 8193, seconds: 0 }, 'mib'],
    [{ name: 'tmpfs', mib: 1, files: 10_001, seconds: 0 }, 'files'],
    [{ name: 'forkserver', mib: 4096, children: 64, seconds: 0 }, 'mib times processes'],
    [{ name: 'slab', mib: 513, objectBytes: 8, seconds: 0 }, 'mib is at most 64 times objectBytes'],
  ])('remembers so much and no more: %j is refused', (program, where) => {
    const { error } = programSchema.safeParse(program);
    const issue = error?.issues[0];
    expect(`${issue?.path.join('.')} ${issue?.message}`).toContain(where);
  });

  it('runs only programs that the schema knows', () => {
    expect(() => programSchema.parse({ name: 'hog', mib: -1, seconds: 0 })).toThrow();
    expect(() => programSchema.parse({ name: 'frag', mib: 1, seconds: 0 })).toThrow();
    expect(() => programSchema.parse({ name: 'rm' })).toThrow();
    expect(() => programSchema.parse({ name: 'hog', mib: 1, seconds: 0, more: 1 })).toThrow();
  });
});
