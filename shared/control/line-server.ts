import { createServer, type Server, type Socket } from 'node:net';
import { z } from 'zod';
import type { Clock } from '../lib/clock.ts';
import { Counters } from '../lib/counters.ts';
import { RealClock } from '../lib/real-clock.ts';
import {
  CLOSE_TIMEOUT_MS,
  MAX_CONTROL_CLIENTS,
  MAX_CONTROL_LINE_BYTES,
  MAX_CONTROL_REQUESTS_PER_SECOND,
} from '../limits.ts';
import { RateLimit } from '../transport/rate-limit.ts';
import { issueText } from './issues.ts';
import { LineTooLong, readLines } from './lines.ts';
import { listen } from './listen.ts';

/** Answers one request; what it throws becomes the error text of the answer. */
export type RequestHandler<Request> = (request: Request) => unknown;

/** A mistake of the caller, to be told in one line. */
export class ControlError extends Error {
  override readonly name = 'ControlError';
}

/** Clients that were served and their requests, then each limit under its name. */
const COUNTERS = [
  'clients',
  'requests',
  'MAX_CONTROL_CLIENTS',
  'MAX_CONTROL_REQUESTS_PER_SECOND',
  'MAX_CONTROL_LINE_BYTES',
] as const;
export type ControlCounter = (typeof COUNTERS)[number];

export interface LineServerOptions {
  /** The machine's when left out. */
  readonly clock?: Clock;
  /** Other limits for tests. */
  readonly maxClients?: number;
  readonly requestsPerSecond?: number;
}

/** Clients beyond the limit that are told so; more are dropped by the system's accept. */
const REFUSED_AT_ONCE = 64;

/**
 * Serves the control channel's lines on a unix socket. Each client's requests are answered one
 * after the other, and no more is read from one that does not read its answers, or for a while from
 * one that asks faster than it may: nothing of what it asks is lost. A client that ends its side
 * still gets the answers it has coming. Impure: opens a socket, makes a clock where it gets none.
 */
export class LineServer<Request> {
  readonly path: string;
  readonly counters = new Counters<ControlCounter>(COUNTERS);
  readonly #schema: z.ZodType<Request>;
  readonly #handler: RequestHandler<Request>;
  readonly #clock: Clock;
  readonly #maxClients: number;
  readonly #requestsPerSecond: number;
  readonly #clients = new Set<Socket>();
  readonly #refused = new Set<Socket>();
  readonly #server: Server;

  constructor(
    path: string,
    schema: z.ZodType<Request>,
    handler: RequestHandler<Request>,
    options: LineServerOptions = {},
  ) {
    this.path = path;
    this.#schema = schema;
    this.#handler = handler;
    this.#clock = options.clock ?? new RealClock();
    this.#maxClients = options.maxClients ?? MAX_CONTROL_CLIENTS;
    this.#requestsPerSecond = options.requestsPerSecond ?? MAX_CONTROL_REQUESTS_PER_SECOND;
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#accept(socket));
    this.#server.maxConnections = this.#maxClients + REFUSED_AT_ONCE;
    this.#server.on('drop', () => this.counters.add('MAX_CONTROL_CLIENTS'));
  }

  /** Resolves when clients can connect. Throws ListenError: one line that says what to do. */
  listen(): Promise<void> {
    return listen(this.#server, this.path);
  }

  /** Cuts all clients, removes the socket file; requests under way get no answer. */
  async close(): Promise<void> {
    for (const socket of [...this.#clients, ...this.#refused]) socket.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  #accept(socket: Socket): void {
    // A client that goes away in the middle of an answer is its own business.
    socket.on('error', () => socket.destroy());
    if (this.#clients.size >= this.#maxClients) this.#refuse(socket);
    else void this.#serve(socket);
  }

  /** What it sends is not looked at; it is cut if it stays. */
  #refuse(socket: Socket): void {
    this.counters.add('MAX_CONTROL_CLIENTS');
    this.#refused.add(socket);
    const timeout = this.#clock.setTimeout(() => socket.destroy(), CLOSE_TIMEOUT_MS);
    socket.once('close', () => {
      this.#clock.clearTimeout(timeout);
      this.#refused.delete(socket);
    });
    socket.end(refusal(`MAX_CONTROL_CLIENTS: it serves ${this.#maxClients} clients already`));
    socket.resume();
  }

  async #serve(socket: Socket): Promise<void> {
    this.counters.add('clients');
    this.#clients.add(socket);
    socket.setEncoding('utf8');
    socket.once('close', () => this.#clients.delete(socket));
    try {
      for await (const answer of this.#answers(socket)) {
        if (!socket.write(answer)) await drained(socket);
      }
      socket.destroySoon();
    } catch {
      socket.destroy();
    }
  }

  async *#answers(socket: Socket): AsyncGenerator<string, void, undefined> {
    const messagesPerSecond = this.#requestsPerSecond;
    const rate = { messagesPerSecond, bytesPerSecond: Number.POSITIVE_INFINITY };
    const limit = new RateLimit(rate, this.#clock);
    const chunks: AsyncIterable<string> = socket.iterator({ destroyOnReturn: false });
    try {
      for await (const line of readLines(chunks, MAX_CONTROL_LINE_BYTES)) {
        if (!(await this.#mayGoOn(socket, limit))) return;
        if (line.trim() === '') continue;
        this.counters.add('requests');
        yield `${JSON.stringify(await this.#answer(line))}\n`;
      }
    } catch (error) {
      if (!(error instanceof LineTooLong)) throw error;
      this.counters.add('MAX_CONTROL_LINE_BYTES');
      yield refusal(`MAX_CONTROL_LINE_BYTES: ${error.message}`);
    }
  }

  /** Resolves once the client may have its next line answered; false when it left meanwhile. */
  async #mayGoOn(socket: Socket, limit: RateLimit): Promise<boolean> {
    while (!limit.take(0)) {
      this.counters.add('MAX_CONTROL_REQUESTS_PER_SECOND');
      await pause(socket, this.#clock, limit.waitMs);
      if (socket.destroyed) return false;
    }
    return true;
  }

  async #answer(line: string): Promise<object> {
    let id: unknown;
    try {
      const json: unknown = JSON.parse(line);
      id = (json as { id?: unknown } | null)?.id;
      const result = await this.#handler(this.#schema.parse(json));
      return { ok: true, result: result ?? null, id };
    } catch (error) {
      return { ok: false, error: describe(error), id };
    }
  }
}

/** The line for a client that is let go: nothing that it asked is answered with it. */
function refusal(error: string): string {
  return `${JSON.stringify({ ok: false, error })}\n`;
}

/** Resolves after that time, or when the client is gone. */
function pause(socket: Socket, clock: Clock, ms: number): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clock.clearTimeout(timer);
      socket.off('close', done);
      resolve();
    };
    const timer = clock.setTimeout(done, ms);
    socket.on('close', done);
  });
}

/** Resolves when the client has read what was written, or is gone. */
function drained(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      socket.off('drain', done).off('close', done);
      resolve();
    };
    if (socket.destroyed) resolve();
    else socket.on('drain', done).on('close', done);
  });
}

function describe(error: unknown): string {
  if (error instanceof z.ZodError) return issueText(error);
  if (error instanceof SyntaxError) return `not a line of JSON: ${error.message}`;
  return error instanceof Error ? error.message : String(error);
}
