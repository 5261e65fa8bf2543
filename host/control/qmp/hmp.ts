import { MIB } from '../../../shared/lib/units.ts';
import type { Machine } from '../../vmm/machine.ts';
import { queryBalloon, setBalloon } from './balloon-commands.ts';
import { QmpCommandError } from './errors.ts';
import { pveBalloonText } from './pve.ts';
import type { QmpSettings } from './settings.ts';

/**
 * The human monitor's commands for balloons, as `human-monitor-command` runs them: the result is
 * the text a person would see, lines ended by CR LF, errors included.
 *
 * Not emulated: other commands, and arithmetic in a number: QEMU takes `balloon 2*256`.
 */
export interface HmpContext {
  readonly machine: Machine;
  readonly settings: QmpSettings;
}

interface HmpCommand {
  readonly parameters: string;
  readonly help: string;
  readonly subcommands?: HmpTable;
  /** Takes what follows the command's name; returns lines without their ends. */
  run(context: HmpContext, rest: string): string[];
}
type HmpTable = ReadonlyMap<string, HmpCommand>;

/** A mistake in the arguments: its text is followed by a hint. */
class HmpSyntaxError extends Error {
  override readonly name = 'HmpSyntaxError';
}

const INFO: HmpTable = new Map([
  [
    'balloon',
    {
      parameters: '',
      help: 'shows how much memory the guest has',
      run: ({ machine, settings }, rest) => {
        mustEnd('balloon', rest);
        if (settings.dialect === 'pve') return [pveBalloonText(machine)];
        return [`balloon: actual=${Math.floor(queryBalloon(machine) / MIB)}`];
      },
    },
  ],
]);

const COMMANDS: HmpTable = new Map<string, HmpCommand>([
  [
    'balloon',
    {
      parameters: 'target',
      help: 'asks the guest for a memory size (in MiB)',
      run: ({ machine }, rest) => {
        setBalloon(machine, BigInt.asIntN(64, parseMib(rest) * BigInt(MIB)));
        return [];
      },
    },
  ],
  [
    'info',
    {
      parameters: '[subcommand]',
      help: 'shows something about the machine',
      subcommands: INFO,
      run: () => helpLines(INFO, 'info '),
    },
  ],
  [
    'help',
    {
      parameters: '[command]',
      help: 'shows what commands there are',
      run: (_context, rest) => help(rest.split(/\s+/).filter((word) => word !== '')),
    },
  ],
]);

/** Runs one line for a person; never throws for what the line says. */
export function runHmpCommand(context: HmpContext, line: string): string {
  return runLines(context, line)
    .map((text) => `${text}\r\n`)
    .join('');
}

function runLines(context: HmpContext, line: string): string[] {
  let table: HmpTable | undefined = COMMANDS;
  let command: HmpCommand | undefined;
  let end = 0;
  while (table !== undefined) {
    const name = /^\s*([^\s/]*)/.exec(line.slice(end));
    const [matched, word] = [name?.[0] ?? '', name?.[1] ?? ''];
    if (end + matched.length === line.length && word === '') break;
    end += matched.length;
    command = table.get(word);
    if (command === undefined) return [`unknown command: '${line.slice(0, end)}'`];
    table = command.subcommands;
  }
  if (command === undefined) return [];
  try {
    return command.run(context, line.slice(end).trimStart());
  } catch (error) {
    if (error instanceof QmpCommandError) return [`Error: ${error.message}`];
    if (!(error instanceof HmpSyntaxError)) throw error;
    return [error.message, `Try "help ${line.slice(0, end)}" for more information`];
  }
}

/** One command's line, or those of a table of commands. */
function help(words: readonly string[]): string[] {
  let table = COMMANDS;
  for (const [index, word] of words.entries()) {
    const command = table.get(word);
    const asked = words.slice(0, index + 1).join(' ');
    if (command === undefined) return [`unknown command: '${asked}'`];
    if (command.subcommands === undefined) return [helpLine(asked, command)];
    table = command.subcommands;
  }
  return helpLines(table, words.map((word) => `${word} `).join(''));
}

function helpLines(table: HmpTable, prefix: string): string[] {
  return [...table].map(([name, command]) => helpLine(`${prefix}${name}`, command));
}

function helpLine(name: string, command: HmpCommand): string {
  return `${name} ${command.parameters} -- ${command.help}`;
}

function mustEnd(name: string, rest: string): void {
  if (rest.trim() !== '') {
    throw new HmpSyntaxError(`${name}: extraneous characters at the end of line`);
  }
}

const NUMBER = /^(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)\s*/;
const UINT64_LIMIT = 2n ** 64n;

/** No 64-bit number is written with more characters, octal ones with leading zeros aside. */
const MAX_NUMBER_LENGTH = 64;

/** A whole number of MiB: decimal, 0x hexadecimal or 0 octal, with signs before it. */
function parseMib(text: string): bigint {
  const signs = /^[+\-\s]*/.exec(text)?.[0] ?? '';
  const rest = text.slice(signs.length);
  if (rest === '') throw new HmpSyntaxError('unexpected end of expression');
  const number = NUMBER.exec(rest);
  if (number === null) {
    // QEMU shows one byte, so of a character outside ASCII something that is none.
    const shown = rest[0] < '\x80' ? rest[0] : '\ufffd';
    throw new HmpSyntaxError(`invalid char '${shown}' in expression`);
  }
  const digits = number[1];
  const literal = /^0[0-7]/.test(digits) ? `0o${digits.slice(1)}` : digits;
  if (literal.length > MAX_NUMBER_LENGTH || BigInt(literal) >= UINT64_LIMIT) {
    throw new HmpSyntaxError('number too large');
  }
  const isNegative = signs.replace(/[^-]/g, '').length % 2 === 1;
  const value = BigInt.asIntN(64, isNegative ? -BigInt(literal) : BigInt(literal));
  if (value < 0n) throw new HmpSyntaxError('enter a positive value');
  mustEnd('balloon', rest.slice(number[0].length));
  return value;
}
