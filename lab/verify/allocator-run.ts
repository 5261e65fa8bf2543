import { GuestMemory } from '../../guest/mm/memory.ts';
import { endBoosts } from '../../guest/mm/page/fallback.ts';
import type { FreeListDump } from '../../guest/mm/page/image.ts';
import { PAGE_STATE } from '../../guest/mm/page/page-lifecycle.ts';
import type { KmemEvent } from '../../guest/workload/kmem-trace.ts';
import { DEFAULT_PROPERTIES } from '../../host/device/offer.ts';
import { QEMU_POLICY } from '../../host/device/violations.ts';
import { PAGE_SIZE } from '../../shared/lib/units.ts';
import { type HostToGuest, Op } from '../../shared/protocol/messages.ts';
import { VirtualSession } from '../virtual-session.ts';
import { compareFreeLists } from './free-lists.ts';
import { type BalloonTurns, type ReplayReport, replayTrace } from './trace-player.ts';
import type { WireBuffer } from './wire-lines.ts';
import { compareZoneState } from './zone-state.ts';

/** Inputs of the allocator's checks: a dump to start from, requests, targets of the balloon. */
export interface AllocatorInputs {
  readonly memoryBytes: number;
  readonly before: FreeListDump;
  /** Requests between the dumps; PFNs of the recording only name what a free gives back. */
  readonly events: readonly KmemEvent[];
  /** Pages the host asked for, one target after the other. */
  readonly targetPages: readonly number[];
  /** Frames that were in use at the dump and count as movable, where they were recorded. */
  readonly isMovable?: (pfn: number) => boolean;
}

/** Every request of the trace is played, those of the balloon driver too. */
export function runAllocator(inputs: AllocatorInputs, after: FreeListDump): AllocatorOutcome {
  const memory: GuestMemory = GuestMemory.boot({
    memoryBytes: inputs.memoryBytes,
    image: inputs.before,
    // What kswapd freed is in the trace; that it took a boost back is not.
    hooks: {
      wakeKswapd: (_zone, _order, _gfp, highest) => endBoosts(memory.allocator.zones, highest),
    },
  });
  markMovable(memory, inputs);
  const report = replayTrace(memory, inputs.events);
  return {
    report,
    listDifferences: compareFreeLists(memory.allocator, after),
    stateDifferences: compareZoneState(memory.allocator, after),
  };
}

export interface AllocatorOutcome {
  readonly report: ReplayReport;
  /** One line for each free list or per-CPU list that is not as recorded. */
  readonly listDifferences: readonly string[];
  /** One for everything else that zones keep. */
  readonly stateDifferences: readonly string[];
}

/** PFNs of every buffer on the inflate and deflate queues, in order. */
export interface ToldPages {
  readonly queue: 'inflate' | 'deflate';
  readonly pfns: readonly number[];
}

/**
 * The balloon is driven by the guest's own driver behind a device; all other requests come from
 * the trace. Acknowledgements are held until the trace comes to the driver's next batch.
 */
export function runBalloonDriver(inputs: AllocatorInputs): ToldPages[] {
  const held: (() => void)[] = [];
  const session = new VirtualSession({ properties: DEFAULT_PROPERTIES, policy: QEMU_POLICY });
  const guest = session.guest({
    id: 'recorded',
    memoryBytes: inputs.memoryBytes,
    image: inputs.before,
    reclaim: 'off',
    interpose: (message: HostToGuest, deliver) => {
      if (message[0] === Op.used) held.push(() => deliver(message));
      else deliver(message);
    },
  });
  guest.start();
  session.clock.advanceBy(0);
  markMovable(guest.kernel.memory, inputs);
  const { allocator } = guest.kernel.memory;
  const targets = [...inputs.targetPages];
  const balloon: BalloonTurns = {
    next: () => {
      const before = { allocated: allocator.pgalloc, freed: allocator.pgfree };
      const acknowledge = held.shift();
      if (acknowledge !== undefined) acknowledge();
      else {
        const pages = targets.shift() ?? guest.kernel.balloon.targetPages;
        session.vm('recorded').balloon?.setTargetBytes(inputs.memoryBytes - pages * PAGE_SIZE);
      }
      session.clock.advanceBy(0);
      return {
        allocated: allocator.pgalloc - before.allocated,
        freed: allocator.pgfree - before.freed,
      };
    },
  };
  replayTrace(guest.kernel.memory, inputs.events, balloon);
  return toldPages(session.trace('recorded'));
}

/** What is in use at the dump decides who has a pageblock that is taken over in part. */
function markMovable({ allocator, pages }: GuestMemory, { isMovable }: AllocatorInputs): void {
  if (isMovable === undefined) return;
  for (let pfn = 0; pfn < pages.pageCount; pfn++) {
    if (pages.states.stateOf(pfn) !== PAGE_STATE.allocated || !isMovable(pfn)) continue;
    allocator.lruAdd(pfn);
  }
}

/** What a wire, recorded or emulated, shows on the inflate and deflate queues. */
export function toldPages(wire: readonly TracedEvent[]): ToldPages[] {
  return wire.flatMap(({ ev, queue, runs = [] }) => {
    if (ev !== 'buf' || (queue !== 'inflate' && queue !== 'deflate')) return [];
    return [{ queue, pfns: expandRuns(runs) }];
  });
}

/** The part of a wire event, recorded or emulated, that a buffer of PFNs has. */
export type TracedEvent = { readonly ev: string } & Partial<
  Pick<WireBuffer, 'queue' | 'n' | 'runs'>
>;

/** PFNs of runs of [first, count, step], in order. */
export function expandRuns(runs: readonly (readonly [number, number, number])[]): number[] {
  return runs.flatMap(([first, count, step]) => {
    return Array.from({ length: count }, (_, index) => first + index * step);
  });
}
