import { createServer, type Server, type Socket } from 'node:net';
import { z } from 'zod';
import { MAX_CONTROL_LINE_BYTES } from '../limits.ts';
import { issueText } from './issues.ts';
import { LineTooLong, readLines } from './lines.ts';
import { listen } from './listen.ts';

/** Answers one request; what it throws becomes the error text of the answer. */
export type RequestHandler<Request> = (request: Request) => unknown;

/** A mistake of the caller, to be told in one line. */
export class ControlError extends Error {
  override readonly name = 'ControlError';
}

/**
 * Serves the control channel's lines on a unix socket. Each client's requests are answered one
 * after the other, and no more is read from one that does not read its answers. A client that ends
 * its side still gets the answers it has coming. Impure: opens a socket.
 */
export class LineServer<Request> {
  readonly path: string;
  readonly #schema: z.ZodType<Request>;
  readonly #handler: RequestHandler<Request>;
  readonly #sockets = new Set<Socket>();
  readonly #server: Server;

  constructor(path: string, schema: z.ZodType<Request>, handler: RequestHandler<Request>) {
    this.path = path;
    this.#schema = schema;
    this.#handler = handler;
    this.#server = createServer({ allowHalfOpen: true }, (socket) => void this.#serve(socket));
  }

  /** Resolves when clients can connect. Throws ListenError: one line that says what to do. */
  listen(): Promise<void> {
    return listen(this.#server, this.path);
  }

  /** Cuts all clients, removes the socket file; requests under way get no answer. */
  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  async #serve(socket: Socket): Promise<void> {
    this.#sockets.add(socket);
    socket.setEncoding('utf8');
    // A client that goes away in the middle of an answer is its own business.
    socket.on('error', () => socket.destroy());
    socket.once('close', () => this.#sockets.delete(socket));
    try {
      for await (const answer of this.#answers(socket.iterator({ destroyOnReturn: false }))) {
        if (!socket.write(answer)) await drained(socket);
      }
      socket.destroySoon();
    } catch {
      socket.destroy();
    }
  }

  async *#answers(chunks: AsyncIterable<string>): AsyncGenerator<string, void, undefined> {
    try {
      for await (const line of readLines(chunks, MAX_CONTROL_LINE_BYTES)) {
        if (line.trim() !== '') yield `${JSON.stringify(await this.#answer(line))}\n`;
      }
    } catch (error) {
      if (!(error instanceof LineTooLong)) throw error;
      yield `${JSON.stringify({ ok: false, error: `MAX_CONTROL_LINE_BYTES: ${error.message}` })}\n`;
    }
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
