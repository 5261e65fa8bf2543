import { expect, it, vi } from 'vitest';
import { Guest } from '../../../guest/guest.ts';
import { align } from '../../../lab/verify/align.ts';
import { readRecording } from '../../../lab/verify/recording.ts';
import { runRecording } from '../../../lab/verify/runner.ts';
import { readSnapshots } from '../../../lab/verify/snapshots.ts';
import { split } from '../../../lab/verify/split.ts';

interface Counters {
  readonly allocstall: number;
  readonly pageoutrun: number;
}

/** What reclaim counted in the recorded guest, and in the emulated one. */
function counted(name: string): { readonly recorded: Counters; readonly puffs: Counters } {
  const directory = `lab/recordings/${name}`;
  const start = vi.spyOn(Guest.prototype, 'start');
  const recording = readRecording(directory);
  runRecording(split(recording, align(recording)).inputs);
  const guest = start.mock.contexts[0] as Guest;
  start.mockRestore();
  const { allocstall, pageoutrun } = guest.kernel.vmstat;
  const last = readSnapshots(directory).at(-1);
  return {
    recorded: {
      allocstall: last?.vmstat('allocstall_movable') ?? 0,
      pageoutrun: last?.vmstat('pageoutrun') ?? 0,
    },
    puffs: { allocstall, pageoutrun },
  };
}

it('out-of-puff-256m: 12 stalls and 16 runs of kswapd, as recorded', () => {
  const { recorded, puffs } = counted('out-of-puff-256m');
  expect(recorded).toEqual({ allocstall: 12, pageoutrun: 16 });
  expect(puffs).toEqual(recorded);
});

it('deflate-on-oom-512m: 17 stalls for each give-back of the balloon, as recorded', () => {
  const { recorded, puffs } = counted('deflate-on-oom-512m');
  expect(recorded).toEqual({ allocstall: 17 * 152, pageoutrun: 16 });
  expect(puffs).toEqual({ allocstall: 17 * 150, pageoutrun: 16 });
});
