import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { GFP_BALLOON, GFP_KERNEL } from '../../../guest/mm/page/gfp.ts';
import { PAGE_STATE } from '../../../guest/mm/page/page-lifecycle.ts';
import type { KmemEvent } from '../../../guest/workload/kmem-trace.ts';
import type { TraceReport } from '../../../guest/workload/trace-program.ts';
import { readGuestImage, readKmemTrace } from '../../../lab/guest-image.ts';
import { ROOT } from '../../support/puff.ts';
import { GuestWorld } from '../mm/verify-world.ts';

const recording = (name: string): string => join(ROOT, 'lab/recordings', name);

/** A guest that booted from a recorded dump and has played requests. */
function played(name: string, kmemTrace: readonly KmemEvent[]) {
  const { image, memoryBytes } = readGuestImage(join(recording(name), 'freelists-before.json.gz'));
  const reports: TraceReport[] = [];
  const onTracePlayed = (report: TraceReport) => reports.push(report);
  const guest = { memoryBytes, image, kmemTrace, onTracePlayed };
  const world = new GuestWorld({ mib: 512, guest });
  expect(reports).toHaveLength(1);
  return { world, report: reports[0], image };
}

const event = (kind: KmemEvent['kind'], pfn: number, extra = 0): KmemEvent => {
  return { kind, pfn, order: 0, migratetype: 0, extra, line: 1 };
};

describe('a recorded trace in a guest that goes on', () => {
  it.each([
    ['exact-workload-512m', { allocations: 23_322, frees: 23_316 }],
    ['exact-pressure-512m', { allocations: 79_549, frees: 76_154 }],
  ])('%s: every free finds its allocation, whatever frame that had', (name, counts) => {
    const trace = readKmemTrace(join(recording(name), 'kmem-trace.txt.gz'));
    const { world, report } = played(name, trace);
    expect(report).toMatchObject({ ...counts, failed: 0, impossibleFrees: 0 });
    expect(report?.sameFrames).toBeLessThan(counts.allocations);
    world.verify();
    const free = world.freeFrames;
    world.setTarget(400);
    world.setTarget(512);
    expect(world.freeFrames).toBe(free);
    world.verify();
  });

  it('hands out the recorded frames where the balloon has not come between', () => {
    const trace = readKmemTrace(join(recording('exact-workload-512m'), 'kmem-trace.txt.gz'));
    const first = trace.findIndex(({ extra, kind }) => kind === 'A' && extra === GFP_BALLOON);
    const { report } = played('exact-workload-512m', trace.slice(0, first));
    expect(report).toMatchObject({ allocations: 7768, sameFrames: 7768, impossibleFrees: 0 });
  });
});

it('what was refused when it was recorded (PFN 0) is not kept where it is to be had', () => {
  const { world: without } = played('exact-inflate-512m', []);
  const refused = [event('A', 0, GFP_KERNEL), event('A', 0, GFP_KERNEL)];
  const { world, report } = played('exact-inflate-512m', refused);
  expect(report).toMatchObject({ allocations: 2, sameFrames: 0, failed: 0 });
  expect(world.freeFrames).toBe(without.freeFrames);
  world.verify();
});

describe('a free', () => {
  const name = 'exact-inflate-512m';

  it('gives back what the image shows in use, once', () => {
    const { image } = played(name, []);
    const used = 9000;
    const isListed = image.zones.some(({ free_area: area }) => {
      return area.some((lists) => lists.movable.includes(used) || lists.unmovable.includes(used));
    });
    expect(isListed).toBe(false);
    const { world, report } = played(name, [event('F', used), event('F', used)]);
    expect(report).toMatchObject({ frees: 2, impossibleFrees: 1 });
    expect(world.memory.pages.states.stateOf(used)).not.toBe(PAGE_STATE.allocated);
    world.verify();
  });

  it('of a frame that is free, or that nobody has, is counted and does nothing', () => {
    const { image } = played(name, []);
    const [free] = image.zones[1]?.free_area[10]?.movable ?? [];
    const { world, report } = played(name, [event('F', free as number), event('F', 2 ** 40)]);
    expect(report).toMatchObject({ frees: 2, impossibleFrees: 2 });
    world.verify();
  });

  it('of a batch acts at the end of its B events', () => {
    const kernel = [1, 2, 3].map((pfn) => event('A', pfn, GFP_KERNEL));
    const frees = [event('F', 1), event('F', 2), event('B', 1), event('B', 2)];
    const { world, report } = played(name, [...kernel, ...frees]);
    expect(report).toMatchObject({ allocations: 3, failed: 0, frees: 2, impossibleFrees: 0 });
    world.verify();
  });

  it('of the recorded balloon is left out, as its allocation is', () => {
    const { world, report } = played(name, [event('A', 7, GFP_BALLOON), event('F', 7)]);
    expect(report).toMatchObject({ allocations: 0, frees: 0, impossibleFrees: 0 });
    world.verify();
  });
});
