import { Balloons } from '../../../../guest/mm/balloon/balloons.ts';
import { CompactControl, type CompactOptions } from '../../../../guest/mm/move/compact-control.ts';
import { CompactEvents } from '../../../../guest/mm/move/compact-events.ts';
import type { CompactionWorld } from '../../../../guest/mm/move/compact-zone.ts';
import { CompactionTrace } from '../../../../guest/mm/move/compaction-trace.ts';
import { MIGRATE_MODE, WHOLE_NODE } from '../../../../guest/mm/move/constants.ts';
import { type LruPages, MOVE, type MoveResult } from '../../../../guest/mm/move/lru-pages.ts';
import { Proactiveness } from '../../../../guest/mm/move/proactiveness.ts';
import { GFP_KERNEL } from '../../../../guest/mm/page/gfp.ts';
import { PAGE_EVENT } from '../../../../guest/mm/page/page-lifecycle.ts';
import { REFCOUNT_WORD } from '../../../../guest/mm/page/page-map.ts';
import { stepBlock } from '../../../../guest/mm/page/pcp.ts';
import type { Waiting } from '../../../../guest/sched/scheduler.ts';
import { TestZone } from '../test-zone.ts';

/** Pages of the LRU that nobody maps: a test says which of them give trouble. */
export class FakeLru implements LruPages {
  readonly #test: TestZone;
  readonly isolated = new Set<number>();
  /** In the order in which they came back unmoved. */
  readonly putBack: number[] = [];
  /** [old, new] in the order in which they were moved. */
  readonly moved: [number, number][] = [];
  /** What the checks before isolation refuse. */
  readonly pinned = new Set<number>();
  /** How often moving a page has to be tried again; Infinity for ever. */
  readonly busy = new Map<number, number>();
  /** What can never be moved. */
  readonly stuck = new Set<number>();
  drains = 0;
  fileLru = 0;
  tooMany = false;

  constructor(test: TestZone) {
    this.#test = test;
  }

  /** Makes pages of the LRU of frames nobody has had. */
  place(...pfns: readonly number[]): void {
    for (const pfn of pfns) {
      stepBlock(this.#test.zone, pfn, 0, PAGE_EVENT.claim);
      stepBlock(this.#test.zone, pfn, 0, PAGE_EVENT.lruAdd);
      this.#test.pages.words[(pfn << 2) + REFCOUNT_WORD] = 1;
    }
  }

  drain(): void {
    this.drains++;
  }

  disableCache(): void {
    this.drain();
  }

  enableCache(): void {}

  reclaimablePages(): number {
    return this.fileLru;
  }

  tooManyIsolated(): boolean {
    return this.tooMany;
  }

  canIsolate(pfn: number): boolean {
    return !this.pinned.has(pfn);
  }

  isolate(pfn: number): void {
    stepBlock(this.#test.zone, pfn, 0, PAGE_EVENT.lruDel);
    this.isolated.add(pfn);
  }

  putback(pfn: number): void {
    stepBlock(this.#test.zone, pfn, 0, PAGE_EVENT.lruAdd);
    this.isolated.delete(pfn);
    this.putBack.push(pfn);
  }

  isForgotten(): boolean {
    return false;
  }

  tryLock(pfn: number): boolean {
    return this.#test.pages.tryLock(pfn);
  }

  unlock(pfn: number): void {
    this.#test.pages.unlock(pfn);
  }

  *untilReady(): Waiting {
    yield 1;
  }

  isUnderWriteback(): boolean {
    return false;
  }

  unmap(): boolean {
    return false;
  }

  isMapped(): boolean {
    return false;
  }

  split(): undefined {
    return undefined;
  }

  prepareHuge(): void {}

  move(oldPfn: number, newPfn: number): MoveResult {
    if (this.stuck.has(oldPfn)) return MOVE.failed;
    const tries = this.busy.get(oldPfn) ?? 0;
    this.busy.set(oldPfn, tries - 1);
    if (tries > 0) return MOVE.again;
    this.moved.push([oldPfn, newPfn]);
    return MOVE.done;
  }

  addToLru(newPfn: number): void {
    stepBlock(this.#test.zone, newPfn, 0, PAGE_EVENT.lruAdd);
  }

  remap(): void {}

  release(oldPfn: number): void {
    this.isolated.delete(oldPfn);
    this.#test.allocator.putPage(oldPfn);
  }

  put(): void {}
}

/** A zone with nothing in it, fake pages of the LRU, and what a compaction works with. */
export class MoveWorld {
  readonly test: TestZone;
  readonly lru: FakeLru;
  readonly balloons: Balloons;
  readonly events = new CompactEvents();
  readonly trace = new CompactionTrace();
  readonly world: CompactionWorld;
  /** Trace events as the kernel prints them. */
  readonly traced: string[] = [];

  constructor(memoryMib?: number) {
    this.test = new TestZone(memoryMib);
    this.lru = new FakeLru(this.test);
    this.balloons = new Balloons(this.test.allocator);
    this.trace.sink = (event) => this.traced.push(event);
    this.world = {
      allocator: this.test.allocator,
      balloons: this.balloons,
      lru: this.lru,
      trace: this.trace,
      events: this.events,
      kswapdIsRunning: () => false,
      proactiveness: new Proactiveness(),
    };
  }

  /** A run of the whole node that waits for everything, but for what is said. */
  control(options: Partial<CompactOptions> = {}): CompactControl {
    const cc = new CompactControl(this.test.zone, {
      order: WHOLE_NODE,
      mode: MIGRATE_MODE.sync,
      gfp: GFP_KERNEL,
      ...options,
    });
    cc.migratePfn = this.test.zone.startPfn;
    cc.freePfn = this.test.zone.endPfn - 1;
    return cc;
  }

  /** Runs what waits for nobody but the passing of time. */
  run<Result>(body: Waiting<Result>): Result {
    for (;;) {
      const step = body.next();
      if (step.done === true) return step.value;
    }
  }
}
