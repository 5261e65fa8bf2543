import { fail } from '../../../shared/lib/assert.ts';
import type { Waiting } from '../../sched/scheduler.ts';
import type { BalloonPages } from '../balloon/balloon-pages.ts';
import { MIGRATEPAGE } from '../balloon/generations.ts';
import type { PageAllocator } from '../page/alloc.ts';
import { __GFP_FS } from '../page/gfp.ts';
import { PAGE_STATE } from '../page/page-lifecycle.ts';
import type { CompactControl } from './compact-control.ts';
import { MIGRATE_MODE } from './constants.ts';
import { type LruPages, MOVE, type MoveResult } from './lru-pages.ts';
import { lruPageMigrate } from './lru-procedure.ts';

/**
 * All kinds of pages that can be moved, for scanners and migration: those of balloons, which have
 * operations of their own, and those of the LRU. An isolated balloon page is known by its state,
 * any other isolated page is the LRU's.
 */
export class MovablePages {
  readonly lru: LruPages;
  readonly #allocator: PageAllocator;
  readonly #balloon: BalloonPages;
  readonly #lruFrame = lruPageMigrate.newFrame(0, 0, 0, 0, 0);

  constructor(allocator: PageAllocator, lru: LruPages, balloon: BalloonPages) {
    this.#allocator = allocator;
    this.lru = lru;
    this.#balloon = balloon;
  }

  canIsolateLru(pfn: number, cc: CompactControl): boolean {
    const async = cc.mode !== MIGRATE_MODE.sync;
    return this.lru.canIsolate(pfn, { async, mayEnterFs: (cc.gfp & __GFP_FS) !== 0 });
  }

  isolateLru(pfn: number): void {
    this.lru.isolate(pfn);
  }

  isolateBalloon(pfn: number): boolean {
    return this.#balloon.isolate(pfn);
  }

  /** putback_movable_pages: all isolated pages back to where they came from. */
  putbackAll(cc: CompactControl): void {
    while (cc.nrMigratePages > 0) {
      const pfn = cc.migratePages[--cc.nrMigratePages];
      if (this.#isBalloon(pfn)) this.#balloon.putback(pfn);
      else this.lru.putback(pfn);
    }
  }

  /**
   * Was the page freed since it was isolated? Then drops the isolator's reference, the last. A
   * balloon lets no isolated page go.
   */
  releaseForgotten(pfn: number): boolean {
    if (this.#isBalloon(pfn) || !this.lru.isForgotten(pfn)) return false;
    this.lru.release(pfn);
    return true;
  }

  /**
   * unmap_and_move: moves an isolated page to a new one. When it is done the caller has no
   * reference of either.
   */
  *migrate(
    cc: CompactControl,
    oldPfn: number,
    newPfn: number,
    force: boolean,
  ): Waiting<MoveResult> {
    const mayWait = force && cc.mode !== MIGRATE_MODE.async;
    if (!this.#isBalloon(oldPfn)) return yield* this.#migrateLru(cc, oldPfn, newPfn, mayWait);
    // A task that reclaims (PF_MEMALLOC) waits for no page lock: it may hold it itself.
    switch (yield* this.#balloon.migrate(oldPfn, newPfn, mayWait && !cc.direct)) {
      case MIGRATEPAGE.success:
        this.#allocator.putPage(newPfn);
        this.#balloon.free(oldPfn);
        return MOVE.done;
      case MIGRATEPAGE.balloonSuccess:
        this.#balloon.release(oldPfn);
        return MOVE.done;
      default:
        return MOVE.again;
    }
  }

  /**
   * try_split_folio: 512 isolated pages of an isolated huge page, in the order in which they are to
   * be migrated; none when somebody else refers to it.
   */
  *split(head: number): Waiting<readonly number[]> {
    while (!this.lru.tryLock(head)) yield* this.lru.untilReady(head);
    const tails = this.lru.split(head);
    this.lru.unlock(head);
    return tails === undefined ? [] : [...tails, head];
  }

  *#migrateLru(
    cc: CompactControl,
    oldPfn: number,
    newPfn: number,
    mayWait: boolean,
  ): Waiting<MoveResult> {
    const frame = this.#lruFrame;
    lruPageMigrate.start(frame);
    frame[1] = oldPfn;
    frame[2] = newPfn;
    frame[3] = cc.mode;
    frame[4] = mayWait && !cc.direct ? 1 : 0;
    while (lruPageMigrate.proceed(frame, this.lru) === 'waiting') {
      yield* this.lru.untilReady(oldPfn);
    }
    switch (lruPageMigrate.stateName(frame)) {
      case 'migrated':
        this.lru.put(newPfn);
        this.lru.release(oldPfn);
        return MOVE.done;
      case 'again':
        return MOVE.again;
      case 'failed':
        return MOVE.failed;
      default:
        return fail('a migration that came to no end was ended');
    }
  }

  #isBalloon(pfn: number): boolean {
    const state = this.#allocator.pages.states.stateOf(pfn);
    return state === PAGE_STATE.balloonIsolated;
  }
}
