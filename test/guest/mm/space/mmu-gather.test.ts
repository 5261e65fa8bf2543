import { describe, expect, it } from 'vitest';
import { exitMmap } from '../../../../guest/mm/calls/exit.ts';
import { madviseDontneed } from '../../../../guest/mm/calls/madvise.ts';
import { mmap } from '../../../../guest/mm/calls/mmap.ts';
import { GFP_ANON } from '../../../../guest/mm/fault/fault.ts';
import { __GFP_NOWARN, GFP_NOWAIT } from '../../../../guest/mm/page/gfp.ts';
import type { KmemTrace } from '../../../../guest/mm/page/tracepoints.ts';
import { GFP_PGTABLE_USER } from '../../../../guest/mm/space/table-pages.ts';
import { World } from './support.ts';

/**
 * Runs of events of one kind, as the recordings' kmem traces show them: A for an allocation with
 * its gfp flags, F and B for the two events of a batched free.
 */
class Runs implements KmemTrace {
  readonly runs: [kind: string, count: number][] = [];
  readonly freed: number[] = [];

  mm_page_alloc(_pfn: number, order: number, _migratetype: number, gfp: number): void {
    this.#add(`A${order} ${nameOf(gfp)}`);
  }

  mm_page_free(pfn: number, order: number): void {
    this.freed.push(pfn);
    this.#add(`F${order}`);
  }

  mm_page_free_batched(): void {
    this.#add('B');
  }

  mm_page_alloc_zone_locked(): void {}
  mm_page_pcpu_drain(): void {}
  mm_page_alloc_extfrag(): void {}

  #add(kind: string): void {
    const last = this.runs.at(-1);
    if (last?.[0] === kind) last[1]++;
    else this.runs.push([kind, 1]);
  }
}

function nameOf(gfp: number): string {
  if (gfp === GFP_ANON) return 'anon';
  if (gfp === GFP_PGTABLE_USER) return 'table';
  return gfp === (GFP_NOWAIT | __GFP_NOWARN) ? 'gather' : String(gfp);
}

/** F and B of a whole batch, as often as it came. */
function batches(...counts: number[]): [string, number][] {
  return counts.flatMap((count): [string, number][] => [
    ['F0', count],
    ['B', count],
  ]);
}

describe('memory of a process, in the order of the recordings', () => {
  it('is had table by table: one unmovable page before each 512 (exact-workload, hog)', () => {
    const world = new World();
    const process = world.newProcess();
    const trace = new Runs();
    const request = { pageCount: 1100, at: 512 * 9, huge: 'no' } as const;
    const start = world.run(mmap(world.spaces, process.mm, request));
    world.memory.allocator.traceSink = trace;
    for (let page = 0; page < 1100; page++) process.write(start + page, 1);
    expect(trace.runs).toEqual([
      ['A0 table', 3],
      ['A0 anon', 512],
      ['A0 table', 1],
      ['A0 anon', 512],
      ['A0 table', 1],
      ['A0 anon', 76],
    ]);
  });

  it('goes back in batches of 8 and 510, reversed, tables last (exact-workload, exit)', () => {
    const world = new World();
    const process = world.newProcess();
    const start = world.run(mmap(world.spaces, process.mm, { pageCount: 1100, at: 512 * 9 }));
    const pfns: number[] = [];
    for (let page = 0; page < 1100; page++) pfns.push(process.frame(start + page, true));
    world.spaces.lru.drain();
    const trace = new Runs();
    world.memory.allocator.traceSink = trace;
    world.run(exitMmap(world.spaces, process.mm));
    // 1,100 pages and 5 tables: 8, 510, 510 and 77; then the pages of three batches, then the pgd.
    expect(trace.runs).toEqual([
      ['A0 gather', 3],
      ...batches(8, 510, 510, 77),
      ['F0', 3],
      ['F1', 1],
    ]);
    expect(trace.freed.slice(0, 8)).toEqual(pfns.slice(0, 8).reverse());
    expect(trace.freed.slice(8, 518)).toEqual(pfns.slice(8, 518).reverse());
  });

  it('is freed in between when 19 batches are full (10,000 pages)', () => {
    const world = new World(128);
    const process = world.newProcess();
    const start = world.run(mmap(world.spaces, process.mm, { pageCount: 15_000, at: 512 * 9 }));
    for (let page = 0; page < 15_000; page++) process.write(start + page, 1);
    world.spaces.lru.drain();
    const trace = new Runs();
    world.memory.allocator.traceSink = trace;
    world.run(exitMmap(world.spaces, process.mm));
    const full = Array.from({ length: 19 }, () => 510);
    const tables = Math.ceil(15_000 / 512) + 2;
    const rest = 15_000 + tables - 2 * 8 - (19 + 10) * 510;
    expect(trace.runs).toEqual([
      ['A0 gather', 19],
      ...batches(8, ...full),
      ...batches(8, ...full.slice(0, 10), rest),
      ['F0', 19],
      ['F1', 1],
    ]);
  });

  it('is freed page by page where it is dropped page by page (exact-workload, frag)', () => {
    const world = new World();
    const process = world.newProcess();
    const start = world.run(mmap(world.spaces, process.mm, { pageCount: 30, huge: 'no' }));
    for (let page = 0; page < 30; page++) process.write(start + page, 1);
    const trace = new Runs();
    world.memory.allocator.traceSink = trace;
    for (let page = 0; page < 3; page++) madviseDontneed(world.spaces, process.mm, start + page, 1);
    expect(trace.runs).toEqual(batches(1, 1, 1));
  });

  it('has one table for each page that lies 2 MiB from the next (exact-pressure, pt)', () => {
    const world = new World();
    const process = world.newProcess();
    const request = { pageCount: 512 * 40, at: 512 * 600, huge: 'no' } as const;
    const start = world.run(mmap(world.spaces, process.mm, request));
    process.write(start, 1);
    const trace = new Runs();
    world.memory.allocator.traceSink = trace;
    for (let page = 1; page < 40; page++) process.write(start + 512 * page, 1);
    const expected = Array.from({ length: 39 }, () => [
      ['A0 table', 1],
      ['A0 anon', 1],
    ]).flat();
    expect(trace.runs).toEqual(expected);
  });
});
