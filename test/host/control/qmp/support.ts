import { readFileSync } from 'node:fs';
import type { Json } from '../../../../host/control/qmp/json-value.ts';
import { writeJson } from '../../../../host/control/qmp/json-writer.ts';
import { QmpSession } from '../../../../host/control/qmp/session.ts';
import { DEFAULT_QMP_SETTINGS, type QmpSettings } from '../../../../host/control/qmp/settings.ts';
import { FakeMachine } from '../../../support/fake-machine.ts';

/** What the recorded QEMU says it is. */
export const RECORDED_SETTINGS: QmpSettings = {
  ...DEFAULT_QMP_SETTINGS,
  package: 'Debian 1:7.2+dfsg-7+deb12u18+b3',
};

export function bytes(text: string): Uint8Array {
  return Buffer.from(text, 'utf8');
}

/** A client of one session: what it sends and, line by line, what it gets. */
export class TestClient {
  readonly machine: FakeMachine;
  readonly session: QmpSession;
  readonly #lines: string[] = [];

  constructor(machine = new FakeMachine(), settings: QmpSettings = RECORDED_SETTINGS) {
    this.machine = machine;
    this.session = new QmpSession({ machine, settings, output: (text) => this.#lines.push(text) });
    this.session.greet();
  }

  /** A client with negotiation behind it. */
  static ready(
    machine = new FakeMachine(),
    capabilities: readonly string[] = [],
    settings = RECORDED_SETTINGS,
  ): TestClient {
    const client = new TestClient(machine, settings);
    client.send({ execute: 'qmp_capabilities', arguments: { enable: capabilities } });
    client.taken();
    return client;
  }

  /** The lines since the last call, each without its CR LF. */
  taken(): string[] {
    return this.#lines.splice(0).map((line) => {
      if (!/^[ -~]*\r\n$/.test(line)) throw new Error(`not one line of ASCII: ${line}`);
      return line.slice(0, -2);
    });
  }

  /** Feeds text as it stands; returns the lines it caused. */
  raw(text: string | Uint8Array): string[] {
    this.session.feed(typeof text === 'string' ? bytes(text) : text);
    return this.taken();
  }

  send(request: Json): string[] {
    return this.raw(writeJson(request));
  }

  /** Runs one command; returns the only line. */
  execute(command: string, args?: Json): string {
    const lines = this.send(
      args === undefined ? { execute: command } : { execute: command, arguments: args },
    );
    if (lines.length !== 1) throw new Error(`${command}: ${lines.length} lines`);
    return lines[0];
  }
}

export function errorLine(desc: string, errorClass = 'GenericError'): string {
  return `{"error": {"class": "${errorClass}", "desc": "${desc}"}}`;
}

/** One line of a recorded qmp.jsonl. */
export interface RecordedLine {
  readonly isRequest: boolean;
  /** The bytes QEMU wrote (without CR LF) or the client sent, exactly. */
  readonly text: string;
}

/** The recordings keep QEMU's member order and spacing, so a message's text is QEMU's line. */
export function recordedLines(name: string): RecordedLine[] {
  const path = new URL(`../../../../lab/recordings/${name}/qmp.jsonl`, import.meta.url);
  return readFileSync(path, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => {
      const message = /^\{"t": [0-9.]+, "dir": "([<>])", "msg": (.*)\}$/.exec(line);
      if (message !== null) return { isRequest: message[1] === '>', text: message[2] };
      return { isRequest: true, text: (JSON.parse(line) as { raw: string }).raw };
    });
}

/** The recorded transcript of a connection from its first byte on. */
export function recordedNegotiation(): RecordedLine[] {
  const path = new URL(
    '../../../../lab/recordings/qmp-errors-512m/negotiation.json',
    import.meta.url,
  );
  const turns = JSON.parse(readFileSync(path, 'utf8')) as [string, string][];
  return turns.map(([direction, text]) => ({ isRequest: direction === '>', text }));
}
