import { beforeEach, describe, expect, it } from 'vitest';
import { GFP_KERNEL, ZONE } from '../../../../guest/mm/page/gfp.ts';
import { MAX_RECLAIM_RETRIES } from '../../../../guest/mm/reclaim/reclaimable.ts';
import { ScanControl } from '../../../../guest/mm/reclaim/scan-control.ts';
import { reclaimThrottle, type ThrottleReason } from '../../../../guest/mm/reclaim/throttle.ts';
import { ReclaimWorld } from './reclaim-world.ts';

let world: ReclaimWorld;

beforeEach(() => {
  world = new ReclaimWorld(64);
});

const PROCESS = { isKswapd: false, asking: { killed: false } };
const KSWAPD = { isKswapd: true };
const KERNEL_TASK = { isKswapd: false };

/** How long a task is held up, in milliseconds. */
function waits(reason: ThrottleReason, who: typeof PROCESS | typeof KSWAPD = PROCESS): number {
  const request = { gfp: GFP_KERNEL, order: 0, highestZone: ZONE.normal, ...who };
  const before = world.clock.now();
  world.run(reclaimThrottle(world.reclaim.node, new ScanControl(request), reason));
  return world.clock.now() - before;
}

describe('reclaim_throttle', () => {
  it.each([
    ['a process', PROCESS],
    ['kswapd', KSWAPD],
  ])('%s waits a tenth of a second for write-back, a fiftieth for isolated pages', (_who, who) => {
    for (const [reason, ms] of [
      ['writeback', 100],
      ['isolated', 20],
    ] as const) {
      const waited = waits(reason, who);
      expect(waited).toBeGreaterThanOrEqual(ms);
      expect(waited).toBeLessThanOrEqual(ms + 10);
    }
  });

  it('only makes other tasks of the kernel step aside', () => {
    for (const reason of ['writeback', 'isolated', 'noProgress', 'congested'] as const) {
      expect(waits(reason, KERNEL_TASK)).toBe(0);
    }
  });

  it('waits a tick where there is no progress while most of the pages are being written', () => {
    const { node } = world.reclaim;
    const pages = node.zones.reduce((sum, zone) => {
      return zone.managedPages > 0 ? sum + node.reclaimablePages(zone) : sum;
    }, 0);
    world.vmstat.nr_dirty = pages >> 2;
    world.vmstat.nr_writeback = pages >> 2;
    expect(waits('noProgress')).toBe(0);
    world.vmstat.nr_writeback += 2;
    for (const reason of ['noProgress', 'congested'] as const) {
      const waited = waits(reason);
      expect(waited).toBeGreaterThan(0);
      expect(waited).toBeLessThanOrEqual(10);
    }
  });

  it('does not wait for progress that kswapd has given up, but for writes all the same', () => {
    world.vmstat.nr_writeback = 1_000_000;
    world.reclaim.node.kswapdFailures = MAX_RECLAIM_RETRIES;
    expect(waits('noProgress')).toBe(0);
    expect(waits('writeback')).toBeGreaterThan(0);
  });
});
