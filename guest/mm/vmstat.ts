/**
 * The kernel's counters, under the names they have in /proc/vmstat: events that only grow, and
 * levels that say how many frames are what at the moment. Fields, since faults count into them.
 * Counters of the page allocator and of balloons are kept there.
 */
export class Vmstat {
  // Events.
  pgfault = 0;
  pgmajfault = 0;
  pgreuse = 0;
  /** Read from and written to disk, in KiB. */
  pgpgin = 0;
  pgpgout = 0;
  pgactivate = 0;
  pswpin = 0;
  pswpout = 0;
  oom_kill = 0;
  allocstall = 0;
  pgscan_kswapd = 0;
  pgscan_direct = 0;
  pgsteal_kswapd = 0;
  pgsteal_direct = 0;
  pgscan_anon = 0;
  pgscan_file = 0;
  pgsteal_anon = 0;
  pgsteal_file = 0;
  pgrefill = 0;
  pgdeactivate = 0;
  pgrotated = 0;
  pageoutrun = 0;
  slabs_scanned = 0;
  kswapd_low_wmark_hit_quickly = 0;
  kswapd_high_wmark_hit_quickly = 0;
  nr_vmscan_write = 0;
  nr_vmscan_immediate_reclaim = 0;
  drop_pagecache = 0;
  htlb_buddy_alloc_success = 0;
  htlb_buddy_alloc_fail = 0;
  unevictable_pgs_culled = 0;
  unevictable_pgs_rescued = 0;
  unevictable_pgs_mlocked = 0;
  unevictable_pgs_munlocked = 0;
  thp_fault_alloc = 0;
  thp_fault_fallback = 0;
  thp_split_page = 0;
  thp_split_page_failed = 0;
  thp_deferred_split_page = 0;
  thp_split_pmd = 0;
  thp_swpout_fallback = 0;

  // Levels, in pages.
  nr_inactive_anon = 0;
  nr_active_anon = 0;
  nr_inactive_file = 0;
  nr_active_file = 0;
  nr_unevictable = 0;
  nr_isolated_anon = 0;
  nr_isolated_file = 0;
  nr_mlock = 0;
  nr_anon_pages = 0;
  nr_mapped = 0;
  nr_file_pages = 0;
  nr_shmem = 0;
  nr_dirty = 0;
  nr_writeback = 0;
  nr_swapcached = 0;
  nr_anon_transparent_hugepages = 0;
  nr_page_table_pages = 0;
  nr_slab_reclaimable = 0;
  nr_slab_unreclaimable = 0;

  get(name: VmstatName): number {
    return this[name];
  }

  /** A copy of all values, for dumps. */
  snapshot(): Record<VmstatName, number> {
    return { ...this };
  }
}

export type VmstatName = Exclude<keyof Vmstat, 'get' | 'snapshot'>;

export function newVmstat(): Vmstat {
  return new Vmstat();
}
