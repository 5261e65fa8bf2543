import { PAGE_SIZE } from '../../shared/lib/units.ts';
import type { StatsTag } from '../../shared/virtio/balloon.ts';
import {
  encodeStats,
  LINUX_6_1_TAG_ORDER,
  LINUX_6_12_TAG_ORDER,
} from '../../shared/virtio/stats.ts';
import type { GuestMemory } from '../mm/memory.ts';
import type { Vmstat } from '../mm/vmstat.ts';

export type LinuxVersion = '6.1' | '6.12';

/**
 * update_balloon_stats: reads the kernel's counters into the buffer of the statistics queue, the
 * same subset in the same order every time (N32). MINFLT is PGFAULT, which counts all faults.
 */
export class BalloonStatistics {
  readonly #memory: GuestMemory;
  readonly #vmstat: Vmstat;
  readonly #tags: readonly StatsTag[];

  constructor(memory: GuestMemory, vmstat: Vmstat, linux: LinuxVersion) {
    this.#memory = memory;
    this.#vmstat = vmstat;
    this.#tags = linux === '6.1' ? LINUX_6_1_TAG_ORDER : LINUX_6_12_TAG_ORDER;
  }

  /** The buffer as it goes on the queue; bytes for memory, counts for events. */
  collect(): Uint8Array {
    const values = this.values();
    return encodeStats(this.#tags.map((tag) => [tag, BigInt(values[tag])]));
  }

  values(): Record<StatsTag, number> {
    const info = this.#memory.allocator.memInfo();
    const count = (name: Parameters<Vmstat['get']>[0]): number => this.#vmstat.get(name);
    const bytes = (name: Parameters<Vmstat['get']>[0]): number => count(name) * PAGE_SIZE;
    return {
      'swap-in': bytes('pswpin'),
      'swap-out': bytes('pswpout'),
      'major-faults': count('pgmajfault'),
      'minor-faults': count('pgfault'),
      'free-memory': info.memFree * PAGE_SIZE,
      'total-memory': info.memTotal * PAGE_SIZE,
      'available-memory': info.memAvailable * PAGE_SIZE,
      'disk-caches': bytes('nr_file_pages'),
      'htlb-pgalloc': count('htlb_buddy_alloc_success'),
      'htlb-pgfail': count('htlb_buddy_alloc_fail'),
      'oom-kills': count('oom_kill'),
      'alloc-stalls': count('allocstall'),
      'async-scans': bytes('pgscan_kswapd'),
      'direct-scans': bytes('pgscan_direct'),
      'async-reclaims': bytes('pgsteal_kswapd'),
      'direct-reclaims': bytes('pgsteal_direct'),
    };
  }
}
