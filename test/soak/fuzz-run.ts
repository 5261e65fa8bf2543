import type { FuzzSide } from './fuzz.ts';
import { fuzzGuest, fuzzHost } from './fuzz.ts';
import { fuzzGuestPort, fuzzHostPort, fuzzQmpSocket, type SocketFuzz } from './fuzz-sockets.ts';

export interface FuzzSoakOptions {
  /** Frames for the host and as many for guests, over in-memory links. */
  readonly frames: number;
  readonly seed: number;
  report(line: string): void;
}

/** Of as many frames over in-memory links one goes through a real socket as well. */
const SOCKET_SHARE = 50;

/**
 * Hostile frames for both sides through their whole stacks, a share of them through real sockets,
 * and hostile clients for a QMP socket. Throws FuzzFailure; a bug that escapes to the event loop
 * ends the process.
 */
export async function fuzzSoak({ frames, seed, report }: FuzzSoakOptions): Promise<void> {
  report(describe('host', await fuzzHost({ frames, seed })));
  report(describe('guests', await fuzzGuest({ frames, seed })));
  const share = { frames: Math.ceil(frames / SOCKET_SHARE), seed };
  report(await overSockets('host', share, fuzzHostPort));
  report(await overSockets('guests', share, fuzzGuestPort));
  report(await overSockets('QMP', share, fuzzQmpSocket));
}

function describe(side: string, { cost, refusals }: FuzzSide): string {
  const { frames, seconds, growthMib, slowestStepMs, loopDelayMs } = cost;
  const { p99, max } = loopDelayMs;
  return [
    `${side}: ${frames} frames in ${seconds.toFixed(0)} s, nothing escaped`,
    `  memory grew by ${growthMib.toFixed(1)} MiB after the first fifth`,
    `  slowest frame ${slowestStepMs.toFixed(0)} ms`,
    `  event loop late by ${p99.toFixed(0)} ms (p99), ${max.toFixed(0)} ms (max)`,
    `  ${refusals.join(', ')}`,
  ].join('\n');
}

async function overSockets(
  side: string,
  share: SocketFuzz,
  fuzz: typeof fuzzHostPort,
): Promise<string> {
  const startMs = performance.now();
  const { connections } = await fuzz(share);
  const seconds = (performance.now() - startMs) / 1000;
  const what = `${share.frames} frames, ${connections} connections in ${seconds.toFixed(0)} s`;
  return `${side} over real sockets: ${what}, then an honest peer was served`;
}
