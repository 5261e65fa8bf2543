import { describe, expect, it } from 'vitest';
import { BalloonDevInfo, BOOK_WORDS } from '../../../guest/mm/balloon/balloon-dev-info.ts';
import { REFCOUNT_WORD } from '../../../guest/mm/page/page-map.ts';
import { modelOf, productProcedures } from '../../../lab/explore/scenario.ts';
import { explore } from '../../../lab/explore/search.ts';
import { mistakeIn, rewired, variantOf, withProcedures } from './variants.ts';

const YES = 0;
const { dequeue, isolate, putback, migrate } = productProcedures();
const of2012 = productProcedures('v2012');

describe('isolation', () => {
  it('without trylock_page: two compactors isolate one page', () => {
    const wrong = rewired(isolate, {
      look: { yes: 'recheck', no: 'unpin' },
      lock: undefined,
      recheck: { yes: 'unlink', no: 'unpin' },
      unlink: { yes: 'isolated' },
      release: undefined,
      unlock: undefined,
    });
    const shape = withProcedures({ procedures: ['isolate', 'isolate'] }, { isolate: wrong });
    expect(mistakeIn(shape)).toMatchInlineSnapshot(`
      "no page is isolated twice: page[0] of 1: isolate in balloonIsolated
      compactor 1: choose page 0
      compactor 1: pin page 0 (get_page_unless_zero) -> yes
      compactor 1: look whether page 0 is movable -> yes
      compactor 1: look at page 0 again -> yes
      compactor 2: choose page 0
      compactor 2: pin page 0 (get_page_unless_zero) -> yes
      compactor 2: look whether page 0 is movable -> yes
      compactor 2: look at page 0 again -> yes
      compactor 1: take page 0 off the list, isolated_pages + 1
      compactor 2: take page 0 off the list, isolated_pages + 1"
    `);
  });

  it('of 2012 without its reference-count check: a page is isolated twice', () => {
    const wrong = rewired(of2012.isolate, {
      recheck: { yes: 'unlink', no: 'unlock' },
      count: undefined,
    });
    const scenario = { procedures: ['isolate', 'isolate'], generation: 'v2012' } as const;
    const shape = withProcedures(scenario, { isolate: wrong });
    expect(mistakeIn(shape)).toMatchInlineSnapshot(`
      "no page is isolated twice: page[0] of 1: isolate in balloonIsolated
      compactor 1: choose page 0
      compactor 1: look whether page 0 is movable -> yes
      compactor 1: pin page 0 (get_page_unless_zero) -> yes
      compactor 1: lock page 0 (trylock_page) -> yes
      compactor 1: look at page 0 again -> yes
      compactor 1: take page 0 off the list, isolated_pages + 1
      compactor 1: unlock page 0, it is isolated
      compactor 2: choose page 0
      compactor 2: look whether page 0 is movable -> yes
      compactor 2: pin page 0 (get_page_unless_zero) -> yes
      compactor 2: lock page 0 (trylock_page) -> yes
      compactor 2: look at page 0 again -> yes
      compactor 2: take page 0 off the list, isolated_pages + 1"
    `);
    expect(explore(modelOf(scenario)).violation).toBeUndefined();
  });

  it('with get_page in place of get_page_unless_zero: a page is freed twice', () => {
    const wrong = variantOf(isolate, {
      pin: (frame, world) => {
        world.pages.words[(frame[1] << 2) + REFCOUNT_WORD]++;
        return YES;
      },
    });
    const shape = withProcedures({ procedures: ['dequeue', 'isolate'] }, { isolate: wrong });
    expect(mistakeIn(shape)).toMatchInlineSnapshot(`
      "no page is freed twice: page[0] of 1: cache in pcp
      leak: begin leak_balloon
      leak: take balloon_lock
      leak: take pages_lock, to walk the list from its head
      leak: lock page 0 to dequeue it (trylock_page) -> yes
      leak: look whether page 0 is isolated -> yes
      leak: take page 0 off the list and out of the balloon
      leak: unlock page 0, it is dequeued
      leak: tell deflate of page 0
      compactor 1: choose page 0
      host: take the deflate of page 0
      host: acknowledge the deflate of page 0
      leak: see the deflate acknowledged
      leak: add page 0 to the managed pages, if it was taken out
      leak: drop a reference of page 0 (put_page_testzero) -> yes
      leak: give page 0 to the allocator
      compactor 1: pin page 0 (get_page_unless_zero) -> yes
      compactor 1: look whether page 0 is movable -> no
      compactor 1: drop the reference of page 0 (put_page)"
    `);
  });
});

describe('migration', () => {
  it('that tells deflate of the old page before inflate of the new one breaks I4', () => {
    const wrong = rewired(migrate, {
      insert: { yes: 'remove' },
      ackDeflate: { yes: 'tellInflate' },
      ackInflate: { yes: 'unlockBalloon' },
    });
    const shape = withProcedures({ procedures: ['dequeue', 'migrate'] }, { migrate: wrong });
    expect(mistakeIn(shape)).toMatchInlineSnapshot(`
      "a page leaves after what replaces it has come (I4): page 1 was not told before
      compactor 1: allocate a page to migrate to, not waiting for page locks
      compactor 1: lock page 0 to migrate it -> yes
      compactor 1: lock page 1 to migrate to it -> yes
      compactor 1: take balloon_lock to migrate (mutex_trylock) -> yes
      compactor 1: put page 1 on the list in place of page 0, isolated_pages - 1
      compactor 1: take page 0 out of the balloon
      compactor 1: tell deflate of page 0"
    `);
  });

  it('that does not decrement isolated_pages when it releases the old page', () => {
    const book = new Int32Array(BOOK_WORDS);
    const wrong = variantOf(migrate, {
      insert: (frame, world) => {
        const of = world.bookOf(frame[1]);
        const event = migrate.effects.insert?.(frame, world);
        if (event === undefined || !(of instanceof BalloonDevInfo)) throw new Error('no such step');
        of.saveTo(book, 0);
        book[2]++;
        of.restoreFrom(book, 0);
        return event;
      },
    });
    const shape = withProcedures({ procedures: ['dequeue', 'migrate'] }, { migrate: wrong });
    expect(mistakeIn(shape)).toMatchInlineSnapshot(`
      "the counts of the book are right: isolated_pages is 1, not 0
      compactor 1: allocate a page to migrate to, not waiting for page locks
      compactor 1: lock page 0 to migrate it -> yes
      compactor 1: lock page 1 to migrate to it -> yes
      compactor 1: take balloon_lock to migrate (mutex_trylock) -> yes
      compactor 1: put page 1 on the list in place of page 0, isolated_pages - 1"
    `);
  });
});

describe('putback and dequeue', () => {
  it('putback without the page lock changes the list unprotected', () => {
    const edges = {
      lock: undefined,
      recheck: { yes: 'relink', no: 'put' },
      relink: { yes: 'put' },
      unlock: undefined,
    };
    const wrong = rewired(putback, edges, 'recheck');
    const shape = withProcedures({ procedures: ['putback', 'isolate'] }, { putback: wrong });
    expect(mistakeIn(shape)).toMatchInlineSnapshot(`
      "a page changes lists under its lock: page 0
      compactor 1: look whether page 0 is still movable -> yes
      compactor 1: put page 0 back on the list, isolated_pages - 1"
    `);
  });

  it('dequeue that ignores locked pages takes one that is being isolated', () => {
    const edges = {
      lock: undefined,
      recheck: { yes: 'remove', no: 'skipped' },
      remove: { yes: 'dequeued' },
      unlock: undefined,
      giveUp: undefined,
    };
    const wrong = rewired(dequeue, edges, 'recheck');
    const shape = withProcedures({ procedures: ['dequeue', 'isolate'] }, { dequeue: wrong });
    expect(mistakeIn(shape)).toMatchInlineSnapshot(`
      "no step of the product fails: an explored page is in no balloon
      leak: begin leak_balloon
      leak: take balloon_lock
      leak: take pages_lock, to walk the list from its head
      leak: look whether page 0 is isolated -> yes
      compactor 1: choose page 0
      compactor 1: pin page 0 (get_page_unless_zero) -> yes
      compactor 1: look whether page 0 is movable -> yes
      compactor 1: lock page 0 (trylock_page) -> yes
      compactor 1: look at page 0 again -> yes
      leak: take page 0 off the list and out of the balloon
      compactor 1: take page 0 off the list, isolated_pages + 1"
    `);
  });
});
