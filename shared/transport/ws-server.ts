import { lookup } from 'node:dns/promises';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { createServer } from 'node:http';
import { type AddressInfo, isIP, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Server as WebSocketServerOf } from 'ws';
import { WebSocketServer } from 'ws';
import type { Clock } from '../lib/clock.ts';
import type { Counters } from '../lib/counters.ts';
import { SILENT } from '../lib/log.ts';
import type { PeerLogs } from '../lib/peer-log.ts';
import { LISTEN_BACKLOG, MAX_HTTP_HEADER_BYTES, MAX_HTTP_HEADERS } from '../limits.ts';
import type { HttpErrorName } from '../protocol/errors.ts';
import { PROTOCOL_ERRORS } from '../protocol/errors.ts';
import { HEALTH_PATH, SUBPROTOCOL } from '../protocol/messages.ts';
import { ConnectionGuard } from './connection-guard.ts';
import { type Tickets, TokenCheck } from './credentials.ts';
import { type Protection, requireSafeListen } from './exposure.ts';
import { compileFloodWatch } from './flood-watch.ts';
import type { InboundRate } from './inbound-queue.ts';
import type { Link } from './link.ts';
import { DEFAULT_SERVER_LIMITS, type ServerLimits } from './server-limits.ts';
import type { TransportCounter } from './transport-counters.ts';
import { checkRequest, checkUpgrade, httpRefusal, type RequestPolicy } from './upgrade-check.ts';
import { answerBare, listenFailure, plainError, requestError } from './ws-answers.ts';
import { WsLink } from './ws-link.ts';
import { PuffWebSocket, WEBSOCKET_LIMITS } from './ws-socket.ts';
import { createTlsServer, type TlsIdentity } from './ws-tls.ts';

export interface WsServerOptions {
  readonly clock: Clock;
  readonly counters: Counters<TransportCounter>;
  /** Gets each new link and must start it before it returns (HostAcceptor.accept does). */
  onLink(link: Link): void;
  /** Origins whose pages may connect; a guest process sends no Origin. */
  readonly allowedOrigins?: readonly string[];
  /** What every request must carry; without it whoever reaches the port may come in. */
  readonly token?: string | undefined;
  /** What an upgrade may carry instead. */
  readonly tickets?: Tickets | undefined;
  /** Certificate and key of the port; without them it is plain HTTP. */
  readonly tls?: TlsIdentity | undefined;
  /** Other machines may connect without TLS. */
  readonly insecure?: boolean;
  readonly limits?: Partial<ServerLimits>;
  /** What is told at HEALTH_PATH; without it there is no such path. */
  health?(): object;
  readonly logs?: PeerLogs;
}

/** Connections beyond `connections` that are told so; more are dropped by the system's accept. */
const REFUSED_AT_ONCE = 64;

/**
 * The host's port: an HTTP server that answers everything but a proper upgrade with an error by
 * name, and hands out links. A handshake is pending until the first frame came in; that is the
 * bound on half-open peers. Impure: sockets. Not done here: the hello.
 */
export class WsServer {
  readonly #options: WsServerOptions;
  readonly #limits: ServerLimits;
  readonly #policy: RequestPolicy;
  readonly #rate: InboundRate;
  readonly #guard: ConnectionGuard;
  readonly #http: Server;
  readonly #webSockets: WebSocketServerOf<typeof PuffWebSocket>;
  /** Each link that has not ended, with the promise of its end. */
  readonly #links = new Map<WsLink, Promise<void>>();
  readonly #pending = new Set<WsLink>();
  /** Connections beyond a limit, whose request will be answered with its name. */
  readonly #beyond = new WeakMap<Duplex, HttpErrorName>();

  /** Throws TlsError when certificate and key are of no use. */
  constructor(options: WsServerOptions) {
    const { token, tickets, allowedOrigins = [] } = options;
    const check = token === undefined ? undefined : new TokenCheck(token);
    this.#options = options;
    this.#limits = { ...DEFAULT_SERVER_LIMITS, ...options.limits };
    this.#policy = { allowedOrigins, token: check, tickets };
    this.#rate = { ...this.#limits, floodWatch: compileFloodWatch(this.#limits.floodMs) };
    this.#guard = new ConnectionGuard(this.#limits, options.clock);
    this.#http = this.#newHttpServer();
    this.#webSockets = new WebSocketServer({
      ...WEBSOCKET_LIMITS,
      noServer: true,
      clientTracking: false,
      handleProtocols: () => SUBPROTOCOL,
      WebSocket: PuffWebSocket,
    });
    this.#webSockets.on('wsClientError', (_error, socket) => this.#refuse(socket, 'bad-upgrade'));
  }

  /** Links that have not ended. */
  get linkCount(): number {
    return this.#links.size;
  }

  /** How much of each limit is in use. */
  get usage(): Readonly<Record<string, { readonly now: number; readonly max: number }>> {
    const { connections, pendingHandshakes } = this.#limits;
    return {
      MAX_CONNECTIONS: { now: this.#guard.count, max: connections },
      MAX_PENDING_HANDSHAKES: { now: this.#pending.size, max: pendingHandshakes },
    };
  }

  /** Links from which no frame came yet. */
  get pendingCount(): number {
    return this.#pending.size;
  }

  /**
   * Listens and resolves to the port (`port` 0 takes a free one). Rejects with one line that says
   * what to change when the address is in use, not ours, not to be had, or no address, and with
   * ExposureError when others could reach a port that is not protected.
   */
  async listen(host: string, port: number): Promise<number> {
    const failure = (error: Error & { code?: string }): Error => {
      return new Error(listenFailure(error, host, port), { cause: error });
    };
    const address = await addressToListen(host).catch((error) => Promise.reject(failure(error)));
    requireSafeListen(address, this.#protection);
    return new Promise((resolve, reject) => {
      const failed = (error: Error): void => reject(failure(error));
      this.#http.once('error', failed);
      try {
        this.#http.listen({ host: address, port, backlog: LISTEN_BACKLOG }, () => {
          this.#http.off('error', failed);
          // A listening socket fails for want of descriptors; those already open go on.
          this.#http.on('error', () => this.#options.counters.add('connections_dropped'));
          resolve((this.#http.address() as AddressInfo).port);
        });
      } catch (error) {
        failed(error as Error);
      }
    });
  }

  /**
   * Stops listening, closes all links with `host-going` and resolves when they have ended, which
   * takes CLOSE_TIMEOUT_MS at most. May be called again.
   */
  async close(): Promise<void> {
    const { close: code } = PROTOCOL_ERRORS['host-going'];
    const gone = [...this.#links.values()];
    for (const link of this.#links.keys()) link.close(code, 'host-going');
    const closed = new Promise((resolve) => this.#http.close(resolve));
    this.#http.closeAllConnections();
    await Promise.all([closed, ...gone]);
  }

  get #protection(): Protection {
    const { token, tls, insecure = false } = this.#options;
    return { hasToken: token !== undefined, hasTls: tls !== undefined, insecure };
  }

  #newHttpServer(): Server {
    const { tls, counters } = this.#options;
    const { headersTimeoutMs, requestTimeoutMs, checkIntervalMs, connections } = this.#limits;
    const options = {
      headersTimeout: headersTimeoutMs,
      requestTimeout: requestTimeoutMs,
      connectionsCheckingInterval: checkIntervalMs,
      maxHeaderSize: MAX_HTTP_HEADER_BYTES,
    };
    const http = tls === undefined ? createServer(options) : createTlsServer(tls, options);
    // Node leaves out what is beyond; with one more the request can be seen to have too many.
    http.maxHeadersCount = MAX_HTTP_HEADERS + 1;
    http.maxConnections = connections + REFUSED_AT_ONCE;
    http.on('drop', () => {
      counters.add('MAX_CONNECTIONS');
      counters.add('connections_dropped');
    });
    http.on('connection', (socket: Socket) => this.#connected(socket));
    http.on('request', (request, response) => this.#answer(request, response));
    http.on('upgrade', (request, socket, head) => this.#upgrade(request, socket, head));
    http.on('clientError', (error, socket) => this.#requestFailed(error, socket));
    http.on('tlsClientError', () => counters.add('tls_failed'));
    return http;
  }

  /**
   * Counts a connection. One that is beyond a limit may still make its request, to be told why it
   * is refused; under TLS that would cost a handshake, so it is cut.
   */
  #connected(socket: Socket): void {
    const { counters, tls } = this.#options;
    const address = socket.remoteAddress;
    if (address === undefined) {
      socket.destroy();
      return;
    }
    counters.add('connections_opened');
    const beyond = this.#guard.entered(address);
    socket.once('close', () => {
      counters.add('connections_ended');
      this.#guard.left(address);
    });
    if (beyond === undefined) return;
    this.#count(beyond, address);
    if (tls === undefined) this.#beyond.set(socket, beyond);
    else socket.destroy();
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const beyond = this.#beyond.get(socket);
    const wrong = beyond ?? checkUpgrade(request, this.#policy);
    if (beyond !== undefined) answerBare(socket, beyond);
    else if (wrong !== undefined) this.#refuse(socket, wrong);
    else if (this.#pending.size >= this.#limits.pendingHandshakes) {
      this.#refuse(socket, 'MAX_PENDING_HANDSHAKES');
    } else {
      this.#webSockets.handleUpgrade(request, socket, head, (webSocket) => {
        this.#accept(webSocket, socket, addressOf(socket));
      });
    }
  }

  #accept(webSocket: PuffWebSocket, stream: Duplex, address: string): void {
    const { clock, counters, onLink, logs } = this.#options;
    let resolveGone = (): void => {};
    const gone = new Promise<void>((resolve) => {
      resolveGone = resolve;
    });
    const link: WsLink = new WsLink({
      socket: webSocket,
      side: 'host',
      clock,
      counters,
      rate: this.#rate,
      onFirstFrame: () => this.#pending.delete(link),
      onGone: ({ code, reason, byPeer }) => {
        this.#pending.delete(link);
        this.#links.delete(link);
        logs?.of(address).info({ peer: address, code, reason, byPeer }, 'a link ended');
        resolveGone();
      },
    });
    link.cork(stream);
    this.#links.set(link, gone);
    this.#pending.add(link);
    onLink(link);
  }

  /** Plain requests: how the host is, what this port is, or that the path is wrong. */
  #answer(request: IncomingMessage, response: ServerResponse): void {
    const { health } = this.#options;
    const { socket, url, method } = request;
    const beyond = this.#beyond.get(socket);
    const isHealth = url === HEALTH_PATH && health !== undefined;
    const wrong = beyond ?? checkRequest(request, this.#policy) ?? plainError(request, isHealth);
    if (wrong === undefined && health !== undefined) {
      const body = `${JSON.stringify(health())}\n`;
      const headers = { 'Content-Type': 'application/json', 'Cache-Control': 'no-store' };
      response.writeHead(200, { ...headers, Connection: 'close' }).end(body);
      return;
    }
    const name = wrong ?? 'upgrade-required';
    if (beyond === undefined) this.#count(name, addressOf(socket));
    const { status, headers, body } = httpRefusal(name);
    response.writeHead(status, headers).end(method === 'HEAD' ? undefined : body);
  }

  /** What Node's HTTP parser and its timeouts refuse. A broken connection needs no answer. */
  #requestFailed(error: Error & { code?: string }, socket: Duplex): void {
    const name = requestError(error.code);
    if (name === undefined) socket.destroy();
    else this.#refuse(socket, name);
  }

  #refuse(socket: Duplex, name: HttpErrorName): void {
    this.#count(name, addressOf(socket));
    answerBare(socket, name);
  }

  #count(name: HttpErrorName, address: string): void {
    const { counters, logs } = this.#options;
    counters.add(name);
    const log = logs?.of(address) ?? SILENT;
    log.info({ peer: address, error: name }, 'a request was refused');
  }
}

/** A name is looked up once: what was judged is what is listened on. */
async function addressToListen(host: string): Promise<string> {
  return isIP(host) === 0 ? (await lookup(host)).address : host;
}

/** Before TLS and behind it the remote address is that of the same peer. */
function addressOf(socket: Duplex): string {
  return (socket as Socket).remoteAddress ?? 'gone';
}
