import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs';
import { InvalidArgumentError, Option } from 'commander';
import { formatSize, parseSize, SizeError } from '../../shared/lib/units.ts';
import {
  MAX_BYTES_PER_SECOND,
  MAX_MESSAGES_PER_SECOND,
  MAX_TOKEN_LENGTH,
  MIN_TOKEN_LENGTH,
} from '../../shared/limits.ts';
import { NO_RATE_LIMITS, type ServerLimits } from '../../shared/transport/server-limits.ts';
import { UsageError } from './errors.ts';

/** Flags of host and guest that have to do with who may do what. No secret is ever an argument. */

/** Where a token comes from when --token-file is not given. */
const TOKEN_VARIABLE = 'PUFF_TOKEN';

/** The same for host and guest. */
export function tokenFileOption(): Option {
  const about = `file with the token that guests send (default: the variable ${TOKEN_VARIABLE})`;
  return new Option('--token-file <path>', about);
}

/** The token of --token-file, or of the environment, or none. Throws UsageError without it. */
export function readToken(path: string | undefined): string | undefined {
  const text = path === undefined ? process.env[TOKEN_VARIABLE] : readSecret('--token-file', path);
  const token = text?.trim();
  if (path === undefined && !token) return undefined;
  const source = path === undefined ? TOKEN_VARIABLE : `--token-file ${path}`;
  return requireToken(token ?? '', source);
}

function requireToken(token: string, source: string): string {
  if (!/^[\x21-\x7e]*$/.test(token)) {
    throw new UsageError(`${source}: a token is one line of ASCII without spaces`);
  }
  if (token.length < MIN_TOKEN_LENGTH || token.length > MAX_TOKEN_LENGTH) {
    throw new UsageError(
      `${source}: a token has ${MIN_TOKEN_LENGTH} to ${MAX_TOKEN_LENGTH} characters; ` +
        'openssl rand -hex 32 makes one',
    );
  }
  return token;
}

export interface TlsFlags {
  readonly tlsCert?: string;
  readonly tlsKey?: string;
}

/** Certificate and key of the host's port, or nothing when neither is given. */
export function readTls({ tlsCert, tlsKey }: TlsFlags): { cert: string; key: string } | undefined {
  if (tlsCert === undefined && tlsKey === undefined) return undefined;
  if (tlsCert === undefined) throw new UsageError('--tls-key needs --tls-cert');
  if (tlsKey === undefined) throw new UsageError('--tls-cert needs --tls-key');
  return { cert: readFile('--tls-cert', tlsCert), key: readSecret('--tls-key', tlsKey) };
}

/** Certificates that a guest trusts in the place of the system's. */
export function readCa(path: string | undefined, url: string): string | undefined {
  if (path === undefined) return undefined;
  if (!/^wss:/i.test(url)) throw new UsageError(`--tls-ca: ${url} has no TLS; use wss://`);
  return readFile('--tls-ca', path);
}

function readFile(flag: string, path: string): string {
  return asUsage(flag, path, () => readFileSync(path, 'utf8'));
}

const OTHERS_MAY = 0o007;

/** On a shared machine a secret that others can read is none. */
function readSecret(flag: string, path: string): string {
  return asUsage(flag, path, () => {
    const file = openSync(path, 'r');
    try {
      const stats = fstatSync(file);
      if (stats.isFile() && (stats.mode & OTHERS_MAY) !== 0) {
        throw new UsageError(`${flag} ${path}: other users can read it; chmod o= ${path}`);
      }
      return readFileSync(file, 'utf8');
    } finally {
      closeSync(file);
    }
  });
}

function asUsage(flag: string, path: string, read: () => string): string {
  try {
    return read();
  } catch (error) {
    if (error instanceof UsageError) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    throw new UsageError(`${flag} ${path}: ${code === 'ENOENT' ? 'no such file' : message}`);
  }
}

/** `--allow-origin`: pages have an origin and guests have none. */
export function allowOriginOption(): Option {
  const about = 'origin whose pages may connect; may be repeated (default: none)';
  return new Option('--allow-origin <origin>', about).argParser(parseOrigin);
}

/** As a browser sends it: scheme and host, the port where it is not the scheme's own. */
export function parseOrigin(text: string, before: readonly string[] = []): readonly string[] {
  if (!URL.canParse(text) || new URL(text).origin !== text) {
    throw new InvalidArgumentError('write an origin such as https://example.org');
  }
  return [...before, text];
}

/** `--rate-limit`: what one guest may send a second. */
export function rateLimitOption(): Option {
  const usual = `${MAX_MESSAGES_PER_SECOND},${formatSize(MAX_BYTES_PER_SECOND)}`;
  const about = 'what a guest may send a second: MESSAGES,BYTES, or off';
  return new Option('--rate-limit <limit>', about).argParser(parseRateLimit).default({}, usual);
}

/** `off` also takes new connections however fast they come. */
export function parseRateLimit(text: string): Partial<ServerLimits> {
  if (text === 'off') return NO_RATE_LIMITS;
  const [, messages = '', bytes = ''] = /^(\d{1,9}),(\d\w*)$/.exec(text) ?? [];
  const messagesPerSecond = Number(messages);
  const bytesPerSecond = sizeOf(bytes);
  if (messagesPerSecond < 1 || bytesPerSecond < 1) {
    throw new InvalidArgumentError('write MESSAGES,BYTES, for example 5000,16M, or off');
  }
  return { messagesPerSecond, bytesPerSecond };
}

function sizeOf(text: string): number {
  if (/^\d+$/.test(text)) return Number(text);
  try {
    return parseSize(text);
  } catch (error) {
    if (error instanceof SizeError) return 0;
    throw error;
  }
}
