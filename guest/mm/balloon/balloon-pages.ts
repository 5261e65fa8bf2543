import { fail } from '../../../shared/lib/assert.ts';
import type { Frame } from '../../../shared/lifecycle/procedure.ts';
import type { Waiting } from '../../sched/scheduler.ts';
import type { Balloons } from './balloons.ts';
import { type BalloonGeneration, MIGRATEPAGE, type Migratepage } from './generations.ts';
import { balloonPageFree } from './procedures.ts';

/**
 * What can be done to pages of balloons, for whoever migrates pages without knowing which balloon
 * they are in: balloon_mops of Linux 6.1, or the functions of the 2012 postings. One task at a time
 * may be in `migrate` with one instance.
 */
export class BalloonPages {
  readonly #balloons: Balloons;
  readonly #generation: BalloonGeneration;
  readonly #isolateFrame: Frame;
  readonly #freeFrame = balloonPageFree.newFrame(0, 0);
  readonly #putbackFrame: Frame;
  readonly #migrateFrame: Frame;

  constructor(balloons: Balloons) {
    const { generation } = balloons;
    this.#balloons = balloons;
    this.#generation = generation;
    this.#isolateFrame = generation.isolate.newFrame(0);
    this.#putbackFrame = generation.putback.newFrame(0);
    this.#migrateFrame = generation.migrate.newFrame(0, 0, 0);
  }

  /** isolate_movable_page, balloon_page_isolate: false when the page could not be had. */
  isolate(pfn: number): boolean {
    const { isolate } = this.#generation;
    const frame = this.#isolateFrame;
    isolate.start(frame);
    frame[1] = pfn;
    return isolate.run(frame, this.#balloons) === 'isolated';
  }

  /** putback_movable_pages for one isolated page: it becomes the first of its book. */
  putback(pfn: number): void {
    const { putback } = this.#generation;
    const frame = this.#putbackFrame;
    putback.start(frame);
    frame[1] = pfn;
    putback.run(frame, this.#balloons);
  }

  /** Drops one reference of a page that is in no balloon any more; the last one frees it. */
  free(pfn: number): void {
    const frame = this.#freeFrame;
    balloonPageFree.start(frame);
    frame[1] = pfn;
    frame[2] = 0;
    balloonPageFree.run(frame, this.#balloons);
  }

  /**
   * What unmap_and_move of 2012 does on MIGRATEPAGE_BALLOON_SUCCESS: drops the isolator's reference
   * of the old page and frees it, and counts it as isolated no longer.
   */
  release(oldPfn: number): void {
    this.#balloons.allocator.putPage(oldPfn);
    this.free(oldPfn);
    this.#balloons.compactBalloon.compact_balloon_released++;
  }

  /**
   * Migrates an isolated page to a new one that the caller has the only reference of. When it is
   * done the host was told, and the code says who owns which references; `again` changed nothing.
   */
  *migrate(oldPfn: number, newPfn: number, mayWait: boolean): Waiting<Migratepage> {
    const { migrate, migrated } = this.#generation;
    const frame = this.#migrateFrame;
    const world = this.#balloons;
    migrate.start(frame);
    frame[1] = oldPfn;
    frame[2] = newPfn;
    frame[3] = mayWait ? 1 : 0;
    const acked = world.bookOf(oldPfn).migration?.acked;
    while (migrate.proceed(frame, world) === 'waiting') yield acked ?? 0;
    switch (migrate.stateName(frame)) {
      case 'migrated':
        return migrated;
      case 'again':
        return MIGRATEPAGE.again;
      default:
        return fail('a balloon page is migrated or to be tried again');
    }
  }
}
