import { Command } from 'commander';
import { ControlRequestError, LineClient } from '../../shared/control/line-client.ts';
import { parseSize } from '../../shared/lib/units.ts';
import { UsageError } from './errors.ts';
import { PROGRAMS_HELP } from './programs-help.ts';

const ABOUT = `
Arguments are NAME=VALUE; a value that is JSON is sent as such, everything else as text. bytes
takes a size (512M) or a plain number of bytes, as QMP does.

Verbs of a host (its --control socket):
  list                             every guest: status, target, actual, ledger
  counters                         traffic, and every refusal and limit by name
  health                           event-loop delay, memory, how full limits are
  balloon guest=vm0 bytes=512M     ask a guest for a size: what remains to it
  stats guest=vm0                  what the guest reported last
  ledger guest=vm0 [pfns=true]     frames resident, ballooned, discarded, reported, hinted
  hint guest=vm0 action=start      a round of free page hinting, as a migration asks for one;
                                   action=stop ends it, action=done ends all
  cut guest=vm0                    cut its connection; it resumes by itself
  ticket                           what lets one connection in within 30 s without the token, as
                                   /puff?ticket=TICKET; only of a host that wants a token

Verbs of a guest (add guest=ID where one process runs several):
  unbind, bind [device=ID]         take the driver off the device, and back; ID names one of
                                   several balloon devices (the first if left out)
  rmmod, insmod                    unload the driver of all devices, load it
  suspend, resume                  power management, of all devices
  run program='{"name":"hog","mib":100,"seconds":5}'
                                   start a program; all are listed below
  kill pid=100                     end a process; dump lists them
  pagemap [cellPages=512]          free, balloon, movable, unmovable, reserved frames by place
  compact_memory                   move pages until the free memory is in large blocks
  compaction_proactiveness value=20
                                   how much kcompactd does by itself; 0 is nothing
  nr_hugepages count=64            huge pages of 2 MiB in the pool, as many as are to be had
  nr_hugepages count=1 size=1G     the same of 1 GiB: whatever is in their way is moved
  dump [pfns=true] [device=ID]     driver, balloon list, statistics, free blocks, processes, tasks;
                                   balloons lists every device

Driver verbs, compact_memory and nr_hugepages are answered when their work is done.

${PROGRAMS_HELP}

Examples:
  npx puff ctl /tmp/puff/host.ctl balloon guest=vm0 bytes=512M
  npx puff ctl /tmp/puff/vm0.ctl run program='{"name":"hog","mib":100,"seconds":5}'

Exit code: 0 done, 2 refused or nobody answers.`;

/** `puff ctl`: one request to a control socket, the answer as JSON on stdout. */
export function ctlCommand(): Command {
  return new Command('ctl')
    .description('send one request to the control socket of a host or guest')
    .argument('<socket>', 'path given to --control')
    .argument('<verb>', 'what to do')
    .argument('[name=value...]', 'arguments of the verb')
    .addHelpText('after', ABOUT)
    .action(runCtl);
}

async function runCtl(socket: string, verb: string, words: readonly string[]): Promise<void> {
  const request = Object.fromEntries(words.map(parseWord));
  const client = await LineClient.connect(socket);
  try {
    const result = await client.request({ ...request, verb });
    process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
  } catch (error) {
    if (!(error instanceof ControlRequestError)) throw error;
    throw new UsageError(`${socket}: ${error.message}`);
  } finally {
    client.close();
  }
}

function parseWord(word: string): [name: string, value: unknown] {
  const at = word.indexOf('=');
  if (at < 1) throw new UsageError(`'${word}' is not NAME=VALUE`);
  const [name, text] = [word.slice(0, at), word.slice(at + 1)];
  if (name === 'bytes' && /\D/.test(text)) return [name, parseSize(text)];
  try {
    return [name, JSON.parse(text)];
  } catch {
    return [name, text];
  }
}
