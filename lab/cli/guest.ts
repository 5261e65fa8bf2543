import { Command, Option } from 'commander';
import { BALLOON_COMPACTIONS } from '../../guest/mm/balloon/compaction-mode.ts';
import { balloonOption } from './guest-balloons.ts';
import {
  logOption,
  parseChoice,
  parseCount,
  parseEpoch,
  parseGuestId,
  parseMemory,
  parsePath,
  parseSeed,
  parseSwap,
  parseUrl,
} from './options.ts';
import { tokenFileOption } from './security.ts';
import type { GuestFlags } from './serve-guests.ts';

const ABOUT = `
A guest waits for a host that is not there yet, and comes back to one it has lost. It runs until
SIGINT or SIGTERM, until the host powers it off (QMP quit), or until the host does not take it: a
later guest of the same id takes the place of an earlier one, and later is who has the higher
--epoch. Give one above the last where the clock was set back.

With --balloon a guest has a second balloon device, a third, and so on, each plugged in by a host of
its own, or by the same host under another id: for that host ID is a guest of its own, with all of
this guest's memory. The host of --connect rules the machine. Another one that stops it stops
serving its device, and one that powers it off has its device taken out: the guest runs on. The
token of --token-file goes to each of the hosts, and --tls-ca is trusted for each with wss://.

Examples:
  npx puff guest --connect ws://127.0.0.1:7420 --id vm0 --memory 1024M --control /tmp/puff/vm0.ctl
  npx puff guest --connect ws://127.0.0.1:7420 --id fleet --count 100 --memory 256M
  npx puff guest --connect ws://127.0.0.1:7420 --image freelists-before.json.gz
  npx puff guest --connect ws://127.0.0.1:7420 --id vm0 --balloon b1 --balloon b2=ws://[::1]:7430
  npx puff guest --connect wss://host.example:7420 --token-file token --tls-ca ca.pem

Exit code: 0 after SIGTERM or when powered off, 130 after Ctrl-C, 2 when the host does not take a
guest or cannot be trusted, or the control socket or image is not to be had.`;

const BALLOON_COMPACTION =
  'how pages of the balloon are moved: movable as in 6.1, v2012 as first posted, off: not';

/** `puff guest`: one or more guests until the host powers them off or a signal comes. */
export function guestCommand(): Command {
  const memory = 'RAM of each guest, 64M to 64G; an image has its own (default: 1G)';
  const linux = new Option('--linux <version>', "whose statistics: 6.1's 10 or 6.12's 16")
    .argParser(parseChoice(['6.1', '6.12']))
    .default('6.1', '6.1');
  const workload = new Option('--workload <name>', 'default: statistics move; none: idle')
    .argParser(parseChoice(['default', 'none']))
    .default('default', 'default');
  const compaction = new Option('--balloon-compaction <mode>', BALLOON_COMPACTION)
    .argParser(parseChoice(BALLOON_COMPACTIONS))
    .default('movable', 'movable');
  return new Command('guest')
    .description('run one or more guests, each with a connection to a host')
    .requiredOption('--connect <url>', 'the host, for example ws://127.0.0.1:7420', parseUrl)
    .addOption(new Option('--id <id>', 'its name').argParser(parseGuestId).default('vm0', 'vm0'))
    .addOption(balloonOption())
    .addOption(tokenFileOption())
    .option('--tls-ca <path>', "certificates to trust, PEM (default: the system's)")
    .option('--insecure', 'send the token to other machines without TLS (default: refuse)')
    .option('--memory <size>', memory, parseMemory)
    .option('--swap <size>', 'a swap device for each guest, 1M to 64G (default: none)', parseSwap)
    .option('--image <path>', 'boot from a recorded freelists-*.json.gz (default: a fresh boot)')
    .option(
      '--kmem-trace <path>',
      'play a kmem-trace.txt.gz recorded after the image (default: none)',
    )
    .option('--count <n>', 'guests in this process; ids become ID-0, ID-1, ...', parseCount, 1)
    .option('--seed <n>', 'seed of workload and back-off', parseSeed, 1)
    .option('--epoch <n>', 'number of this life (default: microseconds since 1970)', parseEpoch)
    .addOption(linux)
    .addOption(workload)
    .addOption(compaction)
    .option('--page-poison', 'free pages hold 0xaa, as with page_poison=1 (default: off)')
    .option(
      '--control <path>',
      'unix socket for unbind, bind, rmmod, ... and dump (default: none)',
      parsePath,
    )
    .addOption(logOption())
    .addHelpText('after', ABOUT)
    .action(async (flags: GuestFlags) => (await import('./serve-guests.ts')).serveGuests(flags));
}
