import { Command } from 'commander';
import type { VerifyFlags } from './verify-recordings.ts';

const ABOUT = `
A recording is a folder with meta.json, qmp.jsonl and wire.jsonl.gz: what a real Linux guest under a
real QEMU did. It is split into inputs, which Puff is given on virtual time, and expectations, which
are compared with what Puff then did, item by item. Those that come with Puff may be named without
a path.

--json prints {"recording": NAME, "checks": [{"name": ..., "total": N, "equal": N,
"firstDifference": null or {"index": ..., "expected": ..., "actual": ...}}]}. Checks that tell tasks
apart (compaction.pairs, compaction.events) also have "tasks": [{"task": ..., "recorded": [NAME...],
"total": N, "equal": N}].

Examples:
  npx puff verify lab/recordings/inflate-deflate-1g lab/recordings/driver-rebind-1g
  npx puff verify --json stats-512m

Exit code: 0 all items equal, 1 a difference, 2 an unusable recording.`;

/** `puff verify`: Puff against recordings of a real guest. */
export function verifyCommand(): Command {
  return new Command('verify')
    .description('replay recordings of a real guest and compare item by item')
    .argument('<dir...>', "folders of recordings, or names of Puff's own")
    .option('--json', 'one JSON object per recording, one per line (default: a line per check)')
    .addHelpText('after', ABOUT)
    .action(async (directories: readonly string[], flags: VerifyFlags) => {
      (await import('./verify-recordings.ts')).verifyRecordings(directories, flags);
    });
}
