import { Command, CommanderError } from 'commander';
import { EXIT, oneLine } from '../../lab/cli/errors.ts';
import { parseCount, parseSeed } from '../../lab/cli/options.ts';
import { fuzzSoak } from './fuzz-run.ts';
import { manySoak } from './many.ts';
import { PeersSoak } from './peers.ts';

/**
 * Runs that take minutes: `main.js peers`, `many` and `fuzz`. Exit code 1 when one finds a bug, 2
 * for wrong arguments.
 */
interface Flags {
  readonly rounds: number;
  readonly guests: number;
  readonly seconds: number;
  readonly frames: number;
  readonly seed: number;
}

const report = (line: string): void => {
  process.stdout.write(`${line}\n`);
};

/** The seed is told first and last, so that a run that failed can be begun again. */
async function seeded(seed: number, run: () => Promise<void>): Promise<void> {
  report(`seed ${seed}`);
  try {
    await run();
  } catch (error) {
    report(error instanceof Error ? `${error.stack}` : String(error));
    process.exitCode = 1;
  }
  report(`seed ${seed}`);
}

async function peers({ rounds, seed }: Flags): Promise<void> {
  await seeded(seed, async () => {
    const result = await new PeersSoak({ rounds, seed, report }).run();
    const { faults, framesCompared, repeats, targets, reconnects, seconds } = result;
    report(`${rounds} rounds with ${faults} faults in ${seconds.toFixed(0)} s: all agreed`);
    report(`${framesCompared} frames compared, ${targets} targets acknowledged and kept`);
    report(`controllers connected again ${reconnects} times; ${repeats} comparisons repeated`);
  });
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130));

const USAGE = 'peers [--rounds N], many [--guests N] [--seconds N] or fuzz [--frames N], --seed N';
const program = new Command('soak')
  .description('soak runs on real processes')
  .exitOverride()
  .configureOutput({
    outputError: (text, write) => {
      write(`soak: ${oneLine(text.replace(/^error: /, ''))} (${USAGE})\n`);
    },
  })
  .argument('[run]')
  .action((name?: string) => program.error(name ? `no run '${name}'` : 'name a run'));
const seed = Math.floor(Math.random() * 2 ** 32);
program
  .command('peers')
  .description('lose peers at random moments, then compare both sides')
  .option('--rounds <n>', 'rounds', parseCount, 300)
  .option('--seed <n>', 'which faults, whom, after what waits', parseSeed, seed)
  .action(peers);
program
  .command('many')
  .description('many guest processes under constant retargeting')
  .option('--guests <n>', 'guest processes', parseCount, 20)
  .option('--seconds <n>', 'for how long', parseCount, 60)
  .option('--seed <n>', 'targets and waits', parseSeed, seed)
  .action((flags: Flags) => seeded(flags.seed, () => manySoak({ ...flags, report })));
program
  .command('fuzz')
  .description('hostile frames for a host and for guests, and hostile QMP clients')
  .option('--frames <n>', 'frames for each side', parseSeed, 1_000_000)
  .option('--seed <n>', 'which frames', parseSeed, seed)
  .action((flags: Flags) => seeded(flags.seed, () => fuzzSoak({ ...flags, report })));
try {
  await program.parseAsync();
} catch (error) {
  if (!(error instanceof CommanderError)) throw error;
  process.exitCode = error.exitCode === 0 ? EXIT.ok : EXIT.unusable;
}
