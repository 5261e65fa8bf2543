import type { Waiting } from '../../sched/scheduler.ts';
import type { Balloons } from './balloons.ts';
import { balloonPageMigrate } from './migrate-procedure.ts';
import { balloonPageFree, balloonPageIsolate, balloonPagePutback } from './procedures.ts';

/**
 * The movable operations of balloon pages (balloon_mops), for whoever migrates pages without
 * knowing which balloon they are in. One task at a time may be in `migrate` with one instance.
 */
export class BalloonPages {
  readonly #balloons: Balloons;
  readonly #isolateFrame = balloonPageIsolate.newFrame(0);
  readonly #freeFrame = balloonPageFree.newFrame(0, 0);
  readonly #putbackFrame = balloonPagePutback.newFrame(0);
  readonly #migrateFrame = balloonPageMigrate.newFrame(0, 0, 0);

  constructor(balloons: Balloons) {
    this.#balloons = balloons;
  }

  /** isolate_movable_page: false when the page could not be had. */
  isolate(pfn: number): boolean {
    const frame = this.#isolateFrame;
    balloonPageIsolate.start(frame);
    frame[1] = pfn;
    return balloonPageIsolate.run(frame, this.#balloons) === 'isolated';
  }

  /** putback_movable_pages for one isolated page: it becomes the first of its book. */
  putback(pfn: number): void {
    const frame = this.#putbackFrame;
    balloonPagePutback.start(frame);
    frame[1] = pfn;
    balloonPagePutback.run(frame, this.#balloons);
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
   * Migrates an isolated page to a new one that the caller has the only reference of. True when it
   * is done: the host was told and both pages have one reference left, the caller's. False when it
   * is to be tried again; then nothing has changed.
   */
  *migrate(oldPfn: number, newPfn: number, mayWait: boolean): Waiting<boolean> {
    const frame = this.#migrateFrame;
    const world = this.#balloons;
    balloonPageMigrate.start(frame);
    frame[1] = oldPfn;
    frame[2] = newPfn;
    frame[3] = mayWait ? 1 : 0;
    const acked = world.bookOf(oldPfn).migration?.acked;
    while (balloonPageMigrate.proceed(frame, world) === 'waiting') yield acked ?? 0;
    return balloonPageMigrate.stateName(frame) === 'migrated';
  }
}
