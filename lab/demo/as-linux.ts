import { oomDeadlock } from '../explore/oom-deadlock.ts';
import { allocatorChecks } from '../verify/allocator-checks.ts';
import { readRecording } from '../verify/recording.ts';
import type { Check } from '../verify/types.ts';

/** Frame by frame: what the recorded kernel handed out and what Puff hands out from there. */
export function framesAsRecorded(directory: string): Check {
  const checks = allocatorChecks(directory, readRecording(directory));
  const found = checks.find(({ name }) => name === 'allocator.pfn');
  if (found === undefined) throw new Error(`${directory} does not hold the allocator's state`);
  return found;
}

/** A deadlock that Linux had until 2017, found anew among all orders of the steps: its schedule. */
export function deadlockOf2017(): readonly string[] {
  return oomDeadlock().schedule;
}
