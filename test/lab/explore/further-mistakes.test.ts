import { describe, expect, it } from 'vitest';
import { BUFFER } from '../../../lab/explore/host-side.ts';
import type { ModelShape } from '../../../lab/explore/model.ts';
import { modelOf, productProcedures } from '../../../lab/explore/scenario.ts';
import { DONE, type Script, SLOT, type Stage, type Stages } from '../../../lab/explore/script.ts';
import { explore } from '../../../lab/explore/search.ts';
import { CELL, type ExploredWorld } from '../../../lab/explore/world.ts';
import { WAIT } from '../../../shared/lifecycle/procedure.ts';
import { mistakeIn, variantOf, withProcedures, withStages } from './variants.ts';

/** The stage of that name, which calls a procedure. */
function callOf(stages: Stages, name: string): Extract<Stage, { call: unknown }> {
  const stage = stages[name];
  if (stage === undefined || 'run' in stage) throw new Error(`${name} calls nothing`);
  return stage;
}

describe('a buffer that the host has seen is not one that has come back', () => {
  // N14. The host may still throw the page's content away.
  it('deflation that frees a page between the two', () => {
    const shape = withStages({ procedures: ['dequeue', 'enqueue'] }, 'leak', () => ({
      'leak.ack': {
        say: 'see the deflate taken',
        run: (frame, world) => {
          if (world.deflate.words[0] < BUFFER.taken) return WAIT;
          frame[SLOT.at] = world.cells[CELL.pfnCount] - 1;
          return 'leak.free';
        },
      },
      'leak.unlock': {
        say: 'see the deflate acknowledged, give balloon_lock back',
        run: (frame, world) => {
          if (!world.deflate.getBuf()) return WAIT;
          world.give(CELL.balloonLock);
          frame[SLOT.count] = 0;
          return 'report';
        },
      },
    }));
    expect(mistakeIn(shape)).toMatchInlineSnapshot(`
      "no page is used before its deflate is acknowledged (N14): page 0
      leak: begin leak_balloon
      leak: take balloon_lock
      leak: take pages_lock, to walk the list from its head
      leak: lock page 0 to dequeue it (trylock_page) -> yes
      leak: look whether page 0 is isolated -> yes
      leak: take page 0 off the list and out of the balloon
      leak: unlock page 0, it is dequeued
      leak: tell deflate of page 0
      host: take the deflate of page 0
      leak: see the deflate taken
      leak: add page 0 to the managed pages, if it was taken out
      leak: drop a reference of page 0 (put_page_testzero) -> yes
      leak: give page 0 to the allocator"
    `);
  });

  // I4: inflate(new), wait, deflate(old), wait.
  it('migration that names the old page between the two', () => {
    let of: ExploredWorld | undefined;
    const wrong = variantOf(productProcedures().migrate, {
      ackInflate: () => ((of?.inflate.words[0] ?? 0) < BUFFER.taken ? WAIT : 0),
      ackDeflate: () => (of?.inflate.getBuf() && of.deflate.getBuf() ? 0 : WAIT),
    });
    const shape = withStages({ procedures: ['migrate', 'dequeue'] }, 'compactor 1', (stages) => {
      const migrate = callOf(stages, 'migrate');
      const args: typeof migrate.args = (frame, world) => {
        of = world;
        migrate.args(frame, world);
      };
      return { migrate: { ...migrate, call: wrong, args } };
    });
    expect(mistakeIn(shape)).toMatchInlineSnapshot(`
      "a page leaves after what replaces it has come (I4): page 1 was not acknowledged before
      compactor 1: allocate a page to migrate to, not waiting for page locks
      compactor 1: lock page 0 to migrate it -> yes
      compactor 1: lock page 1 to migrate to it -> yes
      compactor 1: take balloon_lock to migrate (mutex_trylock) -> yes
      compactor 1: put page 1 on the list in place of page 0, isolated_pages - 1
      compactor 1: tell inflate of page 1
      host: take the inflate of page 1
      compactor 1: see the inflate of page 1 acknowledged
      compactor 1: take page 0 out of the balloon
      compactor 1: tell deflate of page 0"
    `);
  });
});

describe('pages_lock', () => {
  const scenario = { procedures: ['migrate', 'dequeue'], pages: 2 } as const;

  it('migration that puts the new page on the list without it', () => {
    const shape = withStages(scenario, 'compactor 1', (stages) => ({
      migrate: { ...callOf(stages, 'migrate'), pagesLock: ['remove'] },
    }));
    expect(mistakeIn(shape)).toMatchInlineSnapshot(`
      "the list changes under pages_lock: page 2
      compactor 1: allocate a page to migrate to, not waiting for page locks
      compactor 1: lock page 0 to migrate it -> yes
      compactor 1: lock page 2 to migrate to it -> yes
      compactor 1: take balloon_lock to migrate (mutex_trylock) -> yes
      compactor 1: put page 2 on the list in place of page 0, isolated_pages - 1"
    `);
  });

  it('inflation that puts a page on the list without it', () => {
    const shape = withStages({ procedures: ['enqueue', 'free'] }, 'fill', () => ({
      'fill.pagesLock': { say: 'take no pages_lock', run: () => 'fill.enqueue' },
    }));
    const unlocked = shape.scripts.map((script): Script => {
      if (script.name !== 'fill') return script;
      const enqueue = callOf(script.stages, 'fill.enqueue');
      const next: typeof enqueue.next = {
        enqueued: (frame, world) => {
          world.cells[CELL.pagesLock] = 1;
          const after = enqueue.next.enqueued;
          return typeof after === 'string' ? after : after(frame, world);
        },
      };
      return { ...script, stages: { ...script.stages, 'fill.enqueue': { ...enqueue, next } } };
    });
    expect(mistakeIn({ ...shape, scripts: unlocked })).toMatchInlineSnapshot(`
      "the list changes under pages_lock: page 1
      fill: begin fill_balloon
      fill: allocate a page
      fill: take balloon_lock
      fill: take no pages_lock
      fill: lock page 1 to enqueue it
      fill: put page 1 on the list"
    `);
  });
});

describe('each rule is broken by something', () => {
  const { free, migrate, putback } = productProcedures();
  const yes = (): number => 0;
  const broken: readonly (readonly [mistake: string, found: string, shape: () => ModelShape])[] = [
    [
      'inflation that does not wait for the host',
      'the host and the guest explain each other (I3): the balloon has page 1, the host has not',
      () =>
        withStages({ procedures: ['enqueue', 'dequeue'] }, 'fill', () => ({
          'fill.ack': { say: 'wait for nothing', run: () => 'fill.unlock' },
        })),
    ],
    [
      'putback that keeps the page lock',
      'no lock or buffer is left held: page 0',
      () => {
        const wrong = variantOf(putback, { unlock: yes });
        return withProcedures({ procedures: ['putback', 'free'] }, { putback: wrong });
      },
    ],
    [
      'putback that keeps its reference',
      'no page is lost: page 0 has 2 references',
      () => {
        const wrong = variantOf(putback, { put: yes });
        return withProcedures({ procedures: ['putback', 'free'] }, { putback: wrong });
      },
    ],
    [
      'migration to be tried again that keeps the page it wanted to migrate to',
      'no page is lost: page 2 is lost',
      () =>
        withStages({ procedures: ['migrate', 'dequeue'], pages: 2 }, 'compactor 1', () => ({
          unused: { say: 'forget the page', run: () => 'putback' },
        })),
    ],
    [
      'migration without a reference for the new page',
      'no page of the balloon is freed: page[1] of 2: cache in balloon',
      () => {
        const wrong = variantOf(migrate, {
          insert: (frame, world) => {
            world.bookOf(frame[1]).replacePage(frame[1], frame[2]);
            return 0;
          },
        });
        return withProcedures({ procedures: ['migrate', 'free'] }, { migrate: wrong });
      },
    ],
    [
      'deflation that writes no actual',
      'num_pages, actual and the managed pages agree (I1, I6): actual is 1, not 0',
      () =>
        withStages({ procedures: ['dequeue', 'free'] }, 'leak', () => ({
          report: {
            say: 'write no actual',
            run: (_, world) => {
              world.cells[CELL.running]--;
              return DONE;
            },
          },
        })),
    ],
    [
      'deflation that does not give the page back to the managed ones',
      'num_pages, actual and the managed pages agree (I1, I6): ' +
        '1 pages are out of the managed ones, not 0',
      () => {
        const wrong = variantOf(free, { account: yes });
        return withProcedures({ procedures: ['dequeue', 'free'] }, { free: wrong });
      },
    ],
  ];

  it.each(broken)('%s', (_, found, shape) => {
    expect(mistakeIn(shape()).split('\n')[0]).toBe(found);
  });
});

describe('the host’s target', () => {
  const scenario = { procedures: ['free', 'isolate'], events: ['retarget'] } as const;

  it('a change of it that the resize work misses while it runs', () => {
    const shape = withStages(scenario, 'resize', (stages) => {
      const { report } = stages;
      if (report === undefined || 'call' in report) throw new Error('the work has no end');
      const run: typeof report.run = (frame, world, choice) => {
        report.run(frame, world, choice);
        world.cells[CELL.pending] = 0;
        return 'idle';
      };
      return { report: { ...report, run } };
    });
    expect(mistakeIn(shape).split('\n')[0]).toBe(
      'the balloon has the size that the host wants: num_pages is 2, not 0',
    );
    expect(explore(modelOf(scenario)).violation).toBeUndefined();
  });
});
