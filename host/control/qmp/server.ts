import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { type ListenTarget, listen } from '../../../shared/control/listen.ts';
import type { Clock } from '../../../shared/lib/clock.ts';
import type { Counters } from '../../../shared/lib/counters.ts';
import { type Log, SILENT } from '../../../shared/lib/log.ts';
import {
  MAX_QMP_OUTPUT_BYTES,
  MAX_QMP_WAITING,
  OUTBOUND_SOFT_BYTES,
  QMP_CLOSE_TIMEOUT_MS,
} from '../../../shared/limits.ts';
import type { Machine } from '../../vmm/machine.ts';
import type { JsonLimit } from './json-builder.ts';
import { QmpMonitor } from './monitor.ts';
import { type QmpCounter, qmpCounters } from './qmp-counters.ts';
import type { QmpSession } from './session.ts';
import type { QmpSettings } from './settings.ts';

export interface QmpServerOptions {
  readonly machine: Machine;
  readonly settings: QmpSettings;
  readonly clock: Clock;
  readonly listen: ListenTarget;
  /** Clients served at once; 1, as QEMU, when left out. */
  readonly maxClients?: number;
  /** Those of a host's other sockets; its own when left out. */
  readonly counters?: Counters<QmpCounter>;
  readonly log?: Log;
  /** Smaller limits for tests. */
  readonly maxOutputBytes?: number;
  readonly maxWaiting?: number;
}

/** Bytes of one client that are fed in one turn of the event loop; then others have theirs. */
const SLICE_BYTES = 4096;

const NOTHING = new Uint8Array(0);

/** A client being served. */
interface ServedClient {
  readonly socket: Socket;
  readonly session: QmpSession;
  /** Received and not fed: its next turn has to come, or the client to read what waits for it. */
  unfed: Uint8Array;
  turn: unknown;
}

/**
 * Serves a machine's QMP on a unix socket or a TCP port. As in QEMU one client is served at a
 * time; the next one connects and hears nothing until the first is gone. With `maxClients` so many
 * are served at once, each as if it had a monitor of its own.
 *
 * A client that does not read is not read from either; one that then still lets events pile up is
 * cut at MAX_QMP_OUTPUT_BYTES. QEMU would keep on storing.
 *
 * Not emulated: TLS, authentication, QEMU's `reconnect` and websocket character devices.
 */
export class QmpServer {
  readonly counters: Counters<QmpCounter>;
  readonly #options: QmpServerOptions;
  readonly #log: Log;
  readonly #monitor: QmpMonitor;
  readonly #server: Server;
  readonly #waiting: Socket[] = [];
  readonly #served = new Set<ServedClient>();
  #closed: Promise<void> | undefined;

  private constructor(options: QmpServerOptions) {
    const { machine, settings, clock } = options;
    this.#options = options;
    this.#log = options.log ?? SILENT;
    const { counters = qmpCounters() } = options;
    this.counters = counters;
    const onLimit = (limit: JsonLimit): void => counters.add(limit);
    this.#monitor = new QmpMonitor({ machine, settings, timers: clock, onLimit });
    // Half-open, because a client that ends its side may have replies coming.
    const socketOptions = { pauseOnConnect: true, allowHalfOpen: true };
    this.#server = createServer(socketOptions, (socket) => this.#accept(socket));
  }

  /** Resolves when clients can connect. Throws ListenError. */
  static async start(options: QmpServerOptions): Promise<QmpServer> {
    const server = new QmpServer(options);
    try {
      await listen(server.#server, options.listen);
    } catch (error) {
      server.#monitor.close();
      throw error;
    }
    server.#server.on('error', (error) => server.#noteError(error));
    return server;
  }

  /** The path, or the address and port taken when port 0 was asked for. */
  get address(): ListenTarget {
    const address = this.#server.address();
    if (address === null || typeof address === 'string') return this.#options.listen;
    const { address: host, port } = address as AddressInfo;
    return { host, port };
  }

  /**
   * Stops listening, removes the socket file and lets clients read the replies they have coming:
   * also that of the command that led here, such as quit. Resolves when all connections are closed.
   */
  close(): Promise<void> {
    this.#closed ??= this.#shutDown();
    return this.#closed;
  }

  async #shutDown(): Promise<void> {
    const { clock } = this.#options;
    const allClosed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#waiting.splice(0)) socket.destroy();
    // A reply is written after the command that called close() returns.
    await Promise.resolve();
    this.#monitor.close();
    for (const { socket } of this.#served) socket.destroySoon();
    const timeout = clock.setTimeout(() => {
      this.counters.add('QMP_CLOSE_TIMEOUT_MS', this.#served.size);
      for (const { socket } of this.#served) socket.destroy();
    }, QMP_CLOSE_TIMEOUT_MS);
    await allClosed;
    clock.clearTimeout(timeout);
  }

  #accept(socket: Socket): void {
    socket.on('error', (error) => this.#noteError(error));
    if (this.#served.size < (this.#options.maxClients ?? 1)) {
      this.#serve(socket);
    } else if (this.#waiting.length >= (this.#options.maxWaiting ?? MAX_QMP_WAITING)) {
      this.counters.add('MAX_QMP_WAITING');
      this.#log.warn({ limit: 'MAX_QMP_WAITING' }, 'QMP client refused');
      socket.destroy();
    } else {
      this.#wait(socket);
    }
  }

  /**
   * Until its turn comes only a buffer's worth is read of a client. One that leaves before it has
   * asked for anything makes room: controllers give up when no greeting comes.
   */
  #wait(socket: Socket): void {
    const leave = (): void => {
      const place = this.#waiting.indexOf(socket);
      if (place >= 0) this.#waiting.splice(place, 1);
      socket.destroy();
    };
    this.#waiting.push(socket);
    socket.once('close', leave).on('readable', () => {
      // With nothing to read, readable is the end.
      if (socket.readableLength === 0) leave();
    });
  }

  #serve(socket: Socket): void {
    this.counters.add('clients');
    socket.setNoDelay(true);
    socket.removeAllListeners('readable');
    const session = this.#monitor.open((text) => this.#write(socket, text));
    const client: ServedClient = { socket, session, unfed: NOTHING, turn: undefined };
    this.#served.add(client);
    socket.on('data', (bytes: Uint8Array) => this.#receive(client, bytes));
    socket.on('drain', () => this.#receive(client, NOTHING));
    socket.on('end', () => this.#receive(client, NOTHING));
    socket.once('close', () => this.#end(client));
    socket.resume();
  }

  #end(client: ServedClient): void {
    this.#monitor.drop(client.session);
    this.#served.delete(client);
    this.#options.clock.clearTimeout(client.turn);
    const next = this.#waiting.shift();
    if (next !== undefined) this.#serve(next);
  }

  /** Feeds a slice of what came in, if the client reads what comes out; the rest in later turns. */
  #receive(client: ServedClient, bytes: Uint8Array): void {
    const { socket, session } = client;
    const pending = joined(client.unfed, bytes);
    client.unfed = pending;
    if (client.turn !== undefined || socket.destroyed) return;
    if (socket.writableLength < OUTBOUND_SOFT_BYTES) {
      client.unfed = pending.subarray(SLICE_BYTES);
      socket.cork();
      session.feed(pending.subarray(0, SLICE_BYTES));
      socket.uncork();
    }
    if (client.unfed.length > 0) this.#awaitTurn(client);
    else if (socket.readableEnded) socket.end();
    else socket.resume();
  }

  /** Where the client does not read, its next turn comes when it has. */
  #awaitTurn(client: ServedClient): void {
    client.socket.pause();
    if (client.socket.writableLength >= OUTBOUND_SOFT_BYTES) return;
    client.turn = this.#options.clock.setTimeout(() => {
      client.turn = undefined;
      this.#receive(client, NOTHING);
    }, 0);
  }

  #write(socket: Socket, text: string): void {
    if (!socket.writable) return;
    socket.write(text, 'latin1');
    if (socket.writableLength > (this.#options.maxOutputBytes ?? MAX_QMP_OUTPUT_BYTES)) {
      this.counters.add('MAX_QMP_OUTPUT_BYTES');
      this.#log.warn({ limit: 'MAX_QMP_OUTPUT_BYTES' }, 'QMP client cut: it does not read');
      socket.destroy();
    }
  }

  #noteError(error: Error): void {
    this.counters.add('socket-errors');
    this.#log.debug({ error: error.message }, 'QMP client connection failed');
  }
}

/** Copies only where there is something on either side: a turn of its own brings nothing new. */
function joined(before: Uint8Array, bytes: Uint8Array): Uint8Array {
  if (bytes.length === 0) return before;
  return before.length === 0 ? bytes : Buffer.concat([before, bytes]);
}
