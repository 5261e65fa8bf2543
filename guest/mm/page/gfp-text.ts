import * as gfp from './gfp.ts';

/** Names in the order in which the kernel's trace events look for them: most bits first. */
const NAMES = [
  ['GFP_HIGHUSER_MOVABLE', gfp.GFP_HIGHUSER_MOVABLE],
  ['GFP_HIGHUSER', gfp.GFP_HIGHUSER],
  ['GFP_USER', gfp.GFP_USER],
  ['GFP_KERNEL_ACCOUNT', gfp.GFP_KERNEL_ACCOUNT],
  ['GFP_KERNEL', gfp.GFP_KERNEL],
  ['GFP_NOFS', gfp.GFP_NOFS],
  ['GFP_ATOMIC', gfp.GFP_ATOMIC],
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
] as const;

/** show_gfp_flags: 'GFP_KERNEL|__GFP_ZERO'. */
export function gfpText(flags: number): string {
  const names: string[] = [];
  let left = flags;
  for (const [name, mask] of NAMES) {
    if ((left & mask) !== mask) continue;
    names.push(name);
    left &= ~mask;
  }
  return names.length === 0 ? 'none' : names.join('|');
}
