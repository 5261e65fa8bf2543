import { describe, expect, it } from 'vitest';
import { Prng } from '../../../shared/lib/prng.ts';

const draw = (prng: Prng, count: number): number[] =>
  Array.from({ length: count }, () => prng.next());

describe('seeded random numbers', () => {
  it('are the same for the same seed in every release: a seed replays a run', () => {
    expect(draw(new Prng(1), 4)).toEqual([2442144158, 3238099751, 3819917871, 2104621829]);
    expect(draw(new Prng(0xffff_ffff), 2)).toEqual([835879718, 1921286648]);
  });

  it('differ between seeds', () => {
    const firsts = new Set(Array.from({ length: 1000 }, (_, seed) => new Prng(seed).next()));
    expect(firsts.size).toBe(1000);
  });

  it('take the seed as an unsigned 32-bit number', () => {
    expect(new Prng(-1).seed).toBe(0xffff_ffff);
    expect(draw(new Prng(-1), 3)).toEqual(draw(new Prng(0xffff_ffff), 3));
  });

  it('set each of 32 bits about half of the time', () => {
    const prng = new Prng(7);
    const ones = new Array<number>(32).fill(0);
    let outside = 0;
    for (let count = 0; count < 4096; count++) {
      const value = prng.next();
      if (value !== value >>> 0) outside++;
      for (let bit = 0; bit < 32; bit++) ones[bit] = (ones[bit] ?? 0) + ((value >>> bit) & 1);
    }
    expect(outside).toBe(0);
    for (const count of ones) expect(Math.abs(count - 2048)).toBeLessThan(256);
  });

  it('fill a range evenly and never leave it', () => {
    const prng = new Prng(3);
    const hits = new Array<number>(6).fill(0);
    for (let count = 0; count < 6000; count++) {
      const face = prng.below(6);
      hits[face] = (hits[face] ?? 0) + 1;
    }
    expect(hits).toHaveLength(6);
    for (const count of hits) expect(Math.abs(count - 1000)).toBeLessThan(200);
  });
});

describe('a forked stream', () => {
  it('does not depend on how many numbers were drawn before', () => {
    const early = new Prng(5).fork('link');
    const parent = new Prng(5);
    draw(parent, 100);
    expect(draw(parent.fork('link'), 5)).toEqual(draw(early, 5));
  });

  it('does not disturb its parent', () => {
    const parent = new Prng(5);
    const untouched = new Prng(5);
    draw(parent.fork('link'), 10);
    expect(draw(parent, 5)).toEqual(draw(untouched, 5));
  });

  it('differs by label and from its parent', () => {
    const parent = new Prng(5);
    const streams = [parent, parent.fork('link'), parent.fork('lint'), parent.fork('')];
    expect(new Set(streams.map((stream) => stream.next())).size).toBe(4);
  });
});
