import { answerHostRequest } from '../../host/control/host-verbs.ts';
import { DEFAULT_QMP_SETTINGS, type QmpDialect } from '../../host/control/qmp/settings.ts';
import { type RunningHost, startHost } from '../../host/start-host.ts';
import type { HotplugKind } from '../../host/vmm/machine.ts';
import { LineServer } from '../../shared/control/line-server.ts';
import { type HostRequest, hostRequestSchema } from '../../shared/control/schemas.ts';
import { SILENT } from '../../shared/lib/log.ts';
import { PeerLogs } from '../../shared/lib/peer-log.ts';
import { RealClock } from '../../shared/lib/real-clock.ts';
import { MAX_LOG_LINES_PER_SECOND } from '../../shared/limits.ts';
import type { ServerLimits } from '../../shared/transport/server-limits.ts';
import type { DeviceOption } from '../device-option.ts';
import { makeFolder, makeSocketFolder } from './folders.ts';
import { makeLog } from './logging.ts';
import type { ListenAddress, QemuVersion } from './options.ts';
import { readTls, readToken, type TlsFlags } from './security.ts';
import { serviceExitCode, stopSignal } from './signals.ts';

export interface HostFlags extends TlsFlags {
  readonly listen: ListenAddress;
  readonly qmp?: string;
  readonly qmpTcp?: ListenAddress;
  readonly qmpClients: number;
  readonly qmpDialect: QmpDialect;
  readonly hotplug?: HotplugKind | true;
  readonly control?: string;
  readonly device?: DeviceOption;
  readonly deviceOf?: ReadonlyMap<string, DeviceOption>;
  readonly strict?: true;
  readonly qemuVersion: QemuVersion;
  readonly trace?: string;
  readonly store?: string;
  readonly resumeWindow: number;
  readonly tokenFile?: string;
  readonly insecure?: true;
  readonly allowOrigin?: readonly string[];
  readonly rateLimit: Partial<ServerLimits>;
  readonly log?: string | true;
}

/** Says what becomes of guests; of one that comes and goes without end, not all of it. */
function guestLines(): (id: string, text: string) => void {
  const leftOut = (fields: object): void => {
    const { peer, leftOut: count } = fields as { peer: string; leftOut: number };
    say(`${count} more lines of guest ${peer}`);
  };
  const lines = new PeerLogs({
    log: { ...SILENT, info: leftOut },
    clock: new RealClock(),
    linesPerSecond: MAX_LOG_LINES_PER_SECOND,
  });
  return (id, text) => {
    if (lines.allows(id, 'info')) say(`guest ${id} ${text}`);
  };
}

/** What `puff host` does: serves guests and controllers until a signal comes. */
export async function serveHost(flags: HostFlags): Promise<void> {
  const stopped = stopSignal();
  const tell = guestLines();
  makeSocketFolder('--qmp', flags.qmp);
  makeFolder('--trace', flags.trace);
  const running = await startHost({
    listen: flags.listen,
    token: readToken(flags.tokenFile),
    tls: readTls(flags),
    insecure: flags.insecure === true,
    allowedOrigins: flags.allowOrigin ?? [],
    limits: flags.rateLimit,
    qmpDir: flags.qmp,
    qmpTcp: flags.qmpTcp,
    qmpMaxClients: flags.qmpClients,
    hotplug: flags.hotplug === true ? 'acpi' : flags.hotplug,
    traceDir: flags.trace,
    storePath: flags.store,
    resumeWindowMs: flags.resumeWindow * 1000,
    qmpSettings: {
      ...DEFAULT_QMP_SETTINGS,
      version: flags.qemuVersion,
      dialect: flags.qmpDialect,
    },
    strict: flags.strict === true,
    log: makeLog(flags.log),
    ...(flags.device === undefined ? {} : { device: flags.device }),
    ...(flags.deviceOf === undefined ? {} : { devices: flags.deviceOf }),
    // Ids were checked against the protocol's pattern: they need no quoting.
    onGuestAdded: ({ id, ramBytes }, restored) => {
      tell(id, `${restored ? 'restored' : 'connected'}, ${ramBytes} bytes of RAM`);
    },
    onGuestRemoved: ({ id }) => tell(id, 'is gone'),
    onQmpListening: (id, address) => say(`QMP of guest ${id} at ${address}`),
  });
  const control = openControl(flags.control, running);
  try {
    await control?.listen();
    say(`listening on ${running.url}`);
    process.exitCode = serviceExitCode(await stopped);
  } finally {
    await Promise.all([running.close(), control?.close()]);
  }
}

function openControl(
  path: string | undefined,
  running: RunningHost,
): LineServer<HostRequest> | undefined {
  if (path === undefined) return undefined;
  const { vmm, transportCounters } = running.host;
  const server: LineServer<HostRequest> = new LineServer(path, hostRequestSchema, (request) => {
    const { counters: controlCounters } = server;
    return answerHostRequest({ ...running, vmm, transportCounters, controlCounters }, request);
  });
  return server;
}

function say(text: string): void {
  process.stdout.write(`puff host: ${text}\n`);
}
