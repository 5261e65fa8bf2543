import { InvalidArgumentError, Option } from 'commander';
import { SizeError } from '../../shared/lib/units.ts';
import { MAX_GUESTS, MAX_QMP_CLIENTS } from '../../shared/limits.ts';
import { isGuestId } from '../../shared/protocol/codec.ts';
import { type DeviceOption, DeviceOptionError, parseDevice } from '../device-option.ts';
import { MAX_PAGES } from '../explore/names.ts';
import { parseGuestMemory, parseSwapSize } from '../guest-memory.ts';
import { isLogLevel, LOG_LEVELS } from './logging.ts';

/** Parsers of command-line values: each throws the one line that is printed (exit 2). */

export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

/** HOST:PORT, [IPV6]:PORT or PORT alone for 127.0.0.1. */
export function parseListen(text: string): ListenAddress {
  const match = /^(?:(\[[0-9a-f:]+\]|[^:]+):)?(\d{1,5})$/i.exec(text);
  const port = Number(match?.[2]);
  if (!match || port > 65_535) {
    throw new InvalidArgumentError('write HOST:PORT, for example 127.0.0.1:7420');
  }
  return { host: (match[1] ?? '127.0.0.1').replace(/[[\]]/g, ''), port };
}

/** A path that is given and empty is a variable of a shell that was never set. */
export function parsePath(text: string): string {
  if (text === '') throw new InvalidArgumentError('a path is empty');
  return text;
}

export function parseUrl(text: string): string {
  if (!/^wss?:/i.test(text) || !URL.canParse(text)) {
    throw new InvalidArgumentError('write a URL such as ws://127.0.0.1:7420');
  }
  const { username, password, search } = new URL(text);
  if (username !== '' || password !== '' || search !== '') {
    throw new InvalidArgumentError('a URL has no password or query; see --token-file');
  }
  return text;
}

export function parseMemory(text: string): number {
  return refusing(SizeError, () => parseGuestMemory(text));
}

export function parseSwap(text: string): number {
  return refusing(SizeError, () => parseSwapSize(text));
}

export function parseCount(text: string): number {
  return parseWhole(text, 1, MAX_GUESTS);
}

export function parseQmpClients(text: string): number {
  return parseWhole(text, 1, MAX_QMP_CLIENTS);
}

export function parseFewPages(text: string): number {
  return parseWhole(text, 1, MAX_PAGES);
}

export function parseSeed(text: string): number {
  return parseWhole(text, 0, 0xffff_ffff);
}

function parseWhole(text: string, least: number, most: number): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < least || value > most) {
    throw new InvalidArgumentError(`write a whole number from ${least} to ${most}`);
  }
  return value;
}

export function parseGuestId(text: string): string {
  if (!isGuestId(text)) {
    throw new InvalidArgumentError('an id has 1 to 64 letters, digits, _ . - (it names a file)');
  }
  return text;
}

export function parseLogLevel(text: string): string {
  if (!isLogLevel(text)) throw new InvalidArgumentError(`levels are ${LOG_LEVELS}`);
  return text;
}

/** Names in `choices` only. */
export function parseChoice(choices: readonly string[]): (text: string) => string {
  return (text) => {
    if (!choices.includes(text)) throw new InvalidArgumentError(`one of ${choices.join(', ')}`);
    return text;
  };
}

export interface QemuVersion {
  readonly major: number;
  readonly minor: number;
  readonly micro: number;
}

/** MAJOR.MINOR.MICRO. */
export function parseQemuVersion(text: string): QemuVersion {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);
  if (!match) throw new InvalidArgumentError('write a version such as 7.2.22');
  return { major: Number(match[1]), minor: Number(match[2]), micro: Number(match[3]) };
}

/** `--device`: the parser's refusal as commander prints it. */
export function parseDeviceFlag(text: string): DeviceOption {
  return refusing(DeviceOptionError, () => parseDevice(text));
}

/** `--device-of ID=virtio-balloon-pci,...` for one guest; may be repeated. */
export function parseDeviceOf(
  text: string,
  before: ReadonlyMap<string, DeviceOption> = new Map(),
): ReadonlyMap<string, DeviceOption> {
  const at = text.indexOf('=');
  if (at < 1) throw new InvalidArgumentError('write ID=virtio-balloon-pci,...');
  return new Map([
    ...before,
    [parseGuestId(text.slice(0, at)), parseDeviceFlag(text.slice(at + 1))],
  ]);
}

/** `--epoch`: what a hello can carry. */
export function parseEpoch(text: string): number {
  const epoch = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(epoch)) {
    throw new InvalidArgumentError(`write a whole number from 0 to ${Number.MAX_SAFE_INTEGER}`);
  }
  return epoch;
}

/** `--resume-window`: seconds, fractions allowed, up to a day. */
export function parseResumeWindow(text: string): number {
  const seconds = Number(text);
  if (text.trim() === '' || !(seconds > 0 && seconds <= 86_400)) {
    throw new InvalidArgumentError('write seconds, more than 0 and at most 86400');
  }
  return seconds;
}

/** `--log [level]`, the same for host and guest. */
export function logOption(): Option {
  const about = `JSON log lines on stderr: ${LOG_LEVELS} (default: errors as text; alone: info)`;
  return new Option('--log [level]', about).argParser(parseLogLevel);
}

/** A parser's own refusal as commander prints it. */
function refusing<Value>(refusal: new (text: string) => Error, parse: () => Value): Value {
  try {
    return parse();
  } catch (error) {
    if (!(error instanceof refusal)) throw error;
    throw new InvalidArgumentError(error.message);
  }
}
