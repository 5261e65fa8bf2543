import { createConnection, type Socket } from 'node:net';
import { JsonReader } from '../host/control/qmp/json-reader.ts';
import {
  isJsonObject,
  type Json,
  JsonDouble,
  type JsonObject,
  type JsonValue,
} from '../host/control/qmp/json-value.ts';
import { writeJson } from '../host/control/qmp/json-writer.ts';
import { assert } from '../shared/lib/assert.ts';

/**
 * A small QMP client for the command line, scenarios and tests: Puff's own or QEMU's monitor at the
 * other end. Integers beyond 2^53, such as unset statistics, come back as bigint.
 *
 * Not emulated: timeouts, reconnecting, out-of-band commands.
 */

/** JSON as a program wants it: objects as plain objects, doubles as numbers. */
export type PlainJson =
  | null
  | boolean
  | number
  | bigint
  | string
  | PlainJson[]
  | { [member: string]: PlainJson };

export interface QmpEvent {
  readonly event: string;
  readonly data: { readonly [member: string]: PlainJson };
  /** Microseconds since the epoch, 0 if the server sent no time stamp. */
  readonly timestampUs: number;
}

export interface QmpGreeting {
  readonly version: { readonly major: number; readonly minor: number; readonly micro: number };
  readonly package: string;
  readonly capabilities: readonly string[];
}

/** The server's refusal of one command. */
export class QmpError extends Error {
  override readonly name = 'QmpError';
  /** GenericError, CommandNotFound, DeviceNotActive, DeviceNotFound, KVMMissingCap. */
  readonly errorClass: string;
  readonly desc: string;

  constructor(errorClass: string, desc: string) {
    super(`${desc} (${errorClass})`);
    this.errorClass = errorClass;
    this.desc = desc;
  }
}

/** The connection failed, ended or carried something that is no QMP. */
export class QmpConnectionError extends Error {
  override readonly name = 'QmpConnectionError';
}

export interface QmpConnectOptions {
  /** Sends qmp_capabilities before the promise resolves; default true. */
  readonly negotiate?: boolean;
}

interface Pending {
  resolve(result: PlainJson): void;
  reject(error: Error): void;
}

/** A reply as it came, for requests sent with `sendRaw`. */
export type RawReply = { readonly [member: string]: PlainJson };

export class QmpClient {
  readonly #socket: Socket;
  readonly #reader: JsonReader;
  readonly #pending = new Map<number, Pending>();
  readonly #eventListeners = new Set<(event: QmpEvent) => void>();
  readonly #replyListeners = new Set<(reply: RawReply) => void>();
  readonly #closed: Promise<void>;
  #greeting: QmpGreeting | undefined;
  #onGreeting: Pending | undefined;
  #nextId = 1;
  #failure: QmpConnectionError | undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.#reader = new JsonReader({
      value: (value) => this.#receive(value),
      fault: (message) => this.#fail(`the server sent no JSON: ${message}`),
    });
    socket.on('data', (bytes: Uint8Array) => this.#reader.feed(bytes));
    socket.on('error', (error) => this.#fail(error.message));
    this.#closed = new Promise((resolve) => {
      socket.once('close', () => {
        this.#fail('the connection is closed');
        resolve();
      });
    });
  }

  /** Resolves once the greeting is here. Rejects with QmpConnectionError. */
  static connect(target: string | { host: string; port: number }): Promise<QmpClient> {
    const socket = typeof target === 'string' ? createConnection(target) : createConnection(target);
    const client = new QmpClient(socket);
    return new Promise((resolve, reject) => {
      client.#onGreeting = { resolve: () => resolve(client), reject };
    });
  }

  get greeting(): QmpGreeting {
    assert(this.#greeting !== undefined, 'a QMP client is handed out after its greeting');
    return this.#greeting;
  }

  /** Resolves with `return`. Rejects with QmpError, or QmpConnectionError if the link is lost. */
  execute(command: string, args?: Json): Promise<PlainJson> {
    const id = this.#nextId++;
    const request = { execute: command, id };
    return new Promise((resolve, reject) => {
      if (this.#failure !== undefined) {
        reject(this.#failure);
        return;
      }
      this.#pending.set(id, { resolve, reject });
      this.sendRaw(writeJson(args === undefined ? request : { ...request, arguments: args }));
    });
  }

  /** Sends text or bytes as they stand. Replies without an id of ours go to `onReply`. */
  sendRaw(bytes: string | Uint8Array): void {
    if (this.#socket.writable) this.#socket.write(bytes);
  }

  /** Calls `listener` for each event; returns the unsubscribe function. */
  onEvent(listener: (event: QmpEvent) => void): () => void {
    this.#eventListeners.add(listener);
    return () => this.#eventListeners.delete(listener);
  }

  /** Calls `listener` for each reply to something sent with `sendRaw`. */
  onReply(listener: (reply: RawReply) => void): () => void {
    this.#replyListeners.add(listener);
    return () => this.#replyListeners.delete(listener);
  }

  /** Events from now on, until the connection ends or the loop is left. */
  async *events(): AsyncGenerator<QmpEvent, void, undefined> {
    const queue: QmpEvent[] = [];
    let wake = (): void => {};
    const unsubscribe = this.onEvent((event) => {
      queue.push(event);
      wake();
    });
    void this.#closed.then(() => wake());
    try {
      for (;;) {
        const event = queue.shift();
        if (event !== undefined) yield event;
        else if (this.#failure !== undefined) return;
        else {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
      }
    } finally {
      unsubscribe();
    }
  }

  /** Ends the connection; commands still under way are rejected. */
  close(): Promise<void> {
    this.#socket.destroySoon();
    return this.#closed;
  }

  #receive(value: JsonValue): void {
    if (!isJsonObject(value)) {
      this.#fail('the server sent no object');
      return;
    }
    const message = toPlain(value) as RawReply;
    if (this.#greeting === undefined) this.#receiveGreeting(message);
    else if ('event' in message) this.#receiveEvent(message);
    else this.#receiveReply(message);
  }

  #receiveGreeting(message: RawReply): void {
    const greeting = parseGreeting(message);
    if (greeting === undefined) {
      this.#fail('the server sent no QMP greeting');
      return;
    }
    this.#greeting = greeting;
    this.#onGreeting?.resolve(null);
    this.#onGreeting = undefined;
  }

  #receiveEvent({ event, data, timestamp }: RawReply): void {
    const time = member(timestamp, 'seconds', 0) * 1_000_000 + member(timestamp, 'microseconds', 0);
    const received: QmpEvent = {
      event: String(event),
      data: isPlainObject(data) ? data : {},
      timestampUs: time,
    };
    for (const listener of [...this.#eventListeners]) listener(received);
  }

  #receiveReply(message: RawReply): void {
    const pending = typeof message.id === 'number' ? this.#pending.get(message.id) : undefined;
    if (pending === undefined) {
      for (const listener of [...this.#replyListeners]) listener(message);
      return;
    }
    this.#pending.delete(message.id as number);
    const { error } = message;
    if (error === undefined) pending.resolve(message.return ?? null);
    else pending.reject(new QmpError(member(error, 'class', ''), member(error, 'desc', '')));
  }

  /** The first failure counts: it is what every command under way and every later one gets. */
  #fail(reason: string): void {
    if (this.#failure !== undefined) return;
    this.#failure = new QmpConnectionError(reason);
    this.#socket.destroy();
    this.#onGreeting?.reject(this.#failure);
    for (const { reject } of this.#pending.values()) reject(this.#failure);
    this.#pending.clear();
  }
}

/**
 * Connects to a unix socket's path or a TCP address, waits for the greeting and negotiates. A
 * server that serves somebody else keeps the caller waiting. Rejects with QmpConnectionError or,
 * if the negotiation is refused, QmpError.
 */
export async function connectQmp(
  target: string | { host: string; port: number },
  options: QmpConnectOptions = {},
): Promise<QmpClient> {
  const client = await QmpClient.connect(target);
  if (options.negotiate === false) return client;
  try {
    await client.execute('qmp_capabilities');
  } catch (error) {
    await client.close();
    throw error;
  }
  return client;
}

function toPlain(value: JsonValue): PlainJson {
  if (value instanceof JsonDouble) return value.value;
  if (Array.isArray(value)) return value.map(toPlain);
  if (typeof value !== 'object' || value === null) return value;
  // fromEntries defines members, so that one called `__proto__` is a member like others.
  const entries = [...(value as JsonObject)].map(([name, content]) => [name, toPlain(content)]);
  return Object.fromEntries(entries);
}

function isPlainObject(value: PlainJson | undefined): value is { [member: string]: PlainJson } {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A member of the type of `otherwise`, or `otherwise`. */
function member<Value extends string | number>(
  object: PlainJson | undefined,
  name: string,
  otherwise: Value,
): Value {
  const value = isPlainObject(object) ? object[name] : undefined;
  return typeof value === typeof otherwise ? (value as Value) : otherwise;
}

function parseGreeting({ QMP: body }: RawReply): QmpGreeting | undefined {
  if (!isPlainObject(body) || !isPlainObject(body.version)) return undefined;
  const { version, capabilities } = body;
  return {
    version: {
      major: member(version.qemu, 'major', 0),
      minor: member(version.qemu, 'minor', 0),
      micro: member(version.qemu, 'micro', 0),
    },
    package: member(version, 'package', ''),
    capabilities: Array.isArray(capabilities) ? capabilities.map(String) : [],
  };
}
