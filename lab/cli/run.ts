import { Command } from 'commander';

const ABOUT = `
A scenario is a JSON file: a host, guests, and steps that are done one after the other (balloon,
settle, sleep, qmp, driver, run, cut, check). Those that come with Puff may be named without a
path: inflate-deflate, oom, cut.

Examples:
  npx puff run inflate-deflate
  npx puff run lab/scenarios/oom.json

Exit code: 0 all steps as expected, 1 a step failed, 2 an unusable file, or the host or a guest did
not start, 130 after Ctrl-C. Processes and their folder are gone in every case.`;

/** `puff run`: a host and guests as processes, then a scenario's steps. */
export function runCommand(): Command {
  return new Command('run')
    .description('start a host and guests as processes and run a scenario file')
    .argument('<scenario>', "path of a scenario file, or the name of one of Puff's own")
    .addHelpText('after', ABOUT)
    .action(async (name: string) => (await import('./play-scenario.ts')).playScenario(name));
}
