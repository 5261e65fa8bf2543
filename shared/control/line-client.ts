import { connect, type Socket } from 'node:net';
import { readLines } from './lines.ts';

/** The other side answered `ok: false`, or could not be reached. */
export class ControlRequestError extends Error {
  override readonly name = 'ControlRequestError';
}

interface Answer {
  readonly ok: boolean;
  readonly result?: unknown;
  readonly error?: string;
}

const CLOSED = 'the control channel was closed';
const STRANGE = 'what answers there is no host or guest';

interface Waiting {
  resolve(result: unknown): void;
  reject(error: Error): void;
}

/** A client of the control channel: requests are answered in order. Impure: opens a socket. */
export class LineClient {
  readonly #socket: Socket;
  readonly #waiting: Waiting[] = [];
  #failure: ControlRequestError | undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setEncoding('utf8');
    socket.on('error', () => this.#fail(CLOSED));
    socket.on('close', () => this.#fail(CLOSED));
    void this.#read();
  }

  /** Rejects with ControlRequestError: one line that says what is there instead. */
  static connect(path: string): Promise<LineClient> {
    return new Promise((resolve, reject) => {
      const socket = connect(path);
      const failed = (error: NodeJS.ErrnoException): void => {
        reject(new ControlRequestError(noConnection(path, error)));
      };
      socket.once('error', failed);
      socket.once('connect', () => {
        socket.off('error', failed);
        resolve(new LineClient(socket));
      });
    });
  }

  /** Sends `{verb, ...}` and resolves with the result. Rejects with ControlRequestError. */
  request<Result>(request: {
    readonly verb: string;
    readonly [name: string]: unknown;
  }): Promise<Result> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== undefined) {
        reject(this.#failure);
        return;
      }
      this.#waiting.push({ resolve: resolve as (result: unknown) => void, reject });
      this.#socket.write(`${JSON.stringify(request)}\n`);
    });
  }

  /** Ends the connection; requests under way and later ones are rejected. */
  close(): void {
    this.#fail(CLOSED);
  }

  async #read(): Promise<void> {
    try {
      for await (const line of readLines(this.#socket)) this.#answer(JSON.parse(line));
    } catch (error) {
      this.#fail(error instanceof SyntaxError ? STRANGE : CLOSED);
    }
  }

  #answer(answer: unknown): void {
    if (!isAnswer(answer)) {
      const isQmp = typeof answer === 'object' && answer !== null && 'QMP' in answer;
      this.#fail(isQmp ? 'that is a QMP monitor; use the path given to --control' : STRANGE);
      return;
    }
    const waiting = this.#waiting.shift();
    const { ok, result, error = 'unknown error' } = answer;
    if (ok) waiting?.resolve(result);
    else if (waiting !== undefined) waiting.reject(new ControlRequestError(error));
    // What it says unasked is why it takes no requests.
    else this.#fail(error);
  }

  /** The first failure counts. */
  #fail(reason: string): void {
    this.#failure ??= new ControlRequestError(reason);
    this.#socket.destroy();
    for (const { reject } of this.#waiting.splice(0)) reject(this.#failure);
  }
}

function isAnswer(value: unknown): value is Answer {
  return typeof value === 'object' && value !== null && 'ok' in value;
}

function noConnection(path: string, { code, message }: NodeJS.ErrnoException): string {
  switch (code) {
    case 'ENOENT':
      return `no socket ${path}; start a host or guest with --control ${path}`;
    case 'ECONNREFUSED':
      return `nobody answers on ${path}: the process that made it is gone`;
    default:
      return `cannot connect to ${path}: ${message}`;
  }
}
