import { EXIT } from './errors.ts';

const NUMBERS = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const;
export type StopSignal = keyof typeof NUMBERS;
const NAMES = Object.keys(NUMBERS) as StopSignal[];

/**
 * Resolves with the first signal that asks this process to end. One that another puff process
 * started (lab/process.ts) is asked as with SIGTERM when that process is gone, however it came to
 * its end. A second signal during the clean shutdown ends this process at once.
 */
export function stopSignal(): Promise<StopSignal> {
  return new Promise((resolve) => {
    const onSignal = (signal: StopSignal): void => {
      for (const name of NAMES) {
        process.off(name, onSignal);
        process.once(name, () => process.exit(exitCodeOf(name)));
      }
      resolve(signal);
    };
    for (const name of NAMES) process.on(name, onSignal);
    // False only for a process that had a channel; undefined for one that never had.
    if (process.connected === false) onSignal('SIGTERM');
    process.once('disconnect', () => onSignal('SIGTERM'));
    process.channel?.unref();
  });
}

/** What a shell says of a process that the signal ended. */
export function exitCodeOf(signal: StopSignal): number {
  return 128 + NUMBERS[signal];
}

/** A service that was asked to end has done its job: SIGTERM is no failure. */
export function serviceExitCode(signal: StopSignal): number {
  return signal === 'SIGTERM' ? EXIT.ok : exitCodeOf(signal);
}

/**
 * Runs work that has an end of its own and cleans up when it is aborted. After a signal the
 * process ends, once that is done, with 128 and the signal's number.
 */
export async function untilDoneOrStopped(
  work: (abort: AbortSignal) => Promise<void>,
): Promise<void> {
  const controller = new AbortController();
  let stopped: StopSignal | undefined;
  void stopSignal().then((signal) => {
    stopped = signal;
    controller.abort();
  });
  try {
    await work(controller.signal);
  } catch (error) {
    if (stopped === undefined) throw error;
  }
  // Timers of the work that was given up are still running.
  if (stopped !== undefined) process.exit(exitCodeOf(stopped));
}
