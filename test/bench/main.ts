import { PART_FLAG, type Part, play, withChildren } from './child.ts';
import { codec } from './codec.ts';
import { compaction } from './compaction.ts';
import { guestSetup } from './guest-setup.ts';
import { idleGuests } from './idle-guests.ts';
import { inflateDeflate } from './inflate-deflate.ts';
import { lightGuestsPart } from './light-guests.ts';
import { manyGuests } from './many-guests.ts';
import { pageTransition } from './page-transition.ts';
import { puffGuestPart, puffHostPart } from './puff-processes.ts';
import { rawConnectionsClientPart, rawConnectionsPart } from './raw/connections.ts';
import { rawGuestPart, rawHostPart } from './raw/wire.ts';
import { formatReport, jsonReport, type Report, summary } from './report.ts';
import { stopAndWait } from './stop-and-wait.ts';

/**
 * Benchmarks with their raw baselines: `main.js [--json] [NAME...]`. Each benchmark has a process
 * of its own, so that none runs on code that another one warmed up or memory that it left behind.
 */
const BENCHMARKS: Readonly<Record<string, () => Promise<Report>>> = {
  'page-transition': pageTransition,
  codec,
  'guest-setup': guestSetup,
  'inflate-deflate': inflateDeflate,
  'stop-and-wait': stopAndWait,
  compaction,
  'idle-guests': idleGuests,
  'many-guests': manyGuests,
};

const RUNNER = 'runner';
const PARTS: Readonly<Record<string, () => Part>> = {
  [RUNNER]: () => ({ run: (name: string) => BENCHMARKS[name]() }),
  'raw-host': rawHostPart,
  'raw-guest': rawGuestPart,
  'raw-connections': rawConnectionsPart,
  'raw-connections-client': rawConnectionsClientPart,
  'puff-host': puffHostPart,
  'puff-guest': puffGuestPart,
  'light-guests': lightGuestsPart,
};

async function main(args: readonly string[]): Promise<void> {
  const json = args.includes('--json');
  const chosen = args.filter((arg) => arg !== '--json');
  const names = chosen.length === 0 ? Object.keys(BENCHMARKS) : chosen;
  const unknown = names.find((name) => BENCHMARKS[name] === undefined);
  if (unknown !== undefined) {
    const known = Object.keys(BENCHMARKS).join(', ');
    process.stderr.write(`no benchmark '${unknown}'; there are ${known}\n`);
    process.exitCode = 2;
    return;
  }
  const reports: Report[] = [];
  for (const name of names) {
    const report = await withChildren([RUNNER], (runner) => runner.ask<Report>('run', name));
    reports.push(report);
    process.stdout.write(json ? `${jsonReport(report)}\n` : `${formatReport(report)}\n\n`);
  }
  if (!json) process.stdout.write(`${summary(reports)}\n`);
}

const [first, part] = process.argv.slice(2);
if (first === PART_FLAG) play(PARTS[part]());
else await main(process.argv.slice(2));
