import { once } from 'node:events';
import { request } from 'node:http';
import type { Socket } from 'node:net';
import { connect } from 'node:net';
import { WebSocket } from 'ws';
import type { Clock } from '../../../shared/lib/clock.ts';
import type { Counters } from '../../../shared/lib/counters.ts';
import { RealClock } from '../../../shared/lib/real-clock.ts';
import type { Message } from '../../../shared/protocol/messages.ts';
import { ENDPOINT_PATH, SUBPROTOCOL } from '../../../shared/protocol/messages.ts';
import type { Link, LinkEnd } from '../../../shared/transport/link.ts';
import type { TransportCounter } from '../../../shared/transport/transport-counters.ts';
import { transportCounters } from '../../../shared/transport/transport-counters.ts';
import { dial } from '../../../shared/transport/ws-client.ts';
import { WsServer, type WsServerOptions } from '../../../shared/transport/ws-server.ts';

/** A link whose owner is a test: what it was told, and a way to wait for it. */
export class Heard {
  readonly messages: Message[] = [];
  readonly dropped: number[] = [];
  opened = false;
  messagesBeforeOpen = 0;
  readonly link: Link;
  readonly end: Promise<LinkEnd>;
  onMessage: (message: Message) => void = () => {};
  readonly #waiting: { count: number; done: () => void }[] = [];
  readonly open: Promise<void>;

  constructor(link: Link) {
    this.link = link;
    let resolveOpen = (): void => {};
    let resolveEnd = (_end: LinkEnd): void => {};
    this.open = new Promise((resolve) => {
      resolveOpen = resolve;
    });
    this.end = new Promise((resolve) => {
      resolveEnd = resolve;
    });
    link.start({
      onOpen: () => {
        this.opened = true;
        resolveOpen();
      },
      onMessage: (message) => {
        this.messages.push(copyOf(message));
        if (!this.opened) this.messagesBeforeOpen++;
        this.onMessage(message);
        for (const { count, done } of this.#waiting) if (this.messages.length >= count) done();
      },
      onDropped: (op) => this.dropped.push(op),
      onEnd: (end) => resolveEnd(end),
    });
  }

  /** Resolves once `count` messages have come in. */
  async until(count: number): Promise<void> {
    if (this.messages.length >= count) return;
    await new Promise<void>((done) => this.#waiting.push({ count, done }));
  }
}

function copyOf(message: Message): Message {
  const values = message.map((value) => (value instanceof Uint8Array ? value.slice() : value));
  return values as unknown as Message;
}

type TestServerOptions = Partial<Omit<WsServerOptions, 'clock' | 'onLink'>>;

/** A real server on a free port; every link it accepts is a Heard. */
export class TestServer {
  readonly counters: Counters<TransportCounter>;
  readonly links: Heard[] = [];
  readonly server: WsServer;
  port = 0;
  readonly #arrivals: ((heard: Heard) => void)[] = [];
  readonly #scheme: string;

  constructor(clock: Clock = new RealClock(), options: TestServerOptions = {}) {
    this.counters = options.counters ?? transportCounters();
    this.#scheme = options.tls === undefined ? 'ws' : 'wss';
    this.server = new WsServer({
      ...options,
      clock,
      counters: this.counters,
      onLink: (link) => {
        const heard = new Heard(link);
        this.links.push(heard);
        this.#arrivals.shift()?.(heard);
      },
    });
  }

  async start(): Promise<this> {
    this.port = await this.server.listen('127.0.0.1', 0);
    return this;
  }

  get url(): string {
    return `${this.#scheme}://127.0.0.1:${this.port}${ENDPOINT_PATH}`;
  }

  /** The next link that is accepted. */
  nextLink(): Promise<Heard> {
    return new Promise((resolve) => this.#arrivals.push(resolve));
  }

  /** Both ends of a new connection, the client's through `dial`. */
  async connect(
    clock: Clock = new RealClock(),
    counters: Counters<TransportCounter> = transportCounters(),
  ): Promise<{ guest: Heard; host: Heard }> {
    const arrival = this.nextLink();
    const guest = new Heard(dial(this.url, { clock, counters }));
    await guest.open;
    return { guest, host: await arrival };
  }

  /** A WebSocket of a peer that is not ours. */
  async raw(options: object = {}): Promise<RawPeer> {
    const arrival = this.nextLink();
    const socket = new WebSocket(this.url, [SUBPROTOCOL], options);
    const peer = new RawPeer(socket);
    await once(socket, 'open');
    peer.host = await arrival;
    return peer;
  }
}

/** A WebSocket client that sends any bytes and records close code and reason. */
export class RawPeer {
  readonly socket: WebSocket;
  readonly frames: Buffer[] = [];
  readonly closed: Promise<{ code: number; reason: string }>;
  host: Heard | undefined;

  /** A peer whose socket is open. */
  static async connect(url: string): Promise<RawPeer> {
    const peer = new RawPeer(new WebSocket(url, [SUBPROTOCOL]));
    await once(peer.socket, 'open');
    return peer;
  }

  get isOpen(): boolean {
    return this.socket.readyState === WebSocket.OPEN;
  }

  constructor(socket: WebSocket) {
    this.socket = socket;
    socket.on('message', (data) => this.frames.push(data as Buffer));
    socket.on('error', () => {});
    this.closed = new Promise((resolve) => {
      socket.on('close', (code, reason) => resolve({ code, reason: reason.toString() }));
    });
  }
}

export interface Answer {
  readonly status: number;
  readonly headers: NodeJS.Dict<string | string[]>;
  readonly body: string;
}

const UPGRADE_HEADERS = {
  Connection: 'Upgrade',
  Upgrade: 'websocket',
  'Sec-WebSocket-Version': '13',
  'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
  'Sec-WebSocket-Protocol': SUBPROTOCOL,
};

/** Sends one HTTP request, by default a proper upgrade; an undefined header is left out. */
export function ask(
  port: number,
  overrides: {
    method?: string;
    path?: string;
    headers?: Record<string, string | undefined>;
    /** Headers sent before all others. */
    before?: Record<string, string>;
  } = {},
): Promise<Answer> {
  const { method = 'GET', path = ENDPOINT_PATH, before = {} } = overrides;
  const merged: Record<string, string | undefined> = {
    ...before,
    ...UPGRADE_HEADERS,
    ...overrides.headers,
  };
  const headers = Object.fromEntries(
    Object.entries(merged).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
  return new Promise((resolve, reject) => {
    const sent = request({ host: '127.0.0.1', port, method, path, headers });
    sent.on('upgrade', (response, socket) => {
      socket.destroy();
      resolve({ status: response.statusCode ?? 0, headers: response.headers, body: '' });
    });
    sent.on('response', (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (text: string) => {
        body += text;
      });
      response.on('end', () => {
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body });
      });
    });
    sent.on('error', reject);
    sent.end();
  });
}

/**
 * A bare socket that was upgraded: for bytes no WebSocket library would send. `rest` goes out
 * together with the request.
 */
export async function upgradedSocket(port: number, rest = Buffer.alloc(0)): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  const lines = Object.entries({ Host: 'x', ...UPGRADE_HEADERS }).map(([k, v]) => `${k}: ${v}`);
  const head = `GET ${ENDPOINT_PATH} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`;
  socket.write(Buffer.concat([Buffer.from(head), rest]));
  const [answer] = (await once(socket, 'data')) as [Buffer];
  if (!answer.toString('latin1').startsWith('HTTP/1.1 101')) throw new Error('no upgrade');
  return socket;
}
