import { Command, Option } from 'commander';
import { DEFAULT_QMP_SETTINGS, QMP_DIALECTS } from '../../host/control/qmp/settings.ts';
import { HOTPLUG_KINDS } from '../../host/vmm/machine.ts';
import { RESUME_WINDOW_MS } from '../../shared/limits.ts';
import {
  logOption,
  parseDeviceFlag,
  parseDeviceOf,
  parseListen,
  parsePath,
  parseQemuVersion,
  parseQmpClients,
  parseResumeWindow,
} from './options.ts';
import { allowOriginOption, rateLimitOption, tokenFileOption } from './security.ts';
import type { HostFlags } from './serve-host.ts';

const ABOUT = `
Device options are QEMU's: id=NAME, and deflate-on-oom, free-page-hint, free-page-reporting,
page-poison, qemu-4-0-config-size, each =on or =off. What --device-of leaves out is as in --device.

The host prints the address it listens on and each guest that comes and goes, and runs until
SIGINT or SIGTERM. Guests that were connected keep trying to come back. Sockets are the owner's
alone; a stale one that a killed process left is replaced.

--qmp-tcp gives each guest the lowest free port from the given one up; the host prints it and list
shows it. QMP knows no passwords: the address must be one that only this machine reaches. With
--hotplug the balloon sits behind the root port rp0; docs/QMP.md tells more.

With --store a host that is started again knows its guests: their devices (whatever --device says
now), targets and statistics intervals. Guests come back by themselves and tell what is in their
balloons. One that is not back after --resume-window counts as dead: GUEST_PANICKED.

Other machines can reach the port only with a token, which every request must then carry, and with
TLS or --insecure; without these the host does not start. The token is 16 characters or more in a
file that other users cannot read, or in the variable PUFF_TOKEN. GET /health of the port tells how
the host is. A page of an origin given with --allow-origin cannot send the token: it connects once
with a ticket (puff ctl ... ticket), as /puff?ticket=TICKET. Peers that send too much are slowed
down, then refused by the name of the limit; --rate-limit off lets them, and takes connections
however fast they come. Node's --max-old-space-size limits the heap.

Examples:
  npx puff host --listen 127.0.0.1:7420 --qmp /tmp/puff --control /tmp/puff/host.ctl
  npx puff host --device virtio-balloon-pci,deflate-on-oom=on --device-of vm1=virtio-balloon-pci

  npx puff host --listen 0.0.0.0:7420 --token-file token --tls-cert cert.pem --tls-key key.pem

Exit code: 0 after SIGTERM, 130 after Ctrl-C, 2 when the port, a folder, a socket or the
store is not to be had, or when the port would be open to others than is meant.`;

/** `puff host`: the hypervisor for any number of guests, until a signal comes. */
export function hostCommand(): Command {
  const { major, minor, micro } = DEFAULT_QMP_SETTINGS.version;
  const listen = new Option('--listen <address>', 'where guests connect; port 0 takes a free one')
    .argParser(parseListen)
    .default({ host: '127.0.0.1', port: 7420 }, '127.0.0.1:7420');
  const version = new Option('--qemu-version <version>', 'the version QMP tells')
    .argParser(parseQemuVersion)
    .default(DEFAULT_QMP_SETTINGS.version, `${major}.${minor}.${micro}`);
  const seconds = RESUME_WINDOW_MS / 1000;
  const resumeWindow = new Option('--resume-window <seconds>', 'how long a lost guest is awaited')
    .argParser(parseResumeWindow)
    .default(seconds, String(seconds));
  const qmpClients = new Option('--qmp-clients <n>', 'clients a QMP socket serves at once')
    .argParser(parseQmpClients)
    .default(1);
  return new Command('host')
    .description('run a host: guests connect to it, controllers talk QMP to it')
    .addOption(listen)
    .addOption(tokenFileOption())
    .option('--tls-cert <path>', 'certificate chain of the port, PEM (default: no TLS)')
    .option('--tls-key <path>', 'its private key, PEM')
    .option('--insecure', 'let other machines connect without TLS (default: refuse to start)')
    .addOption(allowOriginOption())
    .addOption(rateLimitOption())
    .option(
      '--qmp <dir>',
      'folder for one QMP socket per guest, DIR/ID.qmp (default: none)',
      parsePath,
    )
    .option('--qmp-tcp <address>', 'QMP over TCP: a port per guest from here up', parseListen)
    .addOption(qmpClients)
    .addOption(
      new Option('--qmp-dialect <name>', 'whose QMP').choices(QMP_DIALECTS).default('qemu'),
    )
    .addOption(
      new Option('--hotplug [kind]', 'balloons that device_del unplugs (kind: acpi)').choices(
        HOTPLUG_KINDS,
      ),
    )
    .option(
      '--control <path>',
      'unix socket for puff ctl: list, counters, balloon, ... (default: none)',
      parsePath,
    )
    .option(
      '--device <options>',
      "every guest's balloon (default: virtio-balloon-pci)",
      parseDeviceFlag,
    )
    .option('--device-of <id=options>', "one guest's balloon; may be repeated", parseDeviceOf)
    .option('--strict', 'refuse what a driver does wrong (default: tolerate it as QEMU does)')
    .addOption(version)
    .option('--trace <dir>', 'folder for one wire trace per guest, DIR/ID.wire.jsonl', parsePath)
    .option(
      '--store <path>',
      'file in which guests and targets outlive the host (default: none)',
      parsePath,
    )
    .addOption(resumeWindow)
    .addOption(logOption())
    .addHelpText('after', ABOUT)
    .action(async (flags: HostFlags) => (await import('./serve-host.ts')).serveHost(flags));
}
