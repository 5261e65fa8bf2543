import { destination, pino } from 'pino';
import { type Log, SILENT } from '../../shared/lib/log.ts';
import { oneLine } from './errors.ts';

const LEVELS = ['debug', 'info', 'warn', 'error'] as const;

/** `--log [LEVEL]`: JSON lines on stderr. Without the flag errors alone, as plain lines. */
export function makeLog(level: string | true | undefined): Log {
  if (level === undefined) return { ...SILENT, error: printError };
  return pino({ level: level === true ? 'info' : level }, destination({ dest: 2, sync: true }));
}

function printError(fields: object, message: string): void {
  const details = Object.entries(fields).map(([name, value]) => `${name} ${value}`);
  process.stderr.write(`puff: ${oneLine([message, ...details].join(', '))}\n`);
}

export function isLogLevel(text: string): boolean {
  return (LEVELS as readonly string[]).includes(text);
}

export const LOG_LEVELS: string = LEVELS.join(', ');
