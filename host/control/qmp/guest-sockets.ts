import { join } from 'node:path';
import { ListenError, type ListenTarget } from '../../../shared/control/listen.ts';
import type { Clock } from '../../../shared/lib/clock.ts';
import type { Log } from '../../../shared/lib/log.ts';
import { isLoopback } from '../../../shared/transport/connection-guard.ts';
import { ExposureError } from '../../../shared/transport/exposure.ts';
import type { Machine } from '../../vmm/machine.ts';
import { qmpCounters } from './qmp-counters.ts';
import { QmpServer } from './server.ts';
import type { QmpSettings } from './settings.ts';

/** An address, and the first of as many ports as there are guests; 0 takes any free ones. */
export interface TcpPorts {
  readonly host: string;
  readonly port: number;
}

export interface GuestSocketsOptions {
  /** Folder for one unix socket per guest, `ID.qmp`. */
  readonly directory?: string | undefined;
  /** One port per guest. */
  readonly tcp?: TcpPorts | undefined;
  readonly settings: QmpSettings;
  /** Clients served at once on each socket. */
  readonly maxClients: number;
  readonly clock: Clock;
  readonly log: Log;
  /** A guest's QMP can be reached over TCP at `address`, HOST:PORT. */
  onTcpListening?(guestId: string, address: string): void;
}

const MAX_PORT = 65_535;

/** What one guest has. */
interface OpenedSockets {
  /** Undefined where a socket could not be had. */
  readonly servers: Promise<QmpServer | undefined>[];
  readonly addresses: string[];
  port: number;
}

/**
 * QMP for the guests of a host: a unix socket, a TCP port or both for each. A guest has the lowest
 * port that is free when its machine appears, and keeps it over connections and power-ons. A socket
 * that is not to be had is logged and leaves the guest alone. Impure: sockets.
 */
export class GuestSockets {
  /** Of all guests together, also those that have gone. */
  readonly counters = qmpCounters();
  readonly #options: GuestSocketsOptions;
  readonly #opened = new Map<string, OpenedSockets>();
  readonly #ports = new Set<number>();
  readonly #closing = new Set<Promise<void>>();

  /** Throws ExposureError for TCP at an address that other machines reach. */
  constructor(options: GuestSocketsOptions) {
    if (options.tcp !== undefined) requireLoopback(options.tcp.host);
    this.#options = options;
  }

  /** The unix socket's file exists when this returns. */
  open(machine: Machine): void {
    const { directory, tcp, log } = this.#options;
    const opened: OpenedSockets = { servers: [], addresses: [], port: 0 };
    this.#opened.set(machine.id, opened);
    const add = (starting: Promise<QmpServer>): void => {
      const server = starting.catch((error: Error) => {
        log.error({ guest: machine.id, error: error.message }, 'no QMP socket');
        return undefined;
      });
      opened.servers.push(server);
    };
    if (directory !== undefined) {
      add(this.#serve(machine, join(directory, `${machine.id}.qmp`), opened));
    }
    if (tcp !== undefined) add(this.#serveTcp(machine, tcp, opened));
  }

  /** Where a guest's QMP can be reached now: paths and HOST:PORT. */
  addressesOf(guestId: string): readonly string[] {
    return this.#opened.get(guestId)?.addresses ?? [];
  }

  close(machine: Machine): void {
    const opened = this.#opened.get(machine.id);
    if (opened === undefined) return;
    this.#opened.delete(machine.id);
    const closed = Promise.all(
      opened.servers.map((starting) => starting.then((server) => server?.close())),
    ).then(() => {
      this.#ports.delete(opened.port);
      this.#closing.delete(closed);
    });
    this.#closing.add(closed);
  }

  /** Resolves when every socket opened so far takes clients, or is not to be had. */
  async opened(): Promise<void> {
    await Promise.all(Array.from(this.#opened.values(), ({ servers }) => Promise.all(servers)));
  }

  /** Resolves when every socket closed so far is gone. */
  async settled(): Promise<void> {
    await Promise.all(this.#closing);
  }

  async #serve(machine: Machine, target: ListenTarget, opened: OpenedSockets): Promise<QmpServer> {
    const { settings, maxClients, clock, log } = this.#options;
    const { counters } = this;
    const options = { machine, settings, maxClients, counters, clock, log, listen: target };
    const server = await QmpServer.start(options);
    opened.addresses.push(addressText(server.address));
    return server;
  }

  /** Ports that other programs have are left out. */
  async #serveTcp(
    machine: Machine,
    { host, port: first }: TcpPorts,
    opened: OpenedSockets,
  ): Promise<QmpServer> {
    for (let from = first; ; from = opened.port + 1) {
      opened.port = this.#takePort(from);
      try {
        const server = await this.#serve(machine, { host, port: opened.port }, opened);
        this.#options.onTcpListening?.(machine.id, addressText(server.address));
        return server;
      } catch (error) {
        this.#ports.delete(opened.port);
        const isTaken = error instanceof ListenError && error.code === 'address-in-use';
        if (!isTaken || first === 0) throw error;
      }
    }
  }

  /** The first port from there on that no guest of ours has; 0 stays 0. */
  #takePort(from: number): number {
    let port = from;
    while (port !== 0 && this.#ports.has(port)) port++;
    if (port > MAX_PORT) {
      throw new ListenError('cannot-listen', 'there is no free port left up to 65535');
    }
    if (port !== 0) this.#ports.add(port);
    return port;
  }
}

/** QMP has no authentication, and `quit` is one of its commands. */
function requireLoopback(host: string): void {
  if (host === 'localhost' || isLoopback(host)) return;
  throw new ExposureError(
    `other machines could reach QMP at ${host}, which knows no passwords: listen at 127.0.0.1 ` +
      'and reach it from elsewhere through ssh -L',
  );
}

function addressText(target: ListenTarget): string {
  if (typeof target === 'string') return target;
  const { host, port } = target;
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
