import type { AnyStateMachine } from 'xstate';
import * as flows from '../../guest/drivers/balloon-flows.ts';
import { driverMachine } from '../../guest/drivers/driver-core.ts';
import { powerMachine } from '../../guest/guest.ts';
import { balloonPageMigrate } from '../../guest/mm/balloon/migrate-procedure.ts';
import { balloonPageMigrate2012 } from '../../guest/mm/balloon/migrate-procedure-2012.ts';
import * as balloon from '../../guest/mm/balloon/procedures.ts';
import * as balloon2012 from '../../guest/mm/balloon/procedures-2012.ts';
import { contigLifecycle } from '../../guest/mm/move/alloc-contig-flow.ts';
import { compactLifecycle } from '../../guest/mm/move/compact-flow.ts';
import { lruPageMigrate } from '../../guest/mm/move/lru-procedure.ts';
import { pageLifecycle } from '../../guest/mm/page/page-lifecycle.ts';
import { reportingLifecycle } from '../../guest/mm/page/reporting.ts';
import { kswapdLifecycle } from '../../guest/mm/reclaim/kswapd.ts';
import { pageout } from '../../guest/mm/reclaim/pageout.ts';
import { writebackLifecycle } from '../../guest/mm/reclaim/swap-device.ts';
import { doSwapPage } from '../../guest/mm/reclaim/swap-in.ts';
import { slotLifecycle } from '../../guest/mm/reclaim/swap-slots.ts';
import { tryToUnmapOne } from '../../guest/mm/reclaim/unmap.ts';
import { delayedWorkLifecycle } from '../../guest/sched/delayed-work.ts';
import { workLifecycle } from '../../guest/sched/workqueue.ts';
import { qmpSessionStates } from '../../host/control/qmp/session.ts';
import { eventThrottleStates } from '../../host/control/qmp/throttle.ts';
import { hintStatusLifecycle } from '../../host/device/hint-rounds.ts';
import { statsPollerMachine } from '../../host/device/stats-poller.ts';
import { frameMachine, frameTable } from '../../host/ram/frame-lifecycle.ts';
import { hotplugSlotMachine } from '../../host/vmm/hotplug-slot.ts';
import { linkWatchMachine } from '../../host/vmm/link-watch.ts';
import { runStateMachine, runStateTable } from '../../host/vmm/run-state.ts';
import type { LifecycleTable } from '../../shared/lifecycle/compile.ts';
import { floodMachine } from '../../shared/transport/flood-watch.ts';
import { guestConnectionMachine } from '../../shared/transport/guest-connection-machine.ts';
import { hostConnectionMachine } from '../../shared/transport/host-acceptor.ts';
import { statusMachine, statusTable } from '../../shared/virtio/device-status.ts';
import { bufferMachine, bufferTable } from '../../shared/virtio/virtqueue.ts';

/** How a state machine runs. */
export const RUNS = {
  table: 'as a compiled table',
  procedure: 'as a stepped procedure over a compiled table',
  timed: 'compiled, with delays',
  actor: 'as an xstate actor',
} as const;

export interface Registered {
  readonly machine: AnyStateMachine;
  readonly source: string;
  readonly runs: keyof typeof RUNS;
  /** What it was compiled to, where it runs over a table. */
  readonly table?: LifecycleTable;
  /** What it is, where no comment of the source says it in a sentence of its own. */
  readonly about?: string;
}

interface Compiled {
  readonly machine: AnyStateMachine;
  readonly table: LifecycleTable;
}

function table(source: string, { machine, table }: Compiled): Registered {
  return { source, runs: 'table', machine, table };
}

function procedure(source: string, { machine, table }: Compiled): Registered {
  return { source, runs: 'procedure', machine, table };
}

function timed(source: string, machine: AnyStateMachine): Registered {
  return { source, runs: 'timed', machine };
}

function actor(source: string, machine: AnyStateMachine): Registered {
  return { source, runs: 'actor', machine };
}

function said(about: string, entry: Registered): Registered {
  return { ...entry, about };
}

const FLOWS = 'guest/drivers/balloon-flows.ts';
const BALLOON = 'guest/mm/balloon/procedures.ts';
const BALLOON_2012 = 'guest/mm/balloon/procedures-2012.ts';

/** Every state machine of the product, as docs/machines.md shows them. */
export const MACHINES: Readonly<Record<string, readonly Registered[]>> = {
  'Page frames': [
    table('guest/mm/page/page-lifecycle.ts', pageLifecycle),
    table('host/ram/frame-lifecycle.ts', { machine: frameMachine, table: frameTable }),
  ],
  'Virtio and the device': [
    said(
      'The device status byte, bit by bit.',
      table('shared/virtio/device-status.ts', { machine: statusMachine, table: statusTable }),
    ),
    said(
      'One buffer of a queue, as either half sees it.',
      table('shared/virtio/virtqueue.ts', { machine: bufferMachine, table: bufferTable }),
    ),
    table('host/device/hint-rounds.ts', hintStatusLifecycle),
    actor('host/device/stats-poller.ts', statsPollerMachine),
  ],
  "The guest's driver": [
    actor('guest/drivers/driver-core.ts', driverMachine),
    table(FLOWS, flows.resizeLifecycle),
    table(FLOWS, flows.fillLifecycle),
    table(FLOWS, flows.leakLifecycle),
    table(FLOWS, flows.hintLifecycle),
    table('guest/mm/page/reporting.ts', reportingLifecycle),
  ],
  'One page, step by step': [
    said(
      'A new page goes on the list of its balloon.',
      procedure(BALLOON, balloon.balloonPageEnqueue),
    ),
    said(
      'A page leaves its balloon to be deflated.',
      procedure(BALLOON, balloon.balloonPageDequeue),
    ),
    said(
      'A page that has left its balloon, deflated or replaced, is given back.',
      procedure(BALLOON, balloon.balloonPageFree),
    ),
    procedure(BALLOON, balloon.balloonPageIsolate),
    procedure(BALLOON, balloon.balloonPagePutback),
    said(
      'An isolated balloon page is replaced by another, and the host is told: unmap_and_move ' +
        'with virtballoon_migratepage in its middle.',
      procedure('guest/mm/balloon/migrate-procedure.ts', balloonPageMigrate),
    ),
    said(
      'With `--balloon-compaction=v2012`: balloon_page_movable, then balloon_page_isolate.',
      procedure(BALLOON_2012, balloon2012.balloonPageIsolate2012),
    ),
    said(
      'With `--balloon-compaction=v2012`: the page becomes the first of its list.',
      procedure(BALLOON_2012, balloon2012.balloonPagePutback2012),
    ),
    said(
      'With `--balloon-compaction=v2012`: `migrated` is MIGRATEPAGE_BALLOON_SUCCESS.',
      procedure('guest/mm/balloon/migrate-procedure-2012.ts', balloonPageMigrate2012),
    ),
    procedure('guest/mm/move/lru-procedure.ts', lruPageMigrate),
  ],
  Compaction: [
    table('guest/mm/move/compact-flow.ts', compactLifecycle),
    said(
      'One attempt to empty a range and have it, for a huge page of 1 GiB.',
      table('guest/mm/move/alloc-contig-flow.ts', contigLifecycle),
    ),
  ],
  'Reclaim and swap': [
    said(
      'The thread that reclaims in the background, from one sleep to the next.',
      table('guest/mm/reclaim/kswapd.ts', kswapdLifecycle),
    ),
    procedure('guest/mm/reclaim/unmap.ts', tryToUnmapOne),
    procedure('guest/mm/reclaim/pageout.ts', pageout),
    table('guest/mm/reclaim/swap-device.ts', writebackLifecycle),
    table('guest/mm/reclaim/swap-slots.ts', slotLifecycle),
    procedure('guest/mm/reclaim/swap-in.ts', doSwapPage),
  ],
  'Work in the guest': [
    said('One item of a workqueue.', table('guest/sched/workqueue.ts', workLifecycle)),
    table('guest/sched/delayed-work.ts', delayedWorkLifecycle),
  ],
  'Power, links, slots': [
    actor('guest/guest.ts', powerMachine),
    table('host/vmm/run-state.ts', { machine: runStateMachine, table: runStateTable }),
    timed('host/vmm/hotplug-slot.ts', hotplugSlotMachine),
    actor('shared/transport/guest-connection-machine.ts', guestConnectionMachine),
    timed('shared/transport/host-acceptor.ts', hostConnectionMachine),
    timed('host/vmm/link-watch.ts', linkWatchMachine),
    timed('shared/transport/flood-watch.ts', floodMachine),
  ],
  QMP: [
    actor('host/control/qmp/session.ts', qmpSessionStates),
    actor('host/control/qmp/throttle.ts', eventThrottleStates),
  ],
};
