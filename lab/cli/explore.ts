import { Command } from 'commander';
import { EVENTS, GENERATIONS, MAX_PAGES, PROCEDURES } from '../explore/names.ts';
import type { ExploreFlags } from './explore-scenarios.ts';
import { parseChoice, parseFewPages } from './options.ts';

const ABOUT = `
Each procedure stands in the middle of one actor: enqueue of fill_balloon, dequeue of leak_balloon,
isolate of compaction that isolates a page and puts it back, putback and migrate of compaction that
has isolated one before, free (put_page) of a third party that had pinned one. They are the
product's own stepped procedures over a guest of a few frames, with a host that takes and
acknowledges what it is told. Every order of their steps is visited, sequentially consistent, and
after each step the rules of docs/COMPACTION.md are checked.

Events: reset is the driver's removal with everything leaked back and the device reset, retarget
the host that sets num_pages one page up and then one page down from the start, with the resize
work that follows, cut a connection that is lost and resumed.

A counter-example is printed as a schedule, a line for each step, what it found behind an arrow.
Lines can be left out, moved and tried again with --schedule.

--json prints {"scenario": ..., "states": N, "transitions": N, "orders": "N" or null, "seconds": N,
"violation": null or {"invariant": ..., "detail": ..., "schedule": [...]}} a line per scenario; with
--list its name alone, with --history what stands for the violation alone. With --schedule it is
{"scenario": ..., "schedule": [...], "violation": null or {"invariant": ..., "detail": ...}}.

Examples:
  npx puff explore isolate dequeue --pages 1
  npx puff explore migrate dequeue free --event cut
  npx puff explore --all
  npx puff explore --history

Exit code: 0 all rules held, 1 a counter-example, 2 wrong usage.`;

/** `puff explore`: all orders of the steps of a few procedures. */
export function exploreCommand(): Command {
  return new Command('explore')
    .description('visit every order of the steps of two to four stepped procedures')
    .argument('[procedure...]', PROCEDURES.join(', '))
    .option('--pages <n>', `pages in the balloon at the start, 1 to ${MAX_PAGES}`, parseFewPages)
    .option('--event <name>', `${EVENTS.join(', ')}; may be repeated`, parseEvents)
    .option(
      '--generation <name>',
      'movable (Linux 6.1, the default) or v2012: how pages are isolated and moved',
      parseChoice(GENERATIONS),
    )
    .option('--all', 'every pair, and every three with a migration, a line each')
    .option('--list', 'names of what --all explores, without exploring')
    .option('--history', 'the OOM deadlock that Linux fixed in 2017, found anew, as its schedule')
    .option('--schedule <file>', 'do what the lines of a file (- for stdin) say instead')
    .option('--json', 'one JSON object per scenario, one per line')
    .addHelpText('after', ABOUT)
    .action(async (procedures: readonly string[], flags: ExploreFlags) => {
      (await import('./explore-scenarios.ts')).exploreScenarios(procedures, flags);
    });
}

/** Each event once. */
function parseEvents(text: string, before: readonly string[] = []): readonly string[] {
  const event = parseChoice(EVENTS)(text);
  return before.includes(event) ? before : [...before, event];
}
