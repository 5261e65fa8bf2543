import { createActor, setup } from 'xstate';
import type { Machine, MachineEvent } from '../../vmm/machine.ts';
import {
  CAPABILITIES,
  type CommandContext,
  commandNotFound,
  hasCommand,
  NEGOTIATION_COMMAND,
  queryVersion,
  runCommand,
} from './commands.ts';
import { asRefusal, QmpCommandError } from './errors.ts';
import type { JsonLimit } from './json-builder.ts';
import { JsonReader } from './json-reader.ts';
import { isJsonObject, type Json, type JsonValue } from './json-value.ts';
import { writeJson } from './json-writer.ts';
import { parseRequest } from './request.ts';
import type { QmpSettings } from './settings.ts';

/** The phases of one client's connection (qmp-spec, "Capabilities Negotiation"). */
export const qmpSessionStates = setup({
  types: {
    events: {} as { type: 'negotiated' } | { type: 'negotiatedWithOob' } | { type: 'closed' },
  },
}).createMachine({
  id: 'qmp_session',
  initial: 'negotiation',
  states: {
    negotiation: {
      on: { negotiated: 'command', negotiatedWithOob: 'commandWithOob', closed: 'closed' },
    },
    command: { on: { closed: 'closed' } },
    commandWithOob: { on: { closed: 'closed' } },
    closed: { type: 'final' },
  },
});

export interface QmpSessionOptions {
  readonly machine: Machine;
  readonly settings: QmpSettings;
  /** Takes whole lines in printable ASCII, CR LF at their end. */
  readonly output: (text: string) => void;
  /** Told when a request is beyond a limit; the client gets QEMU's text for it. */
  readonly onLimit?: ((limit: JsonLimit) => void) | undefined;
}

/**
 * One QMP client: greeting, negotiation, requests, replies. Bytes go into `feed`, every reply
 * comes out of `output` before `feed` returns, in the order of the requests.
 *
 * Not as in QEMU: a monitor of QEMU's answers an out-of-band request from another thread, possibly
 * before earlier requests. Here no command may run out of band, so only refusals are concerned.
 */
export class QmpSession {
  readonly #options: QmpSessionOptions;
  readonly #actor = createActor(qmpSessionStates);
  readonly #reader: JsonReader;
  readonly #context: CommandContext;

  constructor(options: QmpSessionOptions) {
    this.#options = options;
    this.#reader = new JsonReader({
      value: (value) => this.#answer(value),
      fault: (message) => this.#replyError(new QmpCommandError(message), undefined),
      limit: (limit) => options.onLimit?.(limit),
    });
    this.#context = {
      machine: options.machine,
      settings: options.settings,
      negotiate: (capabilities) => this.#negotiate(capabilities),
    };
    this.#actor.start();
  }

  get state(): 'negotiation' | 'command' | 'commandWithOob' | 'closed' {
    return this.#actor.getSnapshot().value;
  }

  /** Sends the greeting. Call once, before anything is fed. */
  greet(): void {
    const version = queryVersion(this.#options.settings);
    this.#send({ QMP: { version, capabilities: CAPABILITIES } });
  }

  /** Takes the next bytes of the client, wherever they are cut. */
  feed(bytes: Uint8Array): void {
    this.#reader.feed(bytes);
  }

  /** Passes an event on; before negotiation ends a client hears of none. */
  deliver(event: MachineEvent): void {
    if (this.state === 'negotiation') return;
    const microseconds = Math.round(event.wallMs * 1000);
    const timestamp = {
      seconds: Math.floor(microseconds / 1_000_000),
      microseconds: microseconds % 1_000_000,
    };
    const data = event.data === undefined ? {} : { data: event.data as Json };
    this.#send({ event: event.event, timestamp, ...data });
  }

  /** The client is gone: nothing is written any more, nothing it sent is answered. */
  close(): void {
    if (this.state !== 'closed') this.#actor.send({ type: 'closed' });
  }

  #answer(value: JsonValue): void {
    if (this.state === 'closed') return;
    const id = isJsonObject(value) ? value.get('id') : undefined;
    try {
      const result = this.#dispatch(value);
      this.#send(id === undefined ? { return: result } : { return: result, id });
    } catch (error) {
      this.#replyError(asRefusal(error), id);
    }
  }

  #dispatch(value: JsonValue): Json {
    const request = parseRequest(value, this.state === 'commandWithOob');
    if (this.state === 'negotiation' && request.command !== NEGOTIATION_COMMAND) {
      throw new QmpCommandError(
        `Expecting capabilities negotiation with '${NEGOTIATION_COMMAND}'`,
        'CommandNotFound',
      );
    }
    const { dialect } = this.#options.settings;
    if (!hasCommand(dialect, request.command)) throw commandNotFound(request.command);
    if (request.outOfBand) {
      throw new QmpCommandError(`The command ${request.command} does not support OOB`);
    }
    return runCommand(request.command, request.arguments, this.#context);
  }

  #negotiate(capabilities: readonly string[]): void {
    if (this.state !== 'negotiation') {
      throw new QmpCommandError(
        'Capabilities negotiation is already complete, command ignored',
        'CommandNotFound',
      );
    }
    const withOob = capabilities.includes('oob');
    this.#actor.send({ type: withOob ? 'negotiatedWithOob' : 'negotiated' });
  }

  #replyError(error: QmpCommandError, id: JsonValue | undefined): void {
    const reply = { error: { class: error.errorClass, desc: error.message } };
    this.#send(id === undefined ? reply : { ...reply, id });
  }

  #send(message: Json): void {
    if (this.state !== 'closed') this.#options.output(`${writeJson(message)}\r\n`);
  }
}
