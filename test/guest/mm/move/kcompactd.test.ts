import { beforeEach, describe, expect, it } from 'vitest';
import { Compaction } from '../../../../guest/mm/move/compaction.ts';
import { Kcompactd } from '../../../../guest/mm/move/kcompactd.ts';
import { Scheduler } from '../../../../guest/sched/scheduler.ts';
import { VirtualClock } from '../../../../shared/lib/clock.ts';
import { PausableClock } from '../../../../shared/lib/pausable-clock.ts';
import { FIRST } from '../test-zone.ts';
import { MoveWorld } from './move-world.ts';

const BLOCK = 512;
const TOP = 15_872;

let clock: VirtualClock;
let scheduler: Scheduler;
let world: MoveWorld;
let compaction: Compaction;
let kcompactd: Kcompactd;
let traced: string[];

beforeEach(() => {
  clock = new VirtualClock();
  scheduler = new Scheduler(new PausableClock(clock));
  // DMA counts for little in it.
  world = new MoveWorld(256);
  const { test, balloons, lru } = world;
  compaction = new Compaction({ allocator: test.allocator, balloons, lru });
  traced = [];
  compaction.trace.sink = (event) => traced.push(event);
  kcompactd = new Kcompactd(compaction, scheduler);
});

/** Every second frame of some pageblocks free, the others on the LRU. */
function fragment(first: number, pageblocks: number): void {
  for (let pfn = first; pfn < first + pageblocks * BLOCK; pfn += 2) {
    world.test.free(pfn, 0);
    world.lru.place(pfn + 1);
  }
}

function advance(ms: number): void {
  clock.advanceBy(ms);
  scheduler.run();
}

function tasks(): string[] {
  return [...scheduler.tasks()].map(({ name }) => name);
}

describe('kcompactd', () => {
  it('looks every half second, as a timer and not as a task', () => {
    fragment(FIRST, 1);
    world.test.free(FIRST + BLOCK, 10);
    kcompactd.start();
    advance(5000);
    expect(traced.filter((line) => line.includes('kcompactd_sleep'))).toHaveLength(10);
    expect(tasks()).toEqual([]);
    expect(world.lru.moved).toEqual([]);
  });

  it('leaves everything as it is with compaction_proactiveness 0', () => {
    fragment(FIRST, 20);
    compaction.proactiveness.value = 0;
    kcompactd.start();
    expect(kcompactd.wantsToCompact).toBe(false);
    advance(5000);
    expect(world.lru.moved).toEqual([]);
    compaction.proactiveness.value = 20;
    expect(kcompactd.wantsToCompact).toBe(true);
  });

  it('compacts by itself what is too fragmented, until it is not', () => {
    fragment(FIRST, 20);
    expect(kcompactd.wantsToCompact).toBe(true);
    kcompactd.start();
    advance(1000);
    expect(world.lru.moved.length).toBeGreaterThan(0);
    expect(kcompactd.wantsToCompact).toBe(false);
    const begun = traced.find((line) => line.startsWith('mm_compaction_begin'));
    expect(begun).toContain('mode=sync');
  });

  it('waits for half a minute after work in vain', () => {
    fragment(FIRST, 20);
    for (let pfn = FIRST + 1; pfn < FIRST + 20 * BLOCK; pfn += 2) world.lru.pinned.add(pfn);
    kcompactd.start();
    advance(30_000);
    const runs = () => traced.filter((line) => line.startsWith('mm_compaction_begin')).length;
    const once = runs();
    expect(once).toBeGreaterThan(0);
    advance(4000);
    expect(runs()).toBe(2 * once);
  });

  it('works for an order it is woken for, if there is memory to work with', () => {
    fragment(FIRST, 2);
    for (let pfn = TOP - 4 * BLOCK; pfn < TOP; pfn += 2) world.test.free(pfn, 0);
    kcompactd.start();
    kcompactd.wakeup(9, 2);
    expect(tasks()).toEqual(['kcompactd0']);
    scheduler.run();
    expect(traced).toContain(
      'mm_compaction_wakeup_kcompactd: nid=0 order=9 classzone_idx=Normal  ',
    );
    expect(world.lru.moved.length).toBe(256);
    expect(world.test.zone.nrFree[9]).toBeGreaterThan(0);
    expect(compaction.events.compact_daemon_wake).toBe(1);
    expect(tasks()).toEqual([]);
  });

  it('is not woken for single pages, nor where there is nothing to gain', () => {
    kcompactd.start();
    kcompactd.wakeup(0, 2);
    kcompactd.wakeup(4, 2);
    expect(tasks()).toEqual([]);
  });

  it('works at once for an order that was wanted while it was busy', () => {
    fragment(FIRST, 20);
    compaction.trace.sink = (event) => {
      traced.push(event);
      // In the middle of the proactive run that begins with the first tick.
      if (event.startsWith('mm_compaction_begin')) kcompactd.wakeup(9, 2);
    };
    kcompactd.start();
    advance(600);
    const wakes = traced.filter((line) => line.startsWith('mm_compaction_kcompactd_wake'));
    expect(wakes).toEqual(['mm_compaction_kcompactd_wake: nid=0 order=9 classzone_idx=Normal  ']);
    expect(tasks()).toEqual([]);
  });

  it('works at the next tick for an order that could not be had when it was wanted', () => {
    kcompactd.start();
    kcompactd.wakeup(4, 2);
    expect(tasks()).toEqual([]);
    compaction.proactiveness.value = 0;
    advance(600);
    expect(compaction.events.compact_daemon_wake).toBe(0);
    compaction.proactiveness.value = 20;
    advance(600);
    expect(traced).toContain('mm_compaction_kcompactd_wake: nid=0 order=4 classzone_idx=Normal  ');
    advance(600);
    expect(compaction.events.compact_daemon_wake).toBe(1);
  });

  it('defers an order for which it could do nothing', () => {
    fragment(FIRST, 5);
    for (let pfn = FIRST + 1; pfn < FIRST + 5 * BLOCK; pfn += 2) world.lru.pinned.add(pfn);
    kcompactd.start();
    kcompactd.wakeup(9, 1);
    scheduler.run();
    expect(world.test.zone.compact.deferShift).toBe(1);
    kcompactd.wakeup(9, 1);
    scheduler.run();
    expect(traced.some((line) => line.startsWith('mm_compaction_deferred'))).toBe(true);
  });
});
