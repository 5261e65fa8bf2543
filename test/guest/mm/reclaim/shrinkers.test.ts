import { describe, expect, it } from 'vitest';
import { type Shrinker, Shrinkers } from '../../../../guest/mm/reclaim/shrinkers.ts';
import { newVmstat } from '../../../../guest/mm/vmstat.ts';

/** A shrinker that gives back in blocks of 1,024 pages. */
class Blocks implements Shrinker {
  blocks: number;
  readonly asked: number[] = [];

  constructor(blocks: number) {
    this.blocks = blocks;
  }

  count(): number {
    return this.blocks * 1024;
  }

  scan(pages: number): number {
    this.asked.push(pages);
    const freed = Math.min(this.blocks, Math.ceil(pages / 1024));
    this.blocks -= freed;
    return freed * 1024;
  }
}

const LAST = 0;

describe('shrinkers', () => {
  it('free nothing where there are none', () => {
    expect(new Shrinkers().shrink(LAST, newVmstat())).toBe(0);
  });

  it('are asked for twice the share that the priority names, 128 at a time', () => {
    const shrinkers = new Shrinkers();
    const vmstat = newVmstat();
    const [full, empty] = [new Blocks(8), new Blocks(0)];
    shrinkers.register(full);
    shrinkers.register(empty);
    // 8,192 >> 6, twice.
    expect(shrinkers.shrink(6, vmstat)).toBe(2048);
    expect(full.asked).toEqual([128, 128]);
    expect(empty.asked).toEqual([]);
    expect(vmstat.slabs_scanned).toBe(256);
  });

  it('are not asked for less than a batch: it is added up', () => {
    const shrinkers = new Shrinkers();
    const vmstat = newVmstat();
    const few = new Blocks(1);
    shrinkers.register(few);
    // 32 a time, of which a later and more urgent look gets its share.
    for (let round = 0; round < 8; round++) expect(shrinkers.shrink(6, vmstat)).toBe(0);
    expect(few.asked).toEqual([]);
    expect(shrinkers.shrink(4, vmstat)).toBe(1024);
    expect(few.asked).toEqual([128]);
  });

  it('are asked for all they have at the last priority', () => {
    const shrinkers = new Shrinkers();
    const few = new Blocks(3);
    shrinkers.register(few);
    expect(shrinkers.shrink(LAST, newVmstat())).toBe(3 * 1024);
    expect(few.blocks).toBe(0);
  });

  it('are asked no more once they are unregistered', () => {
    const shrinkers = new Shrinkers();
    const unregister = shrinkers.register(new Blocks(1));
    unregister();
    expect(shrinkers.shrink(LAST, newVmstat())).toBe(0);
  });
});
