import { describe, expect, it } from 'vitest';
import { GFP_KERNEL, ZONE } from '../../../../guest/mm/page/gfp.ts';
import { LRU } from '../../../../guest/mm/reclaim/lru-lists.ts';
import type { ReclaimNode } from '../../../../guest/mm/reclaim/reclaim-node.ts';
import {
  DEACTIVATE_ANON,
  DEACTIVATE_FILE,
  ScanControl,
} from '../../../../guest/mm/reclaim/scan-control.ts';
import {
  getScanCount,
  inactiveIsLow,
  prepareScanCount,
} from '../../../../guest/mm/reclaim/scan-count.ts';
import { ReclaimWorld } from './reclaim-world.ts';

/** Inactive and active anonymous pages, inactive and active pages of files. */
type Sizes = readonly [number, number, number, number];

interface NodeOptions {
  readonly canReclaimAnon?: boolean;
  readonly anonCost?: number;
  readonly fileCost?: number;
  readonly freePages?: number;
}

/** A node of one zone with a high watermark of 1000 pages, and lists of these sizes. */
function nodeOf(sizes: Sizes, options: NodeOptions = {}): ReclaimNode {
  const { canReclaimAnon = true, anonCost = 0, fileCost = 0, freePages = 5000 } = options;
  const lists = { sizes: Int32Array.of(...sizes, 0), sizeUpTo: (lru: number) => sizes[lru] };
  const zones = [
    { managedPages: 0, highMark: 900, freePagesStat: 0 },
    { managedPages: 65_536, highMark: 1000, freePagesStat: freePages },
  ];
  const node = { spaces: { lru: { lists } }, zones, canReclaimAnon, anonCost, fileCost };
  return node as unknown as ReclaimNode;
}

function scanOf(node: ReclaimNode, settings: Partial<ScanControl> = {}): number[] {
  const sc = controlOf(node, settings);
  const counts = new Int32Array(4);
  getScanCount(node, sc, counts);
  return [...counts];
}

function controlOf(node: ReclaimNode, settings: Partial<ScanControl> = {}): ScanControl {
  const request = { gfp: GFP_KERNEL, order: 0, highestZone: ZONE.normal, isKswapd: true };
  const sc = Object.assign(new ScanControl(request), settings);
  prepareScanCount(node, sc);
  return sc;
}

/** No cache to trim first: more active pages of files than inactive ones. */
const LARGE: Sizes = [40_960, 40_960, 81_920, 122_880];

describe('get_scan_count', () => {
  it('splits by swappiness, 60 to 140, where both kinds cost nothing lately', () => {
    expect(scanOf(nodeOf(LARGE))).toEqual([3, 3, 14, 21]);
  });

  it('spares the kind that was written lately', () => {
    // Of 201 and 101: 60 * 301 / 201 = 89 and 140 * 301 / 101 = 417, together 506.
    expect(scanOf(nodeOf(LARGE, { anonCost: 100 }))).toEqual([1, 1, 16, 24]);
    // 60 * 301 / 101 = 178 and 140 * 301 / 201 = 209, together 387.
    expect(scanOf(nodeOf(LARGE, { fileCost: 100 }))).toEqual([4, 4, 10, 16]);
  });

  it('takes all of every list at the last priority', () => {
    expect(scanOf(nodeOf(LARGE), { priority: 0 })).toEqual([...LARGE]);
  });

  it('takes files alone where nothing can go to swap', () => {
    expect(scanOf(nodeOf(LARGE, { canReclaimAnon: false }))).toEqual([0, 0, 20, 30]);
    expect(scanOf(nodeOf(LARGE), { maySwap: false })).toEqual([0, 0, 20, 30]);
  });

  it('takes files alone while there are many that were used once', () => {
    expect(scanOf(nodeOf([40_960, 40_960, 81_920, 81_920]))).toEqual([0, 0, 20, 20]);
  });

  it('takes anonymous pages alone where files and free pages do not reach the high marks', () => {
    const few: Sizes = [40_960, 40_960, 300, 400];
    expect(scanOf(nodeOf(few, { freePages: 300 }))).toEqual([10, 10, 0, 0]);
    expect(scanOf(nodeOf(few, { freePages: 301 }))).toEqual([3, 3, 0, 0]);
  });
});

describe('inactive_is_low', () => {
  it('compares the two lists as they are below a GiB, and by its root above', () => {
    const { inactiveAnon, inactiveFile } = LRU;
    expect(inactiveIsLow(nodeOf([9, 10, 10, 10]), inactiveAnon)).toBe(true);
    expect(inactiveIsLow(nodeOf([9, 10, 10, 10]), inactiveFile)).toBe(false);
    expect(inactiveIsLow(nodeOf([80_000, 182_143, 0, 0]), inactiveAnon)).toBe(true);
    expect(inactiveIsLow(nodeOf([80_000, 182_144, 0, 0]), inactiveAnon)).toBe(false);
    expect(inactiveIsLow(nodeOf([80_000, 240_001, 0, 0]), inactiveAnon)).toBe(true);
  });
});

describe('prepare_scan_count', () => {
  it('lets the active lists become shorter that are too long, or all when it is forced', () => {
    expect(controlOf(nodeOf([9, 10, 9, 10])).mayDeactivate).toBe(DEACTIVATE_ANON | DEACTIVATE_FILE);
    expect(controlOf(nodeOf([9, 10, 10, 10])).mayDeactivate).toBe(DEACTIVATE_ANON);
    expect(controlOf(nodeOf([10, 10, 9, 10])).mayDeactivate).toBe(DEACTIVATE_FILE);
    const even = nodeOf([10, 10, 10, 10]);
    expect(controlOf(even).mayDeactivate).toBe(0);
    const forced = controlOf(even, { forceDeactivate: true });
    expect(forced.mayDeactivate).toBe(DEACTIVATE_ANON | DEACTIVATE_FILE);
  });

  it('finds files tiny only where enough anonymous pages are not in use', () => {
    const short = { freePages: 0 };
    expect(controlOf(nodeOf([4096, 0, 10, 10], short)).fileIsTiny).toBe(true);
    expect(controlOf(nodeOf([4095, 0, 10, 10], short)).fileIsTiny).toBe(false);
    expect(controlOf(nodeOf([4096, 5000, 10, 10], short)).fileIsTiny).toBe(false);
  });
});

describe('lru_note_cost', () => {
  it('remembers what was written, and halves both when it is more than a quarter of all', () => {
    const world = new ReclaimWorld(64);
    const { node } = world.reclaim;
    world.spaces.lru.lists.sizes.set([100, 100, 100, 100, 1_000_000]);
    node.noteCost(false, 60);
    node.noteCost(true, 40);
    expect([node.anonCost, node.fileCost]).toEqual([60, 40]);
    node.noteCost(true, 1);
    expect([node.anonCost, node.fileCost]).toEqual([30, 20]);
  });
});
