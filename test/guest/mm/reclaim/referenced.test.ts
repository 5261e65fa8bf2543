import { describe, expect, it } from 'vitest';
import { fork } from '../../../../guest/mm/calls/fork.ts';
import { mmap } from '../../../../guest/mm/calls/mmap.ts';
import { checkReferences, REFERENCES } from '../../../../guest/mm/reclaim/referenced.ts';
import { PG_REFERENCED } from '../../../../guest/mm/space/frames.ts';
import { TestProcess } from '../space/support.ts';
import { ReclaimWorld } from './reclaim-world.ts';

/** An anonymous page that so many processes have just used. */
function usedBy(processes: 1 | 2): { world: ReclaimWorld; pfn: number } {
  const world = new ReclaimWorld(64, { thp: 'never' });
  const parent = world.newProcess();
  const start = world.run(mmap(world.spaces, parent.mm, { pageCount: 1 }));
  parent.write(start, 1);
  if (processes === 2) {
    const child = new TestProcess(world, world.run(fork(world.spaces, parent.mm)));
    child.read(start);
    parent.read(start);
  }
  const pfn = parent.frame(start, false);
  world.spaces.frames.clear(pfn, PG_REFERENCED);
  return { world, pfn };
}

describe('folio_check_references', () => {
  it('keeps a page that one mapping used once, and reclaims it when it is not used again', () => {
    const { world, pfn } = usedBy(1);
    expect(checkReferences(world.spaces, pfn)).toBe(REFERENCES.keep);
    expect(world.spaces.frames.has(pfn, PG_REFERENCED)).toBe(true);
    expect(checkReferences(world.spaces, pfn)).toBe(REFERENCES.reclaim);
    expect(world.spaces.frames.has(pfn, PG_REFERENCED)).toBe(false);
  });

  it('activates a page that two mappings used', () => {
    const { world, pfn } = usedBy(2);
    expect(checkReferences(world.spaces, pfn)).toBe(REFERENCES.activate);
  });
});
