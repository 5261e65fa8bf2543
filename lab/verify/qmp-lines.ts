import { z } from 'zod';
import { checked, parse, readJson, readLines, UnusableRecording } from './files.ts';
import { memberText } from './json-text.ts';
import type { JsonObject, QmpVersion } from './types.ts';

/** Lines of qmp.jsonl. Times are milliseconds since the client connected, to 0.1 ms. */
export type QmpLine = QmpGreeting | QmpRequest | QmpReply | QmpEvent;

export interface QmpGreeting {
  readonly kind: 'greeting';
  readonly tMs: number;
  readonly version: QmpVersion;
}

export interface QmpRequest {
  readonly kind: 'request';
  readonly tMs: number;
  readonly bytes: Uint8Array;
  /** Sent as it stands, perhaps no JSON or a part of it. */
  readonly raw: boolean;
  /** The request, where the bytes are one whole JSON object. */
  readonly message: JsonObject | undefined;
}

export interface QmpReply {
  readonly kind: 'reply';
  readonly tMs: number;
  readonly message: JsonObject;
}

export interface QmpEvent {
  readonly kind: 'event';
  readonly tMs: number;
  readonly name: string;
  readonly data: JsonObject | undefined;
  /** QEMU's wall clock, milliseconds since the epoch. */
  readonly wallMs: number;
}

/** negotiation.json: bytes both ways from connect on, of a machine of its own; it has no times. */
export interface Negotiation {
  readonly version: QmpVersion;
  readonly requests: readonly Uint8Array[];
  /** QEMU's side, greeting first. */
  readonly messages: readonly JsonObject[];
}

const whole = z.number().int();

const GREETING = z.looseObject({
  QMP: z.looseObject({
    version: z.object({
      qemu: z.object({ major: whole, minor: whole, micro: whole }),
      package: z.string(),
    }),
  }),
});

const EVENT = z.looseObject({
  event: z.string(),
  data: z.looseObject({}).optional(),
  timestamp: z.object({ seconds: whole, microseconds: whole }),
});

const MESSAGE = z.looseObject({});

const LINE = z.union([
  z.object({ t: z.number().min(0), dir: z.enum(['<', '>']), msg: MESSAGE }),
  z.object({ t: z.number().min(0), dir: z.literal('>'), raw: z.string() }),
]);

const NEGOTIATION = z.array(z.tuple([z.enum(['<', '>']), z.string()]));

/** Reads qmp.jsonl; throws UnusableRecording. */
export function readQmp(directory: string): QmpLine[] {
  return readLines(directory, 'qmp.jsonl').map(({ text, where }) => {
    const line = checked(LINE, parse(text, where), where);
    const tMs = line.t * 1000;
    if ('raw' in line) return rawRequest(line.raw, tMs);
    const message = line.msg as JsonObject;
    return line.dir === '>' ? request(text, message, tMs) : answer(message, tMs, where);
  });
}

/** Reads negotiation.json if there is one; throws UnusableRecording. */
export function readNegotiation(directory: string): Negotiation | undefined {
  const where = `${directory}/negotiation.json`;
  const transcript = readJson(directory, 'negotiation.json', 'optional');
  if (transcript === undefined) return undefined;
  const lines = checked(NEGOTIATION, transcript, where);
  const texts = (direction: string): string[] =>
    lines.filter((line) => line[0] === direction).map((line) => line[1]);
  const messages = texts('<')
    .join('')
    .split('\n')
    .filter((text) => text.trim() !== '')
    .map((text) => checked(MESSAGE, parse(text, where), where) as JsonObject);
  const { version } = checked(GREETING, messages[0], where).QMP;
  return { version, requests: texts('>').map((text) => Buffer.from(text)), messages };
}

function rawRequest(raw: string, tMs: number): QmpRequest {
  return { kind: 'request', tMs, bytes: Buffer.from(raw), raw: true, message: objectIn(raw) };
}

function objectIn(text: string): JsonObject | undefined {
  try {
    const value: unknown = JSON.parse(text);
    const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
    return isObject ? (value as JsonObject) : undefined;
  } catch {
    return undefined;
  }
}

function request(line: string, message: JsonObject, tMs: number): QmpRequest {
  const bytes = Buffer.from(`${memberText(line, 'msg')}\n`);
  return { kind: 'request', tMs, bytes, raw: false, message };
}

function answer(message: JsonObject, tMs: number, where: string): QmpLine {
  if ('QMP' in message) {
    return { kind: 'greeting', tMs, version: checked(GREETING, message, where).QMP.version };
  }
  if ('event' in message) {
    const { event, data, timestamp } = checked(EVENT, message, where);
    const wallMs = timestamp.seconds * 1000 + timestamp.microseconds / 1000;
    return { kind: 'event', tMs, name: event, data: data as JsonObject | undefined, wallMs };
  }
  if ('return' in message || 'error' in message) return { kind: 'reply', tMs, message };
  throw new UnusableRecording(`${where}: neither greeting, reply nor event`);
}
