import { describe, expect, it } from 'vitest';
import * as gfp from '../../../../guest/mm/page/gfp.ts';
import { gfpText } from '../../../../guest/mm/page/gfp-text.ts';

describe('gfp flags as trace events print them', () => {
  it.each([
    [0, 'none'],
    [gfp.GFP_KERNEL, 'GFP_KERNEL'],
    [gfp.GFP_KERNEL | gfp.__GFP_ZERO, 'GFP_KERNEL|__GFP_ZERO'],
    [gfp.GFP_HIGHUSER_MOVABLE, 'GFP_HIGHUSER_MOVABLE'],
    [gfp.GFP_HIGHUSER, 'GFP_HIGHUSER'],
    [gfp.GFP_BALLOON, 'GFP_HIGHUSER_MOVABLE|__GFP_NOWARN|__GFP_NORETRY|__GFP_NOMEMALLOC'],
    [gfp.__GFP_NORETRY | gfp.__GFP_NOMEMALLOC, '__GFP_NORETRY|__GFP_NOMEMALLOC'],
  ])('%i: %s', (flags, text) => {
    expect(gfpText(flags)).toBe(text);
  });
});
