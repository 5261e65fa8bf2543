import { Prng } from '../../shared/lib/prng.ts';
import { FrameSource } from './fuzz-frames.ts';
import { GuestTarget } from './fuzz-guest.ts';
import { HostTarget } from './fuzz-host.ts';
import { recordSessions } from './fuzz-recordings.ts';
import { type FuzzCost, type Watched, watch } from './fuzz-watch.ts';

export interface FuzzOptions {
  /** Frames for each side over in-memory links. */
  readonly frames: number;
  readonly seed: number;
}

export interface FuzzSide {
  readonly cost: FuzzCost;
  /** Counters of refusals, resumptions and limits that were not zero. */
  readonly refusals: readonly string[];
}

/** A peer's bytes did what they must not; `cause` says what. The seed and frame repeat it. */
export class FuzzFailure extends Error {
  override readonly name = 'FuzzFailure';
}

/** Memory that a side may hold more of at the end than when it had seen a fifth of the frames. */
export const MAX_GROWTH_MIB = 64;
/** One frame and what it set in motion, on a machine that has other things to do: a hang. */
export const MAX_STEP_MS = 10_000;

/**
 * Sends hostile frames to a host and to guests through their whole stacks: link, codec, session,
 * device or driver. An exception that reaches the clock is a bug, an AssertionError first of all.
 * Throws FuzzFailure.
 */
export async function fuzzHost({ frames, seed }: FuzzOptions): Promise<FuzzSide> {
  const prng = new Prng(seed).fork('host');
  const recorded = recordSessions().map(({ guest }) => guest);
  const source = new FrameSource('guest', recorded, prng.fork('frames'));
  return fuzzed('host', new HostTarget(source, prng), { frames, seed });
}

export async function fuzzGuest({ frames, seed }: FuzzOptions): Promise<FuzzSide> {
  const prng = new Prng(seed).fork('guest');
  const recorded = recordSessions().map(({ host }) => host);
  const source = new FrameSource('host', recorded, prng.fork('frames'));
  return fuzzed('guest', new GuestTarget(source, prng), { frames, seed });
}

async function fuzzed(
  side: string,
  target: Watched & { readonly refusals: readonly string[] },
  { frames, seed }: FuzzOptions,
): Promise<FuzzSide> {
  let cost: FuzzCost;
  try {
    cost = await watch(target, frames);
  } catch (cause) {
    const at = `seed ${seed}, ${side}, frame ${target.framesIn}`;
    throw new FuzzFailure(`${at}: ${cause instanceof Error ? cause.stack : cause}`, { cause });
  }
  if (cost.growthMib > MAX_GROWTH_MIB || cost.slowestStepMs > MAX_STEP_MS) {
    throw new FuzzFailure(`seed ${seed}, ${side}: too much: ${JSON.stringify(cost)}`);
  }
  return { cost, refusals: target.refusals };
}
