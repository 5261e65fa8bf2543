import { describe, expect, it } from 'vitest';
import { type Shrinker, Shrinkers } from '../../../../guest/mm/reclaim/shrinkers.ts';

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

describe('shrinkers', () => {
  it('free nothing where there are none', () => {
    expect(new Shrinkers().shrink()).toBe(0);
  });

  it('are each asked for one batch, those that have nothing are not', () => {
    const shrinkers = new Shrinkers();
    const [full, empty] = [new Blocks(2), new Blocks(0)];
    shrinkers.register(full);
    shrinkers.register(empty);
    expect(shrinkers.shrink()).toBe(1024);
    expect(full.asked).toEqual([128]);
    expect(empty.asked).toEqual([]);
    expect([shrinkers.shrink(), shrinkers.shrink()]).toEqual([1024, 0]);
  });

  it('are asked no more once they are unregistered', () => {
    const shrinkers = new Shrinkers();
    const unregister = shrinkers.register(new Blocks(1));
    unregister();
    expect(shrinkers.shrink()).toBe(0);
  });
});
