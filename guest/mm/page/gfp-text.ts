import * as gfp from './gfp.ts';

/** Names in the order in which the kernel's trace events look for them: most bits first. */
const NAMES: readonly (readonly [name: string, mask: number])[] = [
  ['GFP_TRANSHUGE', gfp.GFP_TRANSHUGE],
  ['GFP_TRANSHUGE_LIGHT', gfp.GFP_TRANSHUGE_LIGHT],
  ['GFP_HIGHUSER_MOVABLE', gfp.GFP_HIGHUSER_MOVABLE],
  ['GFP_HIGHUSER', gfp.GFP_HIGHUSER],
  ['GFP_USER', gfp.GFP_USER],
  ['GFP_KERNEL_ACCOUNT', gfp.GFP_KERNEL_ACCOUNT],
  ['GFP_KERNEL', gfp.GFP_KERNEL],
  ['GFP_NOFS', gfp.GFP_NOFS],
  ['GFP_ATOMIC', gfp.GFP_ATOMIC],
  ['GFP_NOIO', gfp.GFP_NOIO],
  ['GFP_NOWAIT', gfp.GFP_NOWAIT],
  ['GFP_DMA', gfp.__GFP_DMA],
  ['__GFP_HIGHMEM', gfp.__GFP_HIGHMEM],
  ['GFP_DMA32', gfp.__GFP_DMA32],
  ['__GFP_HIGH', gfp.__GFP_HIGH],
  ['__GFP_ATOMIC', gfp.__GFP_ATOMIC],
  ['__GFP_IO', gfp.__GFP_IO],
  ['__GFP_FS', gfp.__GFP_FS],
  ['__GFP_NOWARN', gfp.__GFP_NOWARN],
  ['__GFP_RETRY_MAYFAIL', gfp.__GFP_RETRY_MAYFAIL],
  ['__GFP_NOFAIL', gfp.__GFP_NOFAIL],
  ['__GFP_NORETRY', gfp.__GFP_NORETRY],
  ['__GFP_COMP', gfp.__GFP_COMP],
  ['__GFP_ZERO', gfp.__GFP_ZERO],
  ['__GFP_NOMEMALLOC', gfp.__GFP_NOMEMALLOC],
  ['__GFP_MEMALLOC', gfp.__GFP_MEMALLOC],
  ['__GFP_HARDWALL', gfp.__GFP_HARDWALL],
  ['__GFP_THISNODE', gfp.__GFP_THISNODE],
  ['__GFP_RECLAIMABLE', gfp.__GFP_RECLAIMABLE],
  ['__GFP_MOVABLE', gfp.__GFP_MOVABLE],
  ['__GFP_ACCOUNT', gfp.__GFP_ACCOUNT],
  ['__GFP_WRITE', gfp.__GFP_WRITE],
  ['__GFP_RECLAIM', gfp.__GFP_RECLAIM],
  ['__GFP_DIRECT_RECLAIM', gfp.__GFP_DIRECT_RECLAIM],
  ['__GFP_KSWAPD_RECLAIM', gfp.__GFP_KSWAPD_RECLAIM],
  ['__GFP_ZEROTAGS', gfp.__GFP_ZEROTAGS],
];
const MASKS: ReadonlyMap<string, number> = new Map(NAMES);

/** What is printed where there are no flags. */
const NONE = 'none';
/** Flags without a name are printed together, last. */
const NAMELESS = /^0x([0-9a-f]{1,7})$/;

/** show_gfp_flags: 'GFP_KERNEL|__GFP_ZERO'. */
export function gfpText(flags: number): string {
  const names: string[] = [];
  let left = flags;
  for (const [name, mask] of NAMES) {
    if ((left & mask) !== mask) continue;
    names.push(name);
    left &= ~mask;
  }
  if (left !== 0) names.push(`0x${left.toString(16)}`);
  return names.length === 0 ? NONE : names.join('|');
}

/** The flags that gfpText names so, or the first name that is none. */
export function gfpFromText(
  text: string,
): { readonly flags: number } | { readonly unknown: string } {
  if (text === NONE) return { flags: 0 };
  let flags = 0;
  for (const name of text.split('|')) {
    const nameless = NAMELESS.exec(name);
    const mask = nameless === null ? MASKS.get(name) : Number.parseInt(nameless[1], 16);
    if (mask === undefined) return { unknown: name };
    flags |= mask;
  }
  return { flags };
}
