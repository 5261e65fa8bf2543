import { type Frame, WAIT, type Wait } from '../../shared/lifecycle/procedure.ts';
import { fillStages, leakStages, type Procedures, REPORT, reportStage } from './driver-scripts.ts';
import { DONE, type Script } from './script.ts';
import { CELL, type ExploredWorld } from './world.ts';

/**
 * What happens to a driver from outside: it is removed and its device reset, or the host wants
 * another size (guest/drivers/virtio-balloon.ts).
 */

/**
 * virtballoon_remove: works and notifiers are waited for, then everything leaks back, round after
 * round until pages that are isolated have come back, then the device is reset. A round that could
 * take nothing is not begun: it would change nothing.
 */
export function resetScript(procedures: Procedures): Script {
  const goOn = (world: ExploredWorld): string =>
    world.cells[CELL.numPages] > 0 ? 'retry' : 'reset';
  return {
    name: 'remove',
    start: 'stop',
    stages: {
      stop: {
        say: 'stop: no work is begun any more',
        run: (_, world) => {
          world.cells[CELL.stopped] = 1;
          return 'drain';
        },
      },
      drain: {
        say: 'see that no work runs any more',
        run: (_, world) => {
          if (world.cells[CELL.running] > 0) return WAIT;
          return world.cells[CELL.numPages] > 0 ? 'leak.lock' : 'reset';
        },
      },
      ...leakStages(procedures, 2, { after: (_, world) => goOn(world) }),
      retry: {
        say: 'begin another round',
        run: (_, world) => (world.hasTakeable() ? 'leak.lock' : WAIT),
      },
      reset: {
        say: 'write actual and reset the device',
        run: (_, world) => {
          world.cells[CELL.actual] = world.cells[CELL.numPages];
          world.resetDevice();
          return DONE;
        },
      },
    },
  };
}

/** The host sets num_pages one page higher and then to one page less than at the start. */
export function retargetScript(startPages: number): Script {
  const retarget = (target: number, next: string) => ({
    say: `set num_pages to ${target}`,
    run: (_: Frame, world: ExploredWorld) => {
      world.cells[CELL.target] = target;
      if (world.cells[CELL.stopped] === 0) world.cells[CELL.pending] = 1;
      return next;
    },
  });
  return {
    name: 'retarget',
    start: 'raise',
    stages: { raise: retarget(startPages + 1, 'lower'), lower: retarget(startPages - 1, DONE) },
  };
}

/**
 * update_balloon_size_func with batches of one page: reads the target anew in every round and
 * queues itself again while it is not reached. A round that could change nothing is not begun.
 */
export function resizeScript(procedures: Procedures): Script {
  const diffOf = (world: ExploredWorld): number =>
    world.cells[CELL.target] - world.cells[CELL.numPages];
  const measure = (world: ExploredWorld): string | Wait => {
    if (world.cells[CELL.stopped] === 1) return DONE;
    world.cells[CELL.pending] = 0;
    const diff = diffOf(world);
    if (diff === 0) return 'idle';
    world.cells[CELL.running]++;
    return diff > 0 ? 'fill.allocate' : 'leak.lock';
  };
  return {
    name: 'resize',
    start: 'idle',
    idle: ['idle', 'again'],
    stages: {
      idle: {
        say: 'read num_pages',
        run: (_, world) => {
          const isDue = world.cells[CELL.pending] === 1 || world.cells[CELL.stopped] === 1;
          return isDue ? measure(world) : WAIT;
        },
      },
      ...fillStages(procedures, 1, REPORT),
      ...leakStages(procedures, 1, REPORT),
      report: reportStage((world) => (diffOf(world) === 0 ? 'idle' : 'again')),
      again: {
        say: 'read num_pages again',
        run: (_, world) => {
          const isDue = world.canResize() || world.cells[CELL.stopped] === 1;
          return isDue || diffOf(world) === 0 ? measure(world) : WAIT;
        },
      },
    },
  };
}
