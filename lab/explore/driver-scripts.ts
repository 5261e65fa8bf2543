import { listNext } from '../../guest/mm/page/page-list.ts';
import { assert } from '../../shared/lib/assert.ts';
import { type Frame, WAIT } from '../../shared/lifecycle/procedure.ts';
import { type BalloonProcedure, DONE, type Script, SLOT, type Stages } from './script.ts';
import { CELL, type ExploredWorld } from './world.ts';

/**
 * fill_balloon and leak_balloon (guest/drivers/balloon-batch.ts) around the product's procedures.
 * pages_lock is held over a whole walk; it is given back with the last step under it, for what is
 * done under a spin lock nobody sees before it is given back.
 *
 * Not emulated: the pause of 200 ms after a failed allocation, for time is not; that the pages of a
 * batch go to the allocator together, after the last reference of each is dropped.
 */

/** The product's procedures that the scripts call. */
export interface Procedures {
  readonly enqueue: BalloonProcedure;
  readonly dequeue: BalloonProcedure;
  readonly free: BalloonProcedure;
  readonly isolate: BalloonProcedure;
  readonly putback: BalloonProcedure;
  readonly migrate: BalloonProcedure;
  /** MIGRATEPAGE_BALLOON_SUCCESS of 2012: after it compaction has no reference of the new page. */
  readonly balloonSuccess: boolean;
}

/** Locals of a batch: pages held in `page` and `other`, how many, and where the walk is. */
const HELD = [SLOT.page, SLOT.other] as const;

/** What a batch belongs to: a work item or notifier, which a stop waits for, or the stop itself. */
interface BatchEnds {
  /** Stage after the batch. */
  readonly after: (frame: Frame, world: ExploredWorld) => string;
}

/** A work that `cancel_work_sync` or a notifier chain waits for begins, unless it is stopped. */
function begins(world: ExploredWorld): boolean {
  if (world.cells[CELL.stopped] === 1) return false;
  world.cells[CELL.running]++;
  return true;
}

function takeBalloonLock(world: ExploredWorld): boolean {
  if (!world.tryTake(CELL.balloonLock)) return false;
  world.cells[CELL.pfnCount] = 0;
  return true;
}

function pushPfn(world: ExploredWorld, pfn: number): number {
  world.pfns[world.cells[CELL.pfnCount]++] = pfn;
  return world.cells[CELL.pfnCount];
}

/** fill_balloon of at most `want` pages: allocate, then under balloon_lock enqueue, tell, wait. */
export function fillStages(procedures: Procedures, want: number, ending: BatchEnds): Stages {
  return {
    'fill.allocate': {
      say: 'allocate a page',
      run: (frame, world) => {
        const pfn = world.allocate();
        if (pfn >= 0) frame[HELD[frame[SLOT.count]++]] = pfn;
        return pfn >= 0 && frame[SLOT.count] < want ? 'fill.allocate' : 'fill.lock';
      },
    },
    'fill.lock': {
      say: 'take balloon_lock',
      run: (frame, world) => {
        if (!takeBalloonLock(world)) return WAIT;
        return frame[SLOT.count] > 0 ? 'fill.pagesLock' : 'fill.unlock';
      },
    },
    'fill.pagesLock': {
      say: 'take pages_lock',
      run: (_, world) => (world.tryTake(CELL.pagesLock) ? 'fill.enqueue' : WAIT),
    },
    'fill.enqueue': {
      call: procedures.enqueue,
      args: (frame, world) => {
        frame[SLOT.callee + 1] = frame[HELD[frame[SLOT.count] - 1]];
        frame[SLOT.callee + 2] = world.book.claimNumber();
      },
      next: { enqueued: (frame, world) => enqueued(frame, world) },
    },
    'fill.tell': {
      say: (_, world) => `tell inflate of page ${pfnList(world)}`,
      run: (_, world) => {
        world.inflate.tell(world.pfns, world.cells[CELL.pfnCount]);
        return 'fill.ack';
      },
    },
    'fill.ack': {
      say: 'see the inflate acknowledged',
      run: (_, world) => (world.inflate.getBuf() ? 'fill.unlock' : WAIT),
    },
    'fill.unlock': {
      say: 'give balloon_lock back',
      run: (frame, world) => {
        world.give(CELL.balloonLock);
        return ending.after(frame, world);
      },
    },
  };
}

function enqueued(frame: Frame, world: ExploredWorld): string {
  const held = HELD[--frame[SLOT.count]];
  world.give(CELL.pagesLock);
  pushPfn(world, frame[held]);
  world.cells[CELL.numPages]++;
  world.balloons.adjustManagedPageCount(frame[held], -1);
  frame[held] = 0;
  return frame[SLOT.count] > 0 ? 'fill.pagesLock' : 'fill.tell';
}

/** leak_balloon of at most `want` pages: under balloon_lock dequeue, tell, wait, free. */
export function leakStages(procedures: Procedures, want: number, ending: BatchEnds): Stages {
  return {
    'leak.lock': {
      say: 'take balloon_lock',
      run: (frame, world) => {
        if (!takeBalloonLock(world)) return WAIT;
        frame[SLOT.count] = Math.min(want, world.cells[CELL.numPages]);
        return frame[SLOT.count] > 0 ? 'leak.walk' : 'leak.unlock';
      },
    },
    'leak.walk': {
      say: 'take pages_lock, to walk the list from its head',
      run: (frame, world) => {
        if (!world.tryTake(CELL.pagesLock)) return WAIT;
        return walkTo(frame, world, world.firstListed());
      },
    },
    'leak.dequeue': {
      call: procedures.dequeue,
      args: (frame) => {
        frame[SLOT.callee + 1] = frame[SLOT.at];
      },
      next: {
        dequeued: (frame, world) => dequeued(frame, world),
        skipped: (frame, world) =>
          walkTo(frame, world, listNext(world.pages.words, frame[SLOT.at])),
      },
    },
    'leak.tell': {
      say: (_, world) => `tell deflate of page ${pfnList(world)}`,
      run: (_, world) => {
        world.deflate.tell(world.pfns, world.cells[CELL.pfnCount]);
        return 'leak.ack';
      },
    },
    'leak.ack': {
      say: 'see the deflate acknowledged',
      run: (frame, world) => {
        if (!world.deflate.getBuf()) return WAIT;
        frame[SLOT.at] = world.cells[CELL.pfnCount] - 1;
        return 'leak.free';
      },
    },
    'leak.free': {
      call: procedures.free,
      args: (frame, world) => {
        frame[SLOT.callee + 1] = world.pfns[frame[SLOT.at]];
        frame[SLOT.callee + 2] = 1;
      },
      next: { freed: nextToFree, kept: nextToFree },
    },
    'leak.unlock': {
      say: 'give balloon_lock back',
      run: (frame, world) => {
        world.give(CELL.balloonLock);
        frame[SLOT.count] = 0;
        return ending.after(frame, world);
      },
    },
  };
}

/** list_for_each_entry: the next page to try, or the end of the walk. */
function walkTo(frame: Frame, world: ExploredWorld, node: number): string {
  const { list } = world.pages;
  if (node !== list) {
    assert(node >= 0 && node < world.frameCount, 'a walk of the list came to what is no page');
    frame[SLOT.at] = node;
    return 'leak.dequeue';
  }
  const { book } = world;
  assert(book.length > 0 || book.isolatedPages > 0 || hasPfns(world), 'balloon pages went astray');
  return endWalk(frame, world);
}

function endWalk(frame: Frame, world: ExploredWorld): string {
  world.give(CELL.pagesLock);
  frame[SLOT.at] = 0;
  return hasPfns(world) ? 'leak.tell' : 'leak.unlock';
}

function dequeued(frame: Frame, world: ExploredWorld): string {
  const count = pushPfn(world, frame[SLOT.at]);
  world.cells[CELL.numPages]--;
  if (count === frame[SLOT.count]) return endWalk(frame, world);
  world.give(CELL.pagesLock);
  frame[SLOT.at] = 0;
  return 'leak.walk';
}

function nextToFree(frame: Frame): string {
  if (frame[SLOT.at] === 0) return 'leak.unlock';
  frame[SLOT.at]--;
  return 'leak.free';
}

function hasPfns(world: ExploredWorld): boolean {
  return world.cells[CELL.pfnCount] > 0;
}

function pfnList(world: ExploredWorld): string {
  return [...world.pfns.subarray(0, world.cells[CELL.pfnCount])].join(', ');
}

/** A work item's or a notifier's batch: it is not begun any more once the driver stops. */
function oneBatch(name: string, first: string, batch: Stages): Stages {
  return {
    begin: { say: `begin ${name}`, run: (_, world) => (begins(world) ? first : DONE) },
    ...batch,
    report: reportStage(() => DONE),
  };
}

/** The end of a work or notifier: `actual` is written. */
export function reportStage(after: (world: ExploredWorld) => string): Stages[string] {
  return {
    say: (_, world) => `write actual: ${world.cells[CELL.numPages]}`,
    run: (_, world) => {
      world.cells[CELL.actual] = world.cells[CELL.numPages];
      world.cells[CELL.running]--;
      return after(world);
    },
  };
}

/** A batch that is followed by a stage `report`. */
export const REPORT: BatchEnds = { after: () => 'report' };

/** The resize work in fill_balloon: one batch of `want` pages. */
export function fillScript(name: string, procedures: Procedures, want: number): Script {
  const batch = fillStages(procedures, want, REPORT);
  return { name, start: 'begin', stages: oneBatch('fill_balloon', 'fill.allocate', batch) };
}

/** The resize work or the OOM notifier in leak_balloon: one batch of `want` pages. */
export function leakScript(name: string, procedures: Procedures, want: number): Script {
  const batch = leakStages(procedures, want, REPORT);
  return { name, start: 'begin', stages: oneBatch('leak_balloon', 'leak.lock', batch) };
}
