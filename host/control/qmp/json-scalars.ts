import { JsonDouble, type JsonInteger } from './json-value.ts';
import { decodeAt, isCodepoint, printable } from './modified-utf8.ts';

/** Turns the bytes of one string or number token into its value. */

const BACKSLASH = 0x5c;
const LETTER_U = 0x75;
const INT64_MIN = -(2n ** 63n);
const UINT64_MAX = 2n ** 64n - 1n;

/** No 64-bit integer has more characters than -9223372036854775808. */
const MAX_INTEGER_LENGTH = 20;

/** Up to this length, sign included, every integer is below 2^53. */
const MAX_SAFE_LENGTH = 15;

const ESCAPES: ReadonlyMap<number, string> = new Map(
  Object.entries({ '"': '"', "'": "'", '\\': '\\', '/': '/', b: '\b', f: '\f' })
    .concat(Object.entries({ n: '\n', r: '\r', t: '\t' }))
    .map(([letter, text]) => [letter.charCodeAt(0), text]),
);

/** What is wrong with a string, without the "JSON parse error, " before it. */
export class StringFault {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

/** Four hex digits at `offset` as a number, or -1. */
function hex4(bytes: Uint8Array, offset: number): number {
  let value = 0;
  for (let index = offset; index < offset + 4; index++) {
    const digit = Number.parseInt(String.fromCharCode(bytes[index] ?? 0), 16);
    if (Number.isNaN(digit)) return -1;
    value = value * 16 + digit;
  }
  return value;
}

/** The character of a `\u` escape whose digits start at `offset`; -1 if there is none. */
function unicodeEscape(
  bytes: Uint8Array,
  offset: number,
): { readonly codepoint: number; readonly next: number } {
  const first = hex4(bytes, offset);
  const next = offset + 4;
  const isLeading = first >= 0xd800 && first <= 0xdbff;
  if (!isLeading || bytes[next] !== BACKSLASH || bytes[next + 1] !== LETTER_U) {
    return { codepoint: isCodepoint(first) ? first : -1, next };
  }
  const second = hex4(bytes, next + 2);
  if (second < 0xdc00 || second > 0xdfff) return { codepoint: -1, next };
  const codepoint = 0x10000 + ((first & 0x3ff) << 10) + (second & 0x3ff);
  return { codepoint: isCodepoint(codepoint) ? codepoint : -1, next: next + 6 };
}

/** The string in a token, quotes included, or what QEMU says is wrong with it. */
export function parseString(token: Uint8Array): string | StringFault {
  const end = token.length - 1;
  const parts: string[] = [];
  for (let offset = 1; offset < end; ) {
    if (token[offset] !== BACKSLASH) {
      const { codepoint, next } = decodeAt(token, offset);
      if (codepoint < 0) return new StringFault('invalid UTF-8 sequence in string');
      parts.push(String.fromCodePoint(codepoint));
      offset = next;
    } else if (token[offset + 1] === LETTER_U) {
      const { codepoint, next } = unicodeEscape(token, offset + 2);
      if (codepoint < 0) {
        const shown = printable(token.subarray(offset, next));
        return new StringFault(`${shown} is not a valid Unicode character`);
      }
      parts.push(String.fromCodePoint(codepoint));
      offset = next;
    } else {
      const text = ESCAPES.get(token[offset + 1]);
      if (text === undefined) return new StringFault('invalid escape sequence in string');
      parts.push(text);
      offset += 2;
    }
  }
  return parts.join('');
}

/** An integer token: exact within 64 bits, signed or unsigned, a double beyond. */
export function parseInteger(token: Uint8Array): JsonInteger | JsonDouble {
  const text = asciiText(token);
  // Adding 0 turns -0, which is a double to JavaScript, into the integer 0.
  if (text.length <= MAX_SAFE_LENGTH) return Number(text) + 0;
  if (text.length > MAX_INTEGER_LENGTH) return new JsonDouble(Number(text));
  const exact = BigInt(text);
  if (exact < INT64_MIN || exact > UINT64_MAX) return new JsonDouble(Number(text));
  const rounded = Number(exact);
  return Number.isSafeInteger(rounded) ? rounded : exact;
}

/** A number with a fraction or an exponent. */
export function parseFloatToken(token: Uint8Array): JsonDouble {
  return new JsonDouble(Number(asciiText(token)));
}

/** The text of a number or a word, which the lexer lets consist of ASCII only. */
export function asciiText(token: Uint8Array): string {
  return Buffer.from(token.buffer, token.byteOffset, token.length).toString('latin1');
}
