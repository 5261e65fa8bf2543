import { describe, expect, it } from 'vitest';
import * as gfp from '../../../../guest/mm/page/gfp.ts';
import { gfpFromText, gfpText } from '../../../../guest/mm/page/gfp-text.ts';

describe('gfp flags as trace events print them', () => {
  it.each([
    [0, 'none'],
    [gfp.GFP_KERNEL, 'GFP_KERNEL'],
    [gfp.GFP_KERNEL | gfp.__GFP_ZERO, 'GFP_KERNEL|__GFP_ZERO'],
    [gfp.GFP_HIGHUSER_MOVABLE, 'GFP_HIGHUSER_MOVABLE'],
    [gfp.GFP_HIGHUSER, 'GFP_HIGHUSER'],
    [gfp.GFP_TRANSHUGE_LIGHT, 'GFP_TRANSHUGE_LIGHT'],
    [gfp.GFP_TRANSHUGE | gfp.__GFP_THISNODE, 'GFP_TRANSHUGE|__GFP_THISNODE'],
    [gfp.GFP_NOIO, 'GFP_NOIO'],
    [gfp.GFP_KERNEL | gfp.__GFP_DMA, 'GFP_KERNEL|GFP_DMA'],
    [gfp.GFP_KERNEL | gfp.__GFP_DMA32, 'GFP_KERNEL|GFP_DMA32'],
    [gfp.GFP_KERNEL | 0x3000000, 'GFP_KERNEL|0x3000000'],
    [0x1000000, '0x1000000'],
    [gfp.GFP_BALLOON, 'GFP_HIGHUSER_MOVABLE|__GFP_NOWARN|__GFP_NORETRY|__GFP_NOMEMALLOC'],
    [gfp.__GFP_NORETRY | gfp.__GFP_NOMEMALLOC, '__GFP_NORETRY|__GFP_NOMEMALLOC'],
  ])('%i: %s', (flags, text) => {
    expect(gfpText(flags)).toBe(text);
    expect(gfpFromText(text)).toEqual({ flags });
  });

  it.each([
    ['GFP_KERNEL|GFP_NONSENSE', 'GFP_NONSENSE'],
    ['', ''],
    ['none|GFP_KERNEL', 'none'],
    ['0x', '0x'],
    ['0x1ffffffff', '0x1ffffffff'],
  ])('%j names none: it stops at %j', (text, unknown) => {
    expect(gfpFromText(text)).toEqual({ unknown });
  });
});
