import { type Frame, WAIT } from '../../shared/lifecycle/procedure.ts';
import type { Procedures } from './driver-scripts.ts';
import { DONE, type Script, SLOT, type Stage, type Stages } from './script.ts';
import { CELL, type ExploredWorld } from './world.ts';

/** Who meets the driver: compaction, a third party that pins pages, the host and its connection. */

/** Any frame of the guest: scanners know no more of a page than its number. */
function chooseStage(next: string): Stage {
  return {
    say: (_frame, _world, choice) => `choose page ${choice}`,
    choices: (world) => world.frameCount,
    run: (frame, _world, choice) => {
      frame[SLOT.page] = choice;
      return next;
    },
  };
}

function pageArgument(frame: Frame): void {
  frame[SLOT.callee + 1] = frame[SLOT.page];
}

function putbackStage(procedures: Procedures): Stages {
  const next = { done: DONE };
  return {
    putback: { call: procedures.putback, args: pageArgument, next, pagesLock: ['relink'] },
  };
}

/** Compaction that isolates one page of its choice and, the run being over, puts it back. */
export function isolateScript(name: string, procedures: Procedures): Script {
  return {
    name,
    start: 'choose',
    stages: {
      choose: chooseStage('isolate'),
      isolate: {
        call: procedures.isolate,
        args: pageArgument,
        next: { isolated: 'putback', refused: DONE },
        pagesLock: ['unlink'],
      },
      ...putbackStage(procedures),
    },
  };
}

/** Compaction that has isolated `page` and puts it back. */
export function putbackScript(name: string, procedures: Procedures, page: number): Script {
  return { name, start: 'putback', page, stages: putbackStage(procedures) };
}

/** Compaction that has isolated `page` and migrates it; what is to be tried again is put back. */
export function migrateScript(
  name: string,
  procedures: Procedures,
  { page, modes }: { readonly page: number; readonly modes: readonly MigrateMode[] },
): Script {
  return { name, start: 'allocate', page, stages: migrateStages(procedures, modes) };
}

/** Asynchronous and synchronous compaction: slot 3 of the procedure's frame. */
export type MigrateMode = 0 | 1;
const WAITING = ['not waiting for page locks', 'waiting for page locks'] as const;

function migrateStages(procedures: Procedures, modes: readonly MigrateMode[]): Stages {
  const migrated = procedures.balloonSuccess ? 'putOld' : 'putNew';
  const drop = (slot: number, what: string, next: string): Stage => ({
    say: (frame) => `drop ${what} of page ${frame[slot]} (put_page)`,
    run: (frame, world) => {
      world.balloons.allocator.putPage(frame[slot]);
      return next;
    },
  });
  return {
    allocate: {
      say: (_frame, _world, choice) => `allocate a page to migrate to, ${WAITING[modes[choice]]}`,
      choices: () => modes.length,
      run: (frame, world, choice) => {
        const pfn = world.allocate();
        if (pfn < 0) return 'putback';
        frame[SLOT.other] = pfn;
        frame[SLOT.count] = modes[choice];
        return 'migrate';
      },
    },
    migrate: {
      call: procedures.migrate,
      args: (frame) => {
        frame[SLOT.callee + 1] = frame[SLOT.page];
        frame[SLOT.callee + 2] = frame[SLOT.other];
        frame[SLOT.callee + 3] = frame[SLOT.count];
      },
      next: { migrated, again: 'unused' },
      pagesLock: ['insert', 'remove'],
    },
    unused: drop(SLOT.other, 'the reference', 'putback'),
    ...(procedures.balloonSuccess
      ? { putOld: drop(SLOT.page, "the balloon's reference", 'freeOld') }
      : { putNew: drop(SLOT.other, "compaction's reference", 'freeOld') }),
    freeOld: {
      call: procedures.free,
      args: pageArgument,
      next: { freed: DONE, kept: DONE },
    },
    ...putbackStage(procedures),
  };
}

/** The final free by somebody else: pins any page, looks at it and lets go of it. */
export function pinScript(name: string, procedures: Procedures): Script {
  return {
    name,
    start: 'choose',
    stages: {
      choose: chooseStage('pin'),
      pin: {
        say: (frame) => `pin page ${frame[SLOT.page]} (get_page_unless_zero)`,
        run: (frame, world) => (world.pages.getUnlessZero(frame[SLOT.page]) ? 'free' : DONE),
      },
      free: { call: procedures.free, args: pageArgument, next: { freed: DONE, kept: DONE } },
    },
  };
}

/** The device: takes each buffer and gives it back when it likes, while it is connected. */
export const HOST_SCRIPT: Script = {
  name: 'host',
  start: 'serve',
  idle: ['serve'],
  stages: {
    serve: {
      say: (_, world, choice) => hostMove(world, choice).say,
      choices: () => 4,
      run: (_, world, choice) => {
        if (world.cells[CELL.cut] === 1) return WAIT;
        return hostMove(world, choice).run() ? 'serve' : WAIT;
      },
    },
  },
};

function hostMove(world: ExploredWorld, choice: number): { say: string; run: () => boolean } {
  const queue = choice < 2 ? world.inflate : world.deflate;
  const what = `the ${queue.name} of page ${queue.pageList()}`;
  return choice % 2 === 0
    ? { say: `take ${what}`, run: () => queue.take() }
    : { say: `acknowledge ${what}`, run: () => queue.giveBack() };
}

/** The connection is lost once and resumed: what was sent meanwhile is held and comes once. */
export const CUT_SCRIPT: Script = {
  name: 'link',
  start: 'lose',
  stages: {
    lose: { say: 'lose the connection', run: (_, world) => setCut(world, 1, 'resume') },
    resume: { say: 'resume the connection', run: (_, world) => setCut(world, 0, DONE) },
  },
};

function setCut(world: ExploredWorld, cut: number, next: string): string {
  world.cells[CELL.cut] = cut;
  return next;
}
