import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { World } from '../space/support.ts';
import { programs } from './commands.ts';
import { Model } from './model.ts';

/**
 * Whatever processes do, in any order: every page reads what was written to it last, no content
 * passes from one process to another, every invariant holds, and in the end all memory is back.
 */
describe('random programs of system calls', () => {
  for (const thp of ['never', 'always'] as const) {
    it(`agree with a simple model, transparent huge pages ${thp}`, () => {
      const property = fc.property(programs(40), (commands) => {
        const world = new World(192, { thp });
        const model = new Model(world, world.freeFrames);
        fc.modelRun(() => ({ model, real: world }), commands);
        model.finish();
        const cached = world.spaces.vmstat.get('nr_file_pages');
        expect(world.spaces.tables.tableCount).toBe(0);
        expect(world.vmstat.get('nr_anon_pages')).toBe(0);
        expect(cached).toBeGreaterThanOrEqual(0);
      });
      fc.assert(property, { numRuns: 20 });
    });
  }
});
