import { describe, expect, it } from 'vitest';
import { Counters } from '../../../shared/lib/counters.ts';

describe('counters', () => {
  const make = () => new Counters(['balloon_inflate', 'balloon_deflate'] as const);

  it('start at zero and add up', () => {
    const counters = make();
    counters.add('balloon_inflate');
    counters.add('balloon_inflate', 256);
    expect(counters.get('balloon_inflate')).toBe(257);
    expect(counters.get('balloon_deflate')).toBe(0);
  });

  it('are read as a copy, in the order of their names', () => {
    const counters = make();
    const before = counters.snapshot();
    counters.add('balloon_deflate');
    expect(before).toEqual({ balloon_inflate: 0, balloon_deflate: 0 });
    expect(Object.keys(counters.snapshot())).toEqual(['balloon_inflate', 'balloon_deflate']);
  });

  it('know their names at compile time', () => {
    // @ts-expect-error a misspelt name
    const misspelt = () => make().add('balloon_inflat');
    expect(misspelt).not.toThrow();
  });
});
