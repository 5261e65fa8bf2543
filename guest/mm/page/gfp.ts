/**
 * GFP flags with the values of Linux 6.1, what follows from them (zone, migratetype), and the
 * allocator's own ALLOC_* flags.
 */
export const __GFP_DMA = 0x1;
export const __GFP_HIGHMEM = 0x2;
export const __GFP_DMA32 = 0x4;
export const __GFP_MOVABLE = 0x8;
export const __GFP_RECLAIMABLE = 0x10;
export const __GFP_HIGH = 0x20;
export const __GFP_IO = 0x40;
export const __GFP_FS = 0x80;
export const __GFP_ZERO = 0x100;
export const __GFP_ATOMIC = 0x200;
export const __GFP_DIRECT_RECLAIM = 0x400;
export const __GFP_KSWAPD_RECLAIM = 0x800;
export const __GFP_WRITE = 0x1000;
export const __GFP_NOWARN = 0x2000;
export const __GFP_RETRY_MAYFAIL = 0x4000;
export const __GFP_NOFAIL = 0x8000;
export const __GFP_NORETRY = 0x10000;
export const __GFP_MEMALLOC = 0x20000;
export const __GFP_COMP = 0x40000;
export const __GFP_NOMEMALLOC = 0x80000;
export const __GFP_HARDWALL = 0x100000;
export const __GFP_THISNODE = 0x200000;
export const __GFP_ACCOUNT = 0x400000;
export const __GFP_ZEROTAGS = 0x800000;

export const __GFP_RECLAIM = __GFP_DIRECT_RECLAIM | __GFP_KSWAPD_RECLAIM;
export const GFP_NOWAIT = __GFP_KSWAPD_RECLAIM;
export const GFP_ATOMIC = __GFP_HIGH | __GFP_ATOMIC | __GFP_KSWAPD_RECLAIM;
export const GFP_NOIO = __GFP_RECLAIM;
export const GFP_NOFS = __GFP_RECLAIM | __GFP_IO;
export const GFP_KERNEL = __GFP_RECLAIM | __GFP_IO | __GFP_FS;
export const GFP_KERNEL_ACCOUNT = GFP_KERNEL | __GFP_ACCOUNT;
export const GFP_USER = GFP_KERNEL | __GFP_HARDWALL;
export const GFP_HIGHUSER = GFP_USER | __GFP_HIGHMEM;
export const GFP_HIGHUSER_MOVABLE = GFP_HIGHUSER | __GFP_MOVABLE;
/** For huge pages: gives up where it would have to reclaim or compact. */
export const GFP_TRANSHUGE_LIGHT =
  (GFP_HIGHUSER_MOVABLE | __GFP_COMP | __GFP_NOMEMALLOC | __GFP_NOWARN) & ~__GFP_RECLAIM;
export const GFP_TRANSHUGE = GFP_TRANSHUGE_LIGHT | __GFP_DIRECT_RECLAIM;
/** balloon_page_alloc (3.12 of the facts). */
export const GFP_BALLOON = GFP_HIGHUSER_MOVABLE | __GFP_NOMEMALLOC | __GFP_NORETRY | __GFP_NOWARN;

export const MIGRATETYPE = {
  unmovable: 0,
  movable: 1,
  reclaimable: 2,
  highatomic: 3,
  isolate: 4,
} as const;
export const MIGRATETYPE_NAMES = [
  'unmovable',
  'movable',
  'reclaimable',
  'highatomic',
  'isolate',
] as const;
export const MIGRATETYPES = MIGRATETYPE_NAMES.length;
/** Migratetypes below this one have per-CPU lists, can be fallen back to and merge freely. */
export const MIGRATE_PCPTYPES = MIGRATETYPE.highatomic;

/** gfp_migratetype. */
export function gfpMigratetype(gfp: number): number {
  return (gfp & (__GFP_MOVABLE | __GFP_RECLAIMABLE)) >>> 3;
}

export const ZONE = { dma: 0, dma32: 1, normal: 2 } as const;
export const ZONES = 3;

/** gfp_zone on x86-64: the highest zone a request may be served from. ZONE_MOVABLE is empty. */
export function gfpZone(gfp: number): number {
  if ((gfp & __GFP_DMA) !== 0) return ZONE.dma;
  return (gfp & __GFP_DMA32) !== 0 ? ZONE.dma32 : ZONE.normal;
}

/** The two low bits choose the watermark an allocation has to leave. */
export const WMARK = { min: 0, low: 1, high: 2, promo: 3 } as const;
export const ALLOC_WMARK_MASK = 3;
export const ALLOC_WMARK_MIN = WMARK.min;
export const ALLOC_WMARK_LOW = WMARK.low;
export const ALLOC_NO_WATERMARKS = 0x4;
export const ALLOC_OOM = 0x8;
/** Cannot wait (was ALLOC_HARDER). */
export const ALLOC_NON_BLOCK = 0x10;
/** Same bit as __GFP_HIGH (was ALLOC_HIGH). */
export const ALLOC_MIN_RESERVE = 0x20;
export const ALLOC_NOFRAGMENT = 0x100;
/** High-order, cannot wait and __GFP_HIGH: may use the highatomic reserve. */
export const ALLOC_HIGHATOMIC = 0x200;
/** Same bit as __GFP_KSWAPD_RECLAIM. */
export const ALLOC_KSWAPD = 0x800;
export const ALLOC_RESERVES = ALLOC_NON_BLOCK | ALLOC_MIN_RESERVE | ALLOC_OOM;

/** gfp_to_alloc_flags: what the slow path allows itself. Realtime tasks are not emulated. */
export function gfpToAllocFlags(gfp: number, order: number): number {
  let flags = ALLOC_WMARK_MIN | (gfp & (__GFP_HIGH | __GFP_KSWAPD_RECLAIM));
  const harder = (gfp & __GFP_DIRECT_RECLAIM) === 0 && (gfp & __GFP_NOMEMALLOC) === 0;
  if (!harder) return flags;
  flags |= ALLOC_NON_BLOCK;
  return order > 0 && (flags & ALLOC_MIN_RESERVE) !== 0 ? flags | ALLOC_HIGHATOMIC : flags;
}
