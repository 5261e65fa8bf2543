import { fail } from '../../../shared/lib/assert.ts';
import { type Json, JsonDouble } from './json-value.ts';
import { isCodepoint, REPLACEMENT_CODEPOINT } from './modified-utf8.ts';
import { qdictEntries } from './qdict-order.ts';

/**
 * Writes JSON as QEMU 7.2 does: one line, ", " and ": " between, members in QDict order, everything
 * outside printable ASCII as \uXXXX in capitals, integers exact up to 2^64 - 1.
 */
export function writeJson(value: Json): string {
  const parts: string[] = [];
  append(parts, value);
  return parts.join('');
}

function append(parts: string[], value: Json): void {
  if (value === null || typeof value === 'boolean' || typeof value === 'bigint') {
    parts.push(String(value));
  } else if (typeof value === 'string') {
    parts.push(quote(value));
  } else if (typeof value === 'number') {
    parts.push(Number.isSafeInteger(value) ? String(value) : formatDouble(value));
  } else if (value instanceof JsonDouble) {
    parts.push(formatDouble(value.value));
  } else if (Array.isArray(value)) {
    appendList(parts, value);
  } else if (typeof value === 'object') {
    appendObject(parts, value as Exclude<typeof value, readonly Json[]>);
  } else {
    fail('a QMP reply holds JSON values only', typeof value);
  }
}

function appendList(parts: string[], items: readonly Json[]): void {
  parts.push('[');
  items.forEach((item, index) => {
    if (index > 0) parts.push(', ');
    append(parts, item);
  });
  parts.push(']');
}

function appendObject(
  parts: string[],
  object: ReadonlyMap<string, Json> | { readonly [member: string]: Json },
): void {
  parts.push('{');
  qdictEntries(object).forEach(([name, member], index) => {
    if (index > 0) parts.push(', ');
    parts.push(quote(name), ': ');
    append(parts, member);
  });
  parts.push('}');
}

const NEEDS_NO_ESCAPE = /^[ !#-[\]-~]*$/;
const NAMED_ESCAPES: Readonly<Record<string, string>> = {
  '"': '\\"',
  '\\': '\\\\',
  '\b': '\\b',
  '\f': '\\f',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
};

function quote(text: string): string {
  if (NEEDS_NO_ESCAPE.test(text)) return `"${text}"`;
  const parts = ['"'];
  for (const char of text) {
    const codepoint = char.codePointAt(0) ?? REPLACEMENT_CODEPOINT;
    if (Object.hasOwn(NAMED_ESCAPES, char)) parts.push(NAMED_ESCAPES[char]);
    else if (codepoint >= 0x20 && codepoint < 0x7f) parts.push(char);
    else if (!isCodepoint(codepoint)) parts.push(escapeUnit(REPLACEMENT_CODEPOINT));
    else
      for (let unit = 0; unit < char.length; unit++) parts.push(escapeUnit(char.charCodeAt(unit)));
  }
  parts.push('"');
  return parts.join('');
}

function escapeUnit(unit: number): string {
  return `\\u${unit.toString(16).toUpperCase().padStart(4, '0')}`;
}

const SIGNIFICANT_DIGITS = 17;

/** A double as C's `%.17g`; infinity, which JSON lacks and 1e999 reads as, is `inf` as in QEMU. */
export function formatDouble(value: number): string {
  const sign = value < 0 || Object.is(value, -0) ? '-' : '';
  if (!Number.isFinite(value)) return Number.isNaN(value) ? 'nan' : `${sign}inf`;
  const [mantissa, power] = halfToEven(Math.abs(value)).split('e');
  const exponent = Number(power);
  const digits = mantissa.replace('.', '');
  if (exponent >= -4 && exponent < SIGNIFICANT_DIGITS) return sign + plain(digits, exponent);
  const [head, tail] = [digits[0], digits.slice(1).replace(/0+$/, '')];
  const mark = `e${exponent < 0 ? '-' : '+'}${String(Math.abs(exponent)).padStart(2, '0')}`;
  return `${sign}${head}${tail === '' ? '' : `.${tail}`}${mark}`;
}

function plain(digits: string, exponent: number): string {
  if (exponent < 0) return `0.${'0'.repeat(-exponent - 1)}${digits.replace(/0+$/, '')}`;
  const whole = digits.slice(0, exponent + 1);
  const fraction = digits.slice(exponent + 1).replace(/0+$/, '');
  return fraction === '' ? whole : `${whole}.${fraction}`;
}

/**
 * Seventeen digits, a tie to the even neighbour as C rounds; toExponential rounds a tie up. A tie
 * has 18 digits and nothing behind them, for which as many are looked at as there are to be had.
 */
function halfToEven(magnitude: number): string {
  const rounded = magnitude.toExponential(SIGNIFICANT_DIGITS - 1);
  const exact = magnitude.toExponential(100);
  const isTie = /^\d\.\d{16}50{83}e/.test(exact);
  const isOdd = Number(exact[SIGNIFICANT_DIGITS]) % 2 === 1;
  if (!isTie || isOdd) return rounded;
  return `${exact.slice(0, SIGNIFICANT_DIGITS + 1)}${exact.slice(exact.indexOf('e'))}`;
}
