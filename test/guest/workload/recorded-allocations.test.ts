import { beforeEach, describe, expect, it } from 'vitest';
import { GFP_KERNEL } from '../../../guest/mm/page/gfp.ts';
import { PAGE_EVENT } from '../../../guest/mm/page/page-lifecycle.ts';
import { stepBlock } from '../../../guest/mm/page/pcp.ts';
import { RecordedAllocations } from '../../../guest/workload/recorded-allocations.ts';
import { FIRST, TestZone } from '../mm/test-zone.ts';

let test: TestZone;
let allocations: RecordedAllocations;

beforeEach(() => {
  test = new TestZone();
  test.free(FIRST, 10);
  allocations = new RecordedAllocations(test.pages);
});

describe('which block a recorded free gives back', () => {
  it('is the one that the recorded allocation was given here', () => {
    const pfn = test.allocator.alloc(2, GFP_KERNEL);
    allocations.had(7000, pfn);
    expect(allocations.take(7000, 2)).toBe(pfn);
    expect(allocations.take(7000, 2)).toBe(-1);
  });

  it('is none where the order is another', () => {
    allocations.had(7000, test.allocator.alloc(2, GFP_KERNEL));
    expect(allocations.take(7000, 0)).toBe(-1);
  });

  it('moves along with its page', () => {
    const pfn = test.allocator.alloc(0, GFP_KERNEL);
    const target = test.allocator.alloc(0, GFP_KERNEL);
    allocations.had(pfn, pfn);
    allocations.moved(pfn, target);
    expect([allocations.take(pfn, 0), allocations.take(target, 0)]).toEqual([-1, target]);
  });

  it('is none where the frame has come to somebody else: a balloon, or nobody', () => {
    const inBalloon = test.allocator.alloc(0, GFP_KERNEL);
    const free = test.allocator.alloc(0, GFP_KERNEL);
    for (const pfn of [inBalloon, free]) allocations.moved(7000, pfn);
    stepBlock(test.zone, inBalloon, 0, PAGE_EVENT.inflate);
    test.allocator.free(free, 0);
    expect([allocations.take(inBalloon, 0), allocations.take(free, 0)]).toEqual([-1, -1]);
  });
});
