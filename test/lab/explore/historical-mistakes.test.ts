import { describe, expect, it } from 'vitest';
import { PAGE_EVENT } from '../../../guest/mm/page/page-lifecycle.ts';
import { oomDeadlock, oomModel } from '../../../lab/explore/oom-deadlock.ts';
import { modelOf, productProcedures } from '../../../lab/explore/scenario.ts';
import { SLOT, type Stage, type Stages } from '../../../lab/explore/script.ts';
import { explore } from '../../../lab/explore/search.ts';
import { CELL, type ExploredWorld } from '../../../lab/explore/world.ts';
import { type Frame, WAIT } from '../../../shared/lifecycle/procedure.ts';
import { mistakeIn, variantOf, withProcedures, withStages } from './variants.ts';

/** The effect of a stage that is none of a called procedure. */
function runOf(stages: Stages, name: string): Extract<Stage, { run: unknown }>['run'] {
  const stage = stages[name];
  if (stage === undefined || 'call' in stage) throw new Error(`${name} has no effect of its own`);
  return stage.run;
}

/** A stage that calls a procedure, with `change` between its end and the next stage. */
function followedBy(
  stages: Stages,
  name: string,
  change: (next: Following, frame: Frame, world: ExploredWorld) => string,
): Stage {
  const stage = stages[name];
  if (stage === undefined || 'run' in stage) throw new Error(`${name} calls nothing`);
  const next = Object.entries(stage.next).map(([end, old]) => {
    const following: Following = (frame, world) =>
      typeof old === 'string' ? old : old(frame, world);
    const changed: Following = (frame, world) => change(following, frame, world);
    return [end, changed] as const;
  });
  return { ...stage, next: Object.fromEntries(next) };
}

type Following = (frame: Frame, world: ExploredWorld) => string;

describe('mistakes of Linux’s history', () => {
  // v11 of the series (7 November 2012); the early return was found in review.
  it('v11: fill_balloon returns early with balloon_lock held', () => {
    const scenario = { procedures: ['enqueue', 'dequeue'] } as const;
    const shape = withStages(scenario, 'fill', (stages) => ({
      'fill.lock': {
        say: 'take balloon_lock',
        run: (frame, world, choice) => {
          const next = runOf(stages, 'fill.lock')(frame, world, choice);
          return next === 'fill.unlock' ? 'report' : next;
        },
      },
    }));
    expect(mistakeIn({ ...shape, free: 0 })).toMatchInlineSnapshot(`
      "no wait that nothing can end: nobody can move any more
      fill: begin fill_balloon
      fill: allocate a page
      fill: take balloon_lock
      fill: write actual: 1
      leak: begin leak_balloon
      leak waits to: take balloon_lock"
    `);
    expect(explore({ ...modelOf(scenario), free: 0 }).violation).toBeUndefined();
  });

  // Until d6d86c0a7f8d ("mm/balloon_compaction: redesign ballooned pages management", 2014) core
  // migration took the ordinary path at its end and cleared the mapping of the new page.
  it('2014: a migrated page has lost its balloon and cannot migrate again', () => {
    const { migrate } = productProcedures();
    const wrong = variantOf(migrate, {
      put: (frame, world) => {
        world.pages.setBook(frame[2], 0);
        return migrate.effects.put?.(frame, world) ?? WAIT;
      },
    });
    const shape = withProcedures({ procedures: ['migrate', 'isolate'] }, { migrate: wrong });
    expect(mistakeIn(shape)).toMatchInlineSnapshot(`
      "a page names its balloon exactly while it is in it: page 1
      compactor 1: allocate a page to migrate to, not waiting for page locks
      compactor 1: lock page 0 to migrate it -> yes
      compactor 1: lock page 1 to migrate to it -> yes
      compactor 1: take balloon_lock to migrate (mutex_trylock) -> yes
      compactor 1: put page 1 on the list in place of page 0, isolated_pages - 1
      compactor 1: tell inflate of page 1
      host: take the inflate of page 1
      host: acknowledge the inflate of page 1
      compactor 1: see the inflate of page 1 acknowledged
      compactor 1: take page 0 out of the balloon
      compactor 1: tell deflate of page 0
      host: take the deflate of page 0
      host: acknowledge the deflate of page 0
      compactor 1: see the deflate of page 0 acknowledged
      compactor 1: give balloon_lock back
      compactor 1: drop the balloon's reference of page 0"
    `);
  });

  // From d6d86c0a7f8d (2014) to b1123ea6d3b3 ("mm: balloon: use general non-lru movable page
  // feature", 2016) a migration returned the plain MIGRATEPAGE_SUCCESS, and its caller asked the
  // new page, unlocked already, whether it was a balloon's. Deflated meanwhile, it was not.
  it('2014 to 2016: plain MIGRATEPAGE_SUCCESS races deflation', () => {
    const scenario = { procedures: ['dequeue', 'migrate'] } as const;
    const shape = withStages(scenario, 'compactor 1', (stages) => ({
      putNew: {
        say: (frame) => `put page ${frame[SLOT.other]} where it seems to belong`,
        run: (frame, world, choice) => {
          const { pages } = world;
          if (!pages.isMovable(frame[SLOT.other])) {
            pages.states.step(frame[SLOT.other], PAGE_EVENT.lruAdd);
          }
          return runOf(stages, 'putNew')(frame, world, choice);
        },
      },
    }));
    expect(mistakeIn(shape)).toMatchInlineSnapshot(`
      "every page of the balloon is on one list, once: page 1 is on the LRU list
      leak: begin leak_balloon
      compactor 1: allocate a page to migrate to, not waiting for page locks
      compactor 1: lock page 0 to migrate it -> yes
      compactor 1: lock page 1 to migrate to it -> yes
      compactor 1: take balloon_lock to migrate (mutex_trylock) -> yes
      compactor 1: put page 1 on the list in place of page 0, isolated_pages - 1
      compactor 1: tell inflate of page 1
      host: take the inflate of page 1
      host: acknowledge the inflate of page 1
      compactor 1: see the inflate of page 1 acknowledged
      compactor 1: take page 0 out of the balloon
      compactor 1: tell deflate of page 0
      host: take the deflate of page 0
      host: acknowledge the deflate of page 0
      compactor 1: see the deflate of page 0 acknowledged
      compactor 1: give balloon_lock back
      leak: take balloon_lock
      leak: take pages_lock, to walk the list from its head
      compactor 1: drop the balloon's reference of page 0
      compactor 1: unlock pages 1 and 0
      leak: lock page 1 to dequeue it (trylock_page) -> yes
      leak: look whether page 1 is isolated -> yes
      leak: take page 1 off the list and out of the balloon
      compactor 1: put page 1 where it seems to belong"
    `);
  });

  // "virtio_balloon: fix race between migration and ballooning" (Minchan Kim, 28 December 2015):
  // pages_lock has to cover the loop, or the page under the cursor is isolated meanwhile.
  it('2015: dequeue walks the list without pages_lock', () => {
    const scenario = { procedures: ['dequeue', 'isolate'], pages: 2 } as const;
    const shape = withStages(scenario, 'leak', (stages) => ({
      'leak.walk': {
        say: 'walk the list from its head without pages_lock',
        run: (frame, world, choice) => {
          const next = runOf(stages, 'leak.walk')(frame, world, choice);
          world.cells[CELL.pagesLock] = 0;
          return next;
        },
      },
      'leak.dequeue': followedBy(stages, 'leak.dequeue', (next, frame, world) => {
        world.cells[CELL.pagesLock] = 1;
        const after = next(frame, world);
        world.cells[CELL.pagesLock] = 0;
        return after;
      }),
    }));
    expect(mistakeIn(shape)).toMatchInlineSnapshot(`
      "no step of the product fails: a walk of the list came to what is no page
      leak: begin leak_balloon
      leak: take balloon_lock
      leak: walk the list from its head without pages_lock
      compactor 1: choose page 1
      compactor 1: pin page 1 (get_page_unless_zero) -> yes
      compactor 1: look whether page 1 is movable -> yes
      compactor 1: lock page 1 (trylock_page) -> yes
      compactor 1: look at page 1 again -> yes
      compactor 1: take page 1 off the list, isolated_pages + 1
      leak: lock page 1 to dequeue it (trylock_page) -> no"
    `);
  });

  // f68b992bbb47 ("virtio_balloon: fix race by fill and leak", 2015): balloon_lock did not cover
  // the release of the pages, which was done from vb->pfns.
  it('2015: fill overwrites the PFNs that leak is about to free', () => {
    const scenario = { procedures: ['enqueue', 'dequeue'] } as const;
    const shape = withStages(scenario, 'leak', (stages) => ({
      'leak.ack': {
        say: 'see the deflate acknowledged',
        run: (frame, world, choice) => {
          const next = runOf(stages, 'leak.ack')(frame, world, choice);
          return next === 'leak.free' ? 'unlockEarly' : next;
        },
      },
      unlockEarly: {
        say: 'give balloon_lock back before the pages are freed',
        run: (_, world) => {
          world.give(CELL.balloonLock);
          return 'readPfns';
        },
      },
      readPfns: { say: 'read vb->pfns, to free them', run: () => 'leak.free' },
      'leak.free': followedBy(stages, 'leak.free', (next, frame, world) => {
        const after = next(frame, world);
        return after === 'leak.unlock' ? 'report' : after;
      }),
    }));
    expect(mistakeIn(shape)).toMatchInlineSnapshot(`
      "a page of the balloon is referred to: page 1 of the balloon has no reference
      fill: begin fill_balloon
      fill: allocate a page
      leak: begin leak_balloon
      leak: take balloon_lock
      leak: take pages_lock, to walk the list from its head
      leak: lock page 0 to dequeue it (trylock_page) -> yes
      leak: look whether page 0 is isolated -> yes
      leak: take page 0 off the list and out of the balloon
      leak: unlock page 0, it is dequeued
      leak: tell deflate of page 0
      host: take the deflate of page 0
      host: acknowledge the deflate of page 0
      leak: see the deflate acknowledged
      leak: give balloon_lock back before the pages are freed
      fill: take balloon_lock
      fill: take pages_lock
      fill: lock page 1 to enqueue it
      fill: put page 1 on the list
      fill: unlock page 1, it is enqueued
      leak: read vb->pfns, to free them
      leak: add page 1 to the managed pages, if it was taken out
      leak: drop a reference of page 1 (put_page_testzero) -> yes"
    `);
  });

  // c7cdff0e864713 ("virtio_balloon: fix deadlock on OOM", 2017).
  it('2017: the OOM notifier waits for balloon_lock, whose holder waits for memory', () => {
    expect(mistakeIn(oomModel(true))).toMatchInlineSnapshot(`
      "no wait that nothing can end: nobody can move any more
      fill: take balloon_lock
      oom notifier: begin leak_balloon
      fill waits to: allocate a page, waiting for memory
      oom notifier waits to: take balloon_lock"
    `);
  });

  it('2017: a few lines tell it, for whoever wants to see one schedule', () => {
    expect(oomDeadlock().schedule).toHaveLength(4);
  });

  it('2017: there is no deadlock where the allocation comes before the lock', () => {
    expect(explore(oomModel(false)).violation).toBeUndefined();
  });
});
