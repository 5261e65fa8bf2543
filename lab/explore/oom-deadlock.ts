import { fail } from '../../shared/lib/assert.ts';
import { WAIT } from '../../shared/lifecycle/procedure.ts';
import { fillScript, leakScript } from './driver-scripts.ts';
import type { ModelShape } from './model.ts';
import { HOST_SCRIPT } from './other-scripts.ts';
import { productProcedures } from './scenario.ts';
import type { Counterexample } from './schedule.ts';
import { type Script, SLOT } from './script.ts';
import { explore } from './search.ts';
import { CELL } from './world.ts';

/**
 * Until 2017 fill_balloon allocated under balloon_lock. Its allocation may have to wait for memory
 * that only the OOM notifier can free, and that takes the same lock: fixed by c7cdff0e864713
 * ("virtio_balloon: fix deadlock on OOM"), which is the order the product has.
 */
function fillUnderLock(): Script {
  const script = fillScript('fill', productProcedures(), 1);
  const { stages } = script;
  return {
    ...script,
    start: 'fill.lock',
    stages: {
      'fill.lock': {
        say: 'take balloon_lock',
        run: (_, world) => {
          if (!world.tryTake(CELL.balloonLock)) return WAIT;
          world.cells[CELL.running]++;
          world.cells[CELL.pfnCount] = 0;
          return 'fill.allocate';
        },
      },
      'fill.allocate': allocatingStage('fill.pagesLock'),
      ...Object.fromEntries(Object.entries(stages).filter(([name]) => !MOVED.includes(name))),
    },
  };
}

const MOVED = ['begin', 'fill.lock', 'fill.allocate'];

/** alloc_page in direct reclaim: goes on once somebody has freed a page. */
function allocatingStage(next: string): Script['stages'][string] {
  return {
    say: 'allocate a page, waiting for memory',
    run: (frame, world) => {
      const pfn = world.allocate();
      if (pfn < 0) return WAIT;
      frame[SLOT.page] = pfn;
      frame[SLOT.count] = 1;
      return next;
    },
  };
}

/** As the product does it: the same waiting allocation, but before the lock is taken. */
function fillBeforeLock(): Script {
  const script = fillScript('fill', productProcedures(), 1);
  return { ...script, stages: { ...script.stages, 'fill.allocate': allocatingStage('fill.lock') } };
}

/** No free page, one in the balloon, and the OOM notifier: with the lock around or as it is now. */
export function oomModel(isLockAround: boolean): ModelShape {
  return {
    pages: 1,
    isolated: 0,
    free: 0,
    scripts: [
      isLockAround ? fillUnderLock() : fillBeforeLock(),
      leakScript('oom notifier', productProcedures(), 1),
      HOST_SCRIPT,
    ],
  };
}

/** The deadlock of before 2017 as the explorer finds it: a few lines. */
export function oomDeadlock(): Counterexample {
  return explore(oomModel(true)).violation ?? fail('the deadlock of 2017 was not found');
}
