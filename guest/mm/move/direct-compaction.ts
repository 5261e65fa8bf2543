import type { Waiting } from '../../sched/scheduler.ts';
import { __GFP_IO, gfpZone } from '../page/gfp.ts';
import type { CaptureControl, Zone } from '../page/zone.ts';
import { CompactControl } from './compact-control.ts';
import { type CompactionWorld, ZoneCompactor } from './compact-zone.ts';
import {
  COMPACT,
  COMPACT_PRIO,
  type CompactPriority,
  type CompactResult,
  MIGRATE_MODE,
} from './constants.ts';
import { compactionDeferReset, compactionDeferred, deferCompaction } from './deferral.ts';

/** A high-order request that the free lists could not serve. */
export interface DirectRequest {
  readonly order: number;
  readonly gfp: number;
  readonly allocFlags: number;
}

export interface DirectResult {
  /** First PFN of the block, or -1. */
  readonly pfn: number;
  readonly result: CompactResult;
}

/** gfp_compaction_allowed: moving pages may need I/O. */
export function compactionAllowed(gfp: number): boolean {
  return (gfp & __GFP_IO) !== 0;
}

/**
 * __alloc_pages_direct_compact: compacts zone after zone on behalf of a request until there is a
 * block for it, and takes it.
 */
export function* directCompact(
  world: CompactionWorld,
  request: DirectRequest,
  priority: CompactPriority,
): Waiting<DirectResult> {
  const { allocator, events, trace } = world;
  const { order, gfp, allocFlags } = request;
  const attempt = yield* tryToCompactPages(world, request, priority);
  if (attempt.result === COMPACT.skipped) return { pfn: -1, result: attempt.result };
  events.compact_stall++;
  let { pfn } = attempt;
  if (pfn >= 0) allocator.prepareCaptured(pfn, order, gfp);
  else pfn = allocator.getPageFromFreelist(order, gfp, allocFlags);
  if (pfn < 0) {
    events.compact_fail++;
    return { pfn, result: attempt.result };
  }
  const zone = allocator.zoneOf(pfn);
  zone.compact.blockSkipFlush = false;
  compactionDeferReset(zone, order, true, trace);
  events.compact_success++;
  return { pfn, result: attempt.result };
}

/** try_to_compact_pages: the best result of all zones, and the block that was captured, or -1. */
function* tryToCompactPages(
  world: CompactionWorld,
  request: DirectRequest,
  priority: CompactPriority,
): Waiting<DirectResult> {
  const { order, gfp } = request;
  if (!compactionAllowed(gfp)) return { pfn: -1, result: COMPACT.skipped };
  world.trace.tryToCompactPages(order, gfp, priority);
  let best: CompactResult = COMPACT.skipped;
  for (let index = gfpZone(gfp); index >= 0; index--) {
    const zone = world.allocator.zones[index];
    if (!zone.populated) continue;
    if (priority > COMPACT_PRIO.syncFull && compactionDeferred(zone, order, world.trace)) {
      best = better(best, COMPACT.deferred);
      continue;
    }
    const { pfn, result } = yield* compactZoneOrder(world, zone, request, priority);
    best = better(best, result);
    if (result === COMPACT.success) {
      compactionDeferReset(zone, order, false, world.trace);
      return { pfn, result: best };
    }
    const isDone = result === COMPACT.complete || result === COMPACT.partialSkipped;
    if (priority !== COMPACT_PRIO.async && isDone) deferCompaction(zone, order, world.trace);
  }
  return { pfn: -1, result: best };
}

function better(a: CompactResult, b: CompactResult): CompactResult {
  return a > b ? a : b;
}

/** compact_zone_order: one zone; a block that becomes free meanwhile is captured. */
function* compactZoneOrder(
  world: CompactionWorld,
  zone: Zone,
  request: DirectRequest,
  priority: CompactPriority,
): Waiting<DirectResult> {
  const isHardest = priority === COMPACT_PRIO.syncFull;
  const control = new CompactControl(zone, {
    ...request,
    mode: priority === COMPACT_PRIO.async ? MIGRATE_MODE.async : MIGRATE_MODE.syncLight,
    highestZone: gfpZone(request.gfp),
    direct: true,
    wholeZone: isHardest,
    ignoreSkipHint: isHardest,
    ignoreBlockSuitable: isHardest,
  });
  const capture: CaptureControl = { order: request.order, pfn: -1 };
  const run = new ZoneCompactor(control, world, capture).run(zone);
  const result = yield* withCapture(zone, capture, run);
  return capture.pfn < 0 ? { pfn: -1, result } : { pfn: capture.pfn, result: COMPACT.success };
}

/** Only what the task itself frees is captured: not what others free while it waits. */
function* withCapture<Result>(
  zone: Zone,
  capture: CaptureControl,
  run: Waiting<Result>,
): Waiting<Result> {
  for (;;) {
    zone.capture = capture;
    const step = run.next();
    zone.capture = undefined;
    if (step.done === true) return step.value;
    yield step.value;
  }
}
