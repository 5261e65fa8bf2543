import { beforeEach, describe, expect, it } from 'vitest';
import { readFile } from '../../../../guest/mm/calls/files.ts';
import { mmap } from '../../../../guest/mm/calls/mmap.ts';
import {
  __GFP_DMA,
  ALLOC_NO_WATERMARKS,
  GFP_HIGHUSER_MOVABLE,
  GFP_KERNEL,
  GFP_NOWAIT,
  ZONE,
} from '../../../../guest/mm/page/gfp.ts';
import { PAGEBLOCK_ORDER } from '../../../../guest/mm/page/page-map.ts';
import type { Zone } from '../../../../guest/mm/page/zone.ts';
import { MAX_RECLAIM_RETRIES } from '../../../../guest/mm/reclaim/reclaimable.ts';
import { ReclaimWorld } from './reclaim-world.ts';

/** The longest nap before kswapd sleeps for good, in milliseconds. */
const NAP_MS = 110;

let world: ReclaimWorld;
let zone: Zone;

beforeEach(() => {
  make(0);
});

function make(swapMib: number): void {
  world = new ReclaimWorld(128, { swapMib, thp: 'never' });
  zone = world.memory.allocator.zones[ZONE.dma32];
}

function wake(order = 0, gfp = GFP_HIGHUSER_MOVABLE): void {
  world.reclaim.kswapd.wakeup(order, gfp, ZONE.normal);
}

/** Takes pages for the kernel until so many are free in the zone, and none in the one below. */
function leave(free: number): void {
  const { allocator } = world.memory;
  while (allocator.getPageFromFreelist(0, GFP_KERNEL | __GFP_DMA, ALLOC_NO_WATERMARKS) >= 0);
  allocator.drainAllPages();
  while (zone.freePages > free) {
    const pfn = allocator.getPageFromFreelist(0, GFP_KERNEL, ALLOC_NO_WATERMARKS);
    expect(pfn).toBeGreaterThan(0);
    allocator.drainAllPages();
  }
}

/** A process with pages that are not in use: their accessed bits are cleared soon. */
function anonymous(pages: number): void {
  const process = world.newProcess();
  const start = world.run(mmap(world.spaces, process.mm, { pageCount: pages }));
  for (let page = 0; page < pages; page++) process.write(start + page, page + 1);
}

function tasks(): string[] {
  return [...world.scheduler.tasks()].map(({ name, at }) => `${name} ${at}`);
}

describe('a watermark boost', () => {
  it('is taken back although nothing can be reclaimed', () => {
    zone.watermarkBoost = 512;
    wake();
    world.settle();
    expect(zone.watermarkBoost).toBe(0);
    expect(world.vmstat.pageoutrun).toBe(1);
  });

  it('is not paid for with I/O: neither swap nor files are written', () => {
    make(16);
    anonymous(2000);
    zone.watermarkBoost = 512;
    wake();
    world.settle();
    expect([zone.watermarkBoost, world.vmstat.pswpout]).toEqual([0, 0]);
  });

  it('keeps what came on top while kswapd ran', () => {
    zone.watermarkBoost = 512;
    wake();
    world.reclaim.node.shrinkers.register({
      count: () => {
        zone.watermarkBoost = 1024;
        return 0;
      },
      scan: () => expect.fail('it has nothing'),
    });
    world.settle();
    expect(zone.watermarkBoost).toBe(512);
  });

  it('wakes kcompactd for a pageblock, and once more on the way to sleep', () => {
    zone.watermarkBoost = 512;
    wake();
    world.settle();
    expect(world.kcompactdWakes).toEqual([
      [PAGEBLOCK_ORDER, ZONE.normal],
      [0, ZONE.normal],
    ]);
  });
});

describe('the allocation that finds a zone newly boosted', () => {
  it('leaves kswapd, where that has given up, to kcompactd, although it could reclaim', () => {
    world.reclaim.node.kswapdFailures = MAX_RECLAIM_RETRIES;
    zone.boostedWatermark = true;
    expect(world.memory.allocator.alloc(0, GFP_KERNEL)).toBeGreaterThan(0);
    expect(world.kcompactdWakes).toEqual([[0, ZONE.dma32]]);
  });
});

describe('kswapd', () => {
  it('is not woken while a zone is above its high watermark', () => {
    wake();
    expect(tasks()).toEqual([]);
    expect(world.vmstat.pageoutrun).toBe(0);
  });

  it('leaves a high order to kcompactd where there is memory enough and nobody compacts', () => {
    wake(3, GFP_NOWAIT);
    wake(3, GFP_KERNEL);
    expect(world.kcompactdWakes).toEqual([[3, ZONE.normal]]);
    expect(tasks()).toEqual([]);
  });

  it('reclaims to the high watermark, naps, and sleeps without a task', () => {
    make(64);
    anonymous(4000);
    leave(zone.lowMark - 20);
    wake();
    expect(world.reclaim.kswapd.isRunning).toBe(true);
    world.clock.advanceBy(60);
    expect(zone.freePages).toBeGreaterThan(zone.highMark);
    expect(tasks()).toEqual(['kswapd0 kswapd naps']);
    expect(world.reclaim.kswapd.isRunning).toBe(false);
    world.clock.advanceBy(NAP_MS);
    expect(tasks()).toEqual([]);
    expect(world.vmstat.pgsteal_kswapd).toBeGreaterThan(0);
    expect(world.vmstat.pgscan_kswapd).toBeGreaterThan(world.vmstat.pgsteal_kswapd);
    expect(zone.reclaimActive).toBe(false);
    world.verify();
  });

  it.each([
    [[0], 0],
    [[2, 0], 2],
  ])('woken for the orders %j it tells kcompactd of %i, when it naps', (orders, largest) => {
    make(64);
    anonymous(4000);
    leave(zone.lowMark - 20);
    for (const order of orders) wake(order);
    world.settle();
    expect(world.kcompactdWakes.at(-1)).toEqual([largest, ZONE.normal]);
  });

  it('is woken from its nap', () => {
    make(64);
    anonymous(4000);
    leave(zone.lowMark - 20);
    wake();
    world.clock.advanceBy(60);
    leave(zone.lowMark - 20);
    wake();
    world.clock.advanceBy(60);
    expect(world.vmstat.kswapd_low_wmark_hit_quickly).toBe(1);
    expect(zone.freePages).toBeGreaterThan(zone.highMark);
    world.settle();
  });

  it('gives a node up after 16 runs in vain, as recorded: 15 times it could not sleep', () => {
    leave(zone.lowMark - 20);
    wake();
    world.settle();
    expect(world.vmstat.pageoutrun).toBe(MAX_RECLAIM_RETRIES);
    expect(world.vmstat.kswapd_high_wmark_hit_quickly).toBe(MAX_RECLAIM_RETRIES - 1);
    wake();
    expect(tasks()).toEqual([]);
  });

  it('comes back when somebody who reclaims for himself finds something', () => {
    leave(zone.lowMark - 20);
    wake();
    world.settle();
    expect(world.reclaim.node.kswapdFailures).toBe(MAX_RECLAIM_RETRIES);
    const file = world.spaces.files.create('disk');
    for (let index = 0; index < 40; index++) file.disk?.write(index, 1);
    file.sizePages = 40;
    world.run(readFile(world.spaces, file, 0));
    world.spaces.lru.drain();
    expect(world.directReclaim()).toBeGreaterThan(0);
    expect(world.reclaim.node.kswapdFailures).toBe(0);
    wake();
    expect(world.reclaim.kswapd.isRunning).toBe(true);
    world.settle();
  });

  it('comes before a process that goes on to fault', () => {
    make(64);
    anonymous(3000);
    const process = world.newProcess();
    const start = world.run(mmap(world.spaces, process.mm, { pageCount: 1000 }));
    leave(zone.lowMark + 40);
    for (let page = 0; page < 1000; page++) process.write(start + page, 5000 + page);
    expect(world.vmstat.pgsteal_kswapd).toBeGreaterThan(500);
    for (let page = 0; page < 1000; page++) expect(process.read(start + page)).toBe(5000 + page);
    world.verify();
  });
});
