import { Command, Option } from 'commander';
import { BALLOON_COMPACTIONS } from '../../guest/mm/balloon/compaction-mode.ts';
import { parseChoice, parseMemory } from './options.ts';

const ABOUT = `
A scenario is a JSON file: a host, guests, and steps that are done one after the other (balloon,
settle, sleep, qmp, driver, run, compact_memory, nr_hugepages, cut, check). Those that come with
Puff may be named without a path:
  inflate-deflate   half of a guest, its driver unbound and bound, and all back
  oom               a memory hog against an inflated balloon that deflates on OOM
  cut               a connection cut in the middle of an inflation
and one that is no file:
  fragmentation     maps of a guest's pages before and after compaction, with a balloon that can be
                    moved and with one that cannot. Coloured on a terminal, characters elsewhere or
                    with NO_COLOR set. A GiB takes about 5 s: pages of the balloon are moved one at
                    a time, and the host is told of each twice

A guest of a scenario may boot from a recorded state of memory: "image" in the place of "memory",
a path from the scenario's own folder. The programs of the step run: npx puff ctl --help.

Examples:
  npx puff run inflate-deflate
  npx puff run lab/scenarios/oom.json
  npx puff run fragmentation --memory 1G

Exit code: 0 all steps as expected, 1 a step failed, 2 an unusable file, or the host or a guest did
not start, 130 after Ctrl-C. Processes and their folder are gone in every case.`;

/** `puff run`: a host and guests as processes, then a scenario's steps. */
export function runCommand(): Command {
  const compaction = new Option(
    '--balloon-compaction <mode>',
    'of fragmentation: one guest only, with movable, v2012 or off (default: movable and off)',
  ).argParser(parseChoice(BALLOON_COMPACTIONS));
  return new Command('run')
    .description('start a host and guests as processes and run a scenario')
    .argument('<scenario>', "path of a scenario file, or the name of one of Puff's own")
    .option('--memory <size>', 'of fragmentation: RAM of each guest, from 256M', parseMemory)
    .addOption(compaction)
    .addHelpText('after', ABOUT)
    .action(async (name: string, flags: object) => {
      return (await import('./play-scenario.ts')).playScenario(name, flags);
    });
}
