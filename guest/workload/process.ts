import { assert, fail } from '../../shared/lib/assert.ts';
import { exitMmap } from '../mm/calls/exit.ts';
import { closeFile } from '../mm/calls/files.ts';
import { fork } from '../mm/calls/fork.ts';
import { madviseDontneed } from '../mm/calls/madvise.ts';
import { mlock } from '../mm/calls/mlock.ts';
import { type MapRequest, mmap } from '../mm/calls/mmap.ts';
import { MemoryAccess } from '../mm/fault/access.ts';
import { FAULT } from '../mm/fault/fault.ts';
import type { FileMapping } from '../mm/space/address-spaces.ts';
import { PageSource } from '../mm/space/alloc-pages.ts';
import { Errno } from '../mm/space/errno.ts';
import type { Mm } from '../mm/space/mm-types.ts';
import type { Spaces } from '../mm/space/spaces.ts';
import { newMm } from '../mm/space/table-pages.ts';
import { type Waiting, WaitQueue } from '../sched/scheduler.ts';
import { canary, Region } from './region.ts';

/** Pages touched between two looks at the rest of the guest. */
export const PAGES_PER_STEP = 256;

/** A process is killed: its program ends at its next call. */
export class Killed extends Error {
  override readonly name = 'Killed';
}

/** What a process needs of those that run it. */
export interface ProcessHost {
  readonly spaces: Spaces;
  /** Makes a process for a copied address space and runs `body` in it. */
  adopt(child: Process, body: (child: Process) => Waiting): void;
  newPid(): number;
  /** A page did not hold what was written to it: the worst failure there is. */
  onWrongContent(process: Process, vpn: number): void;
  /** The process has ended. */
  onExit(process: Process): void;
}

/**
 * A process that runs one program: an address space and what its program wrote there. Every page
 * written gets a canary of its own, and every page read is compared with what was written last.
 */
export class Process {
  readonly pid: number;
  readonly name: string;
  readonly #host: ProcessHost;
  readonly #regions = new Set<Region>();
  readonly #openFiles: FileMapping[] = [];
  readonly #sleeping: WaitQueue;
  #mm: Mm | undefined;
  #access: MemoryAccess | undefined;
  #killed = false;
  #generation = 0;

  constructor(host: ProcessHost, name: string, mm?: Mm) {
    this.#host = host;
    this.pid = host.newPid();
    this.name = name;
    this.#sleeping = new WaitQueue(`${name} sleeps`);
    if (mm !== undefined) this.#attach(mm);
  }

  get residentPages(): number {
    return this.#mm?.residentPages ?? 0;
  }

  /** What it has mapped, and what must be in it. */
  get regions(): Iterable<Region> {
    return this.#regions;
  }

  get killed(): boolean {
    return this.#killed;
  }

  /** Its address space, from `start` to `exit`. */
  get mm(): Mm | undefined {
    return this.#mm;
  }

  /** Makes the address space. Throws Killed when there is no memory for it. */
  *start(): Waiting {
    const { spaces } = this.#host;
    const source = new PageSource(spaces.supply);
    for (let mm = newMm(spaces, source); ; mm = newMm(spaces, source)) {
      if (mm !== undefined) {
        this.#attach(mm);
        return;
      }
      if (!(yield* source.fetch())) throw new Killed(this.name);
    }
  }

  /** mmap. Shared regions are shared with the children to come, others are copied. */
  *map(request: MapRequest): Waiting<Region> {
    const { spaces } = this.#host;
    const start = yield* this.#call(mmap(spaces, this.#living(), request));
    const region = new Region(start, request.pageCount, request.shared === true);
    this.#regions.add(region);
    return region;
  }

  /** Writes a canary to every page [from, to) of a region; `step` pages apart. */
  *touch(region: Region, from: number, to: number, step = 1): Waiting {
    const { tags } = this.#host.spaces.frames.pages;
    const access = this.#memory();
    const generation = ++this.#generation;
    let untilYield = PAGES_PER_STEP;
    for (let index = from; index < to; index += step) {
      const vpn = region.start + index;
      const mm = this.#living();
      let pfn = access.tryFrame(vpn, true);
      if (pfn < 0) pfn = yield* this.#waitForFrame(access, vpn, true);
      const tag = canary(mm.id, vpn, generation);
      tags[pfn] = tag;
      region.expected[index] = tag;
      if (--untilYield > 0) continue;
      untilYield = PAGES_PER_STEP;
      yield 0;
    }
  }

  /** Reads pages [from, to) of a region and compares them with what was written. */
  *check(region: Region, from: number, to: number, step = 1): Waiting {
    const { tags } = this.#host.spaces.frames.pages;
    const access = this.#memory();
    let untilYield = PAGES_PER_STEP;
    for (let index = from; index < to; index += step) {
      const vpn = region.start + index;
      this.#living();
      let pfn = access.tryFrame(vpn, false);
      if (pfn < 0) pfn = yield* this.#waitForFrame(access, vpn, false);
      if (tags[pfn] !== region.expected[index]) this.#host.onWrongContent(this, vpn);
      if (--untilYield > 0) continue;
      untilYield = PAGES_PER_STEP;
      yield 0;
    }
  }

  /** MADV_DONTNEED: private anonymous pages read as zero afterwards. */
  drop(region: Region, from: number, pageCount: number): void {
    assert(!region.shared, 'only private memory is lost when it is dropped');
    madviseDontneed(this.#host.spaces, this.#living(), region.start + from, pageCount);
    region.expected.fill(0, from, from + pageCount);
  }

  /** mlock of the whole region. */
  *lock(region: Region): Waiting {
    const mm = this.#living();
    yield* this.#call(mlock(this.#host.spaces, mm, region, this.#memory()));
  }

  /** fork: runs `body` in a copy of this process that sees the same regions. */
  *fork(name: string, body: (child: Process) => Waiting): Waiting<Process> {
    const mm = yield* this.#call(fork(this.#host.spaces, this.#living()));
    const child = new Process(this.#host, name, mm);
    for (const region of this.#regions) child.#regions.add(region.inherited());
    this.#host.adopt(child, body);
    return child;
  }

  /** The region of a child that stands at the same place as one of its parent. */
  regionAt(start: number): Region {
    for (const region of this.#regions) if (region.start === start) return region;
    return fail('a region is asked for where one is', String(start));
  }

  /** Keeps a file open until the process ends. */
  keepOpen(file: FileMapping): void {
    this.#openFiles.push(file);
  }

  /** A system call on files: Killed is thrown when it failed because the process was killed. */
  *call<Result>(call: Waiting<Result>): Waiting<Result> {
    this.#living();
    return yield* this.#call(call);
  }

  /** Sleeps; a signal ends it early, and with it the process. */
  *sleep(ms: number): Waiting {
    this.#living();
    const { scheduler } = this.#host.spaces;
    let due = false;
    const timer = scheduler.clock.setTimeout(() => {
      due = true;
      scheduler.wake(this.#sleeping);
      scheduler.run();
    }, ms);
    while (!due && !this.#killed) yield this.#sleeping;
    scheduler.clock.clearTimeout(timer);
    this.#living();
  }

  /** SIGKILL: the program ends when it runs next; a sleeping one is woken. */
  kill(): void {
    this.#killed = true;
    if (this.#mm !== undefined) this.#mm.killed = true;
    this.#host.spaces.scheduler.wake(this.#sleeping);
  }

  /** Ends the process: memory and files go back. */
  *exit(): Waiting {
    const { spaces } = this.#host;
    const mm = this.#mm;
    this.#mm = undefined;
    if (mm !== undefined) yield* exitMmap(spaces, mm);
    for (const file of this.#openFiles.splice(0)) yield* closeFile(spaces, file);
    this.#host.onExit(this);
  }

  #attach(mm: Mm): void {
    this.#mm = mm;
    this.#access = new MemoryAccess(this.#host.spaces, mm);
  }

  /** The address space of a process that may go on; throws Killed otherwise. */
  #living(): Mm {
    if (this.#killed) throw new Killed(this.name);
    return this.#mm ?? fail('a process runs between its start and its exit');
  }

  #memory(): MemoryAccess {
    return this.#access ?? fail('a process reaches its memory after its start');
  }

  *#waitForFrame(access: MemoryAccess, vpn: number, write: boolean): Waiting<number> {
    const pfn = yield* access.frame(vpn, write);
    // Killed meanwhile it never comes back from its fault to what was its memory.
    this.#living();
    if (pfn >= 0) return pfn;
    if (pfn === -1 - FAULT.oom) throw new Killed(this.name);
    return fail('a program touches only what it mapped', `page ${vpn}: ${-1 - pfn}`);
  }

  *#call<Result>(call: Waiting<Result>): Waiting<Result> {
    try {
      return yield* call;
    } catch (error) {
      if (error instanceof Errno && this.#killed) throw new Killed(this.name);
      throw error;
    }
  }
}
