import { randomBytes, randomUUID } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import type { HostGuestSummary } from '../shared/control/schemas.ts';
import type { Counters } from '../shared/lib/counters.ts';
import { type Log, SILENT } from '../shared/lib/log.ts';
import { PeerLogs } from '../shared/lib/peer-log.ts';
import { RealClock } from '../shared/lib/real-clock.ts';
import { MAX_LOG_LINES_PER_SECOND, TICKET_BYTES } from '../shared/limits.ts';
import { ENDPOINT_PATH } from '../shared/protocol/messages.ts';
import { Tickets } from '../shared/transport/credentials.ts';
import { WsServer, type WsServerOptions } from '../shared/transport/ws-server.ts';
import { GuestSockets, type TcpPorts } from './control/qmp/guest-sockets.ts';
import type { QmpCounter } from './control/qmp/qmp-counters.ts';
import { DEFAULT_QMP_SETTINGS, type QmpSettings } from './control/qmp/settings.ts';
import { Host, type HostOptions } from './host.ts';
import { LoopDelayMeter } from './loop-delay.ts';
import { type HostHealth, lookAtProcess } from './start-health.ts';
import { GuestStore } from './store/guest-store.ts';
import { lockStore } from './store/store-lock.ts';
import { TraceFiles } from './trace-files.ts';
import type { Vm } from './vmm/vm.ts';

export interface StartHostOptions
  extends Pick<
      HostOptions,
      'device' | 'devices' | 'hotplug' | 'strict' | 'tolerate' | 'resumeWindowMs'
    >,
    Pick<WsServerOptions, 'token' | 'tls' | 'insecure' | 'allowedOrigins' | 'limits'> {
  /**
   * Where guests connect; port 0 takes a free one. Other machines can reach it only with `token`,
   * and with `tls` or `insecure`.
   */
  readonly listen: { readonly host: string; readonly port: number };
  /** Folder for one QMP socket per guest, `ID.qmp`; made when it is missing. */
  readonly qmpDir?: string | undefined;
  /** One TCP port for QMP per guest; without authentication, so at a loopback address. */
  readonly qmpTcp?: TcpPorts | undefined;
  /** Clients that one QMP socket serves at once; 1, as QEMU, when left out. */
  readonly qmpMaxClients?: number;
  readonly qmpSettings?: QmpSettings;
  /** Folder for one wire trace per guest, `ID.wire.jsonl`; made when it is missing. */
  readonly traceDir?: string | undefined;
  /** File in which guests, targets and intervals outlive this process; made when missing. */
  readonly storePath?: string | undefined;
  readonly log?: Log;
  onGuestAdded?(vm: Vm, restored: boolean): void;
  onGuestRemoved?(vm: Vm): void;
  /** A guest's QMP can be reached over TCP at `address`, HOST:PORT. */
  onQmpListening?(guestId: string, address: string): void;
}

/** A host that listens. */
export interface RunningHost {
  readonly host: Host;
  /** What guests connect to. */
  readonly url: string;
  /** Of all QMP sockets together. */
  readonly qmpCounters: Counters<QmpCounter>;
  /** Good for one connection each, in the place of the token; undefined without a token. */
  readonly tickets: Tickets | undefined;
  /** How the process is and how full its limits are; what GET /health of the port answers. */
  health(): HostHealth;
  /** Its guests, each with the addresses of its QMP sockets. */
  list(): HostGuestSummary[];
  /** Takes leave of guests and controllers; resolves when every socket is closed. */
  close(): Promise<void>;
}

/** A store that is locked and open, and how to let go of it. */
interface OpenStore {
  readonly keeper: GuestStore;
  close(): Promise<void>;
}

/** Throws StoreError. */
async function openStore(path: string): Promise<OpenStore> {
  const unlock = await lockStore(path);
  try {
    const keeper = new GuestStore(path);
    return {
      keeper,
      close: () => {
        keeper.close();
        return unlock();
      },
    };
  } catch (error) {
    await unlock();
    throw error;
  }
}

/**
 * Starts a host in this process: a port for guests, a QMP socket per guest. With a store its
 * guests exist at once, each waited for. Impure: sockets, files, the real clock. Rejects with one
 * line for the operator when the port, a folder or the store is not to be had, or when the port
 * would be open to others than is meant.
 */
export async function startHost(options: StartHostOptions): Promise<RunningHost> {
  const { listen, traceDir, log = SILENT } = options;
  const clock = new RealClock();
  makeFolders(options.qmpDir, traceDir);
  const logs = peerLogs(log, clock, () => host.transportCounters);
  const qmp = guestSockets(options, clock, logs.of('QMP'));
  const store = options.storePath === undefined ? undefined : await openStore(options.storePath);
  const traces = traceDir === undefined ? undefined : new TraceFiles(traceDir, clock, log);
  const host = new Host({
    ...options,
    clock,
    log,
    logs,
    keeper: store?.keeper,
    newSessionName: () => randomUUID(),
    observerFor: (guestId) => traces?.open(guestId),
    onGuestAdded: (vm, restored) => {
      const { id, ramBytes } = vm;
      logs.of(id).info({ guest: id, ramBytes, restored }, 'guest added');
      qmp.open(vm);
      options.onGuestAdded?.(vm, restored);
    },
    onGuestRemoved: (vm) => {
      logs.of(vm.id).info({ guest: vm.id }, 'guest removed');
      qmp.close(vm);
      traces?.close(vm.id);
      options.onGuestRemoved?.(vm);
    },
  });
  const tickets = ticketsFor(options, host, clock);
  const meter = new LoopDelayMeter(clock);
  const health = () => lookAtProcess(meter.look(), { ...server.usage, ...host.vmm.usage });
  let server: WsServer;
  let port: number;
  try {
    server = new WsServer({
      ...options,
      clock,
      logs,
      tickets,
      health,
      counters: host.transportCounters,
      onLink: (link) => host.attachLink(link),
    });
    port = await server.listen(listen.host, listen.port);
  } catch (error) {
    meter.stop();
    await store?.close();
    throw error;
  }
  // In the turn in which the port opened: no guest can have been let in.
  host.restore();
  await qmp.opened();
  return {
    host,
    url: urlOf(options, port),
    qmpCounters: qmp.counters,
    tickets,
    health,
    list: () => host.vmm.list().map((one) => ({ ...one, qmp: qmp.addressesOf(one.id) })),
    close: async () => {
      host.close();
      meter.stop();
      await Promise.all([server.close(), qmp.settled()]);
      await store?.close();
    },
  };
}

function makeFolders(...directories: readonly (string | undefined)[]): void {
  for (const directory of directories) {
    if (directory !== undefined) mkdirSync(directory, { recursive: true, mode: 0o700 });
  }
}

function urlOf({ listen: { host }, tls }: StartHostOptions, port: number): string {
  const address = host.includes(':') ? `[${host}]` : host;
  return `${tls === undefined ? 'ws' : 'wss'}://${address}:${port}${ENDPOINT_PATH}`;
}

/** What is left out is counted; the counters are there by then. */
function peerLogs(
  log: Log,
  clock: RealClock,
  countersOf: () => Host['transportCounters'],
): PeerLogs {
  const onLeftOut = (): void => countersOf().add('MAX_LOG_LINES_PER_SECOND');
  return new PeerLogs({ log, clock, linesPerSecond: MAX_LOG_LINES_PER_SECOND, onLeftOut });
}

function ticketsFor(
  { token }: StartHostOptions,
  { transportCounters: counters }: Host,
  clock: RealClock,
): Tickets | undefined {
  if (token === undefined) return undefined;
  return new Tickets({ clock, counters, newSecret: () => randomBytes(TICKET_BYTES) });
}

/** Throws ExposureError. */
function guestSockets(options: StartHostOptions, clock: RealClock, log: Log): GuestSockets {
  const { onQmpListening } = options;
  return new GuestSockets({
    directory: options.qmpDir,
    tcp: options.qmpTcp,
    settings: options.qmpSettings ?? DEFAULT_QMP_SETTINGS,
    maxClients: options.qmpMaxClients ?? 1,
    clock,
    log,
    ...(onQmpListening === undefined ? {} : { onTcpListening: onQmpListening }),
  });
}
