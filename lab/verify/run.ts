import { align } from './align.ts';
import { allocatorChecks } from './allocator-checks.ts';
import { runChecks } from './checks.ts';
import { compactionChecks, hasCompaction } from './compaction-checks.ts';
import { compactionCounts } from './compaction-counts.ts';
import { featureChecks } from './feature-checks.ts';
import { recordingWithoutMigrations } from './migrations.ts';
import { readRecording } from './recording.ts';
import type { VerifyReport } from './report.ts';
import { split } from './split.ts';
import type { Inputs, Observed } from './types.ts';

/**
 * `puff verify` for one folder: read, align, split, run, compare. `runner` is the emulator behind
 * a function: it is handed inputs and nothing else. A recording that holds the page allocator's
 * state is checked against that as well, the migration of balloon pages there alone. Throws
 * UnusableRecording, and what the runner
 * throws.
 */
export function verifyRecording(
  directory: string,
  runner: (inputs: Inputs) => Observed,
): VerifyReport {
  const whole = readRecording(directory);
  const recording = recordingWithoutMigrations(whole);
  const alignment = align(recording);
  const { inputs, expectations } = split(recording, alignment);
  const observed = runner(inputs);
  const checks = [
    ...runChecks(expectations, observed),
    ...featureChecks(recording, expectations, observed),
    ...compactionCounts(directory, whole),
    ...(hasCompaction(directory)
      ? compactionChecks(directory, whole)
      : allocatorChecks(directory, recording)),
  ];
  return { recording: recording.name, checks, alignment };
}
